"""Writes to an echo server, and does not read until it is told to.

Arguments: where to meet, how many bytes to write.
"""

import asyncio
import socket
import sys

from numbers_in_order import numbers
from place import meet, say, told


async def send(writer, data):
    for start in range(0, len(data), 40000):
        writer.write(data[start:start + 40000])
        await writer.drain()
    writer.write_eof()


async def main():
    data = numbers(int(sys.argv[2]))
    reader, writer = await meet()
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
    writer.transport.pause_reading()
    sending = asyncio.ensure_future(send(writer, data))

    await told("read")
    assert not sending.done()
    writer.transport.resume_reading()
    received = await reader.read()
    await sending
    assert received == data
    say(len(received), "bytes came back in order")
    writer.close()
    await writer.wait_closed()


asyncio.run(main())
