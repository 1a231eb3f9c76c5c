"""Reads, until the connection is reset."""

import asyncio

from place import meet, say


async def main():
    reader, writer = await meet()
    say("read", await reader.readexactly(5))
    try:
        say("read", await reader.read(100))
    except ConnectionResetError:
        say("ConnectionResetError")
    writer.close()


asyncio.run(main())
