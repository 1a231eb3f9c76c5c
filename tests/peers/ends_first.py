"""Asks, ends its side at once, and reads the answer to its end."""

import asyncio

from place import meet, say, told


async def main():
    reader, writer = await meet()
    writer.write(b"question")
    writer.write_eof()
    say("read", await reader.read())
    await told("close")
    writer.close()
    await writer.wait_closed()


asyncio.run(main())
