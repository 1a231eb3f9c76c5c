"""An echo server: sends back what it reads, to the end, until its input is closed."""

import asyncio
import sys

from place import serve


async def echo(reader, writer):
    while True:
        data = await reader.read(1000)
        if not data:
            break
        writer.write(data)
        await writer.drain()
    writer.close()
    await writer.wait_closed()


async def main():
    server = await serve(echo)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    server.close()
    await server.wait_closed()


asyncio.run(main())
