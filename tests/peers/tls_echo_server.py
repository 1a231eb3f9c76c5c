"""An echo server over TLS, by asyncio. Says how each connection ended.

Arguments: certificate's file, key's file, version (1.2 or 1.3).
"""

import asyncio
import ssl
import sys

chain, key, version = sys.argv[1:]
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
context.load_cert_chain(chain, key)
only = {'1.2': ssl.TLSVersion.TLSv1_2, '1.3': ssl.TLSVersion.TLSv1_3}[version]
context.minimum_version = context.maximum_version = only


handlers = set()


async def echo(reader, writer):
    handlers.add(asyncio.current_task())
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
    await writer.wait_closed()
    handlers.discard(asyncio.current_task())


async def main():
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: print(f'reported: {context}'))
    server = await asyncio.start_server(echo, '127.0.0.1', 0, ssl=context)
    print(server.sockets[0].getsockname()[1])
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()
    # The last ones may still be closing, and would be cancelled.
    while handlers:
        await asyncio.sleep(0.01)

asyncio.run(main())
