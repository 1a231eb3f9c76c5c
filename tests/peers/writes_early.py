"""Writes as much as it may, and says when it may not.

Arguments: where to meet, how many bytes to write.
"""

import asyncio
import socket
import sys

from numbers_in_order import numbers
from place import meet, say


async def main():
    data = numbers(int(sys.argv[2]))
    _, writer = await meet()
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
    paused = False
    for start in range(0, len(data), 40000):
        writer.write(data[start:start + 40000])
        _, high = writer.transport.get_write_buffer_limits()
        if not paused and writer.transport.get_write_buffer_size() > high:
            paused = True
            say("paused")
        await writer.drain()
    writer.close()
    await writer.wait_closed()
    say("wrote", len(data), "bytes")


asyncio.run(main())
