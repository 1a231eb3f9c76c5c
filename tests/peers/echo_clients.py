"""Clients of an echo server: each talks line by line, ends its side, and reads to the end.

Arguments: where to meet, how many clients, how many lines each.
"""

import asyncio
import sys

from place import meet, say


async def client(name, lines):
    reader, writer = await meet()
    for number in range(lines):
        line = b"client %d, line %d\n" % (name, number)
        writer.write(line)
        await writer.drain()
        answer = await reader.readline()
        assert answer == line, answer
    writer.write(b"and the end")
    writer.write_eof()
    rest = await reader.read()
    assert rest == b"and the end", rest
    writer.close()
    await writer.wait_closed()


async def main():
    clients, lines = int(sys.argv[2]), int(sys.argv[3])
    await asyncio.gather(*(client(name, lines) for name in range(clients)))
    say(clients * lines, "lines came back")


asyncio.run(main())
