"""Sends half a line, and resets the connection when it is told to."""

import asyncio
import socket
import struct

from place import meet, say, told


async def main():
    reader, writer = await meet()
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    say("read", await reader.read(5))
    # What comes from now on stays in the kernel, which has little room.
    writer.transport.pause_reading()
    writer.write(b"half a li")
    await told("reset")
    linger = struct.pack("ii", 1, 0)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()
    await writer.wait_closed()
    say("reset")


asyncio.run(main())
