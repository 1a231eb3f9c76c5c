"""Reads to the end, and only then sends all of it back."""

import asyncio

from place import meet, say


async def main():
    reader, writer = await meet()
    data = await reader.read()
    say("read", len(data), "bytes")
    writer.write(data)
    await writer.drain()
    writer.close()
    await writer.wait_closed()


asyncio.run(main())
