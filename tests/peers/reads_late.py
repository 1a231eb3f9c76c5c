"""Reads nothing until it is told to, and then everything, in small pieces.

Arguments: where to meet, how many bytes will come.
"""

import asyncio
import socket
import sys

from numbers_in_order import numbers
from place import meet, say, told


async def main():
    size = int(sys.argv[2])
    reader, writer = await meet()
    # Little room in the kernel, and a transport that hands on nothing: the bytes pile up
    # at the sender.
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    writer.transport.pause_reading()
    say("ready")
    await told("read")
    writer.transport.resume_reading()

    received = bytearray()
    while True:
        data = await reader.read(5000)
        if not data:
            break
        received += data
    assert received == numbers(size)
    say("received", len(received), "bytes in order")
    writer.close()
    await writer.wait_closed()


asyncio.run(main())
