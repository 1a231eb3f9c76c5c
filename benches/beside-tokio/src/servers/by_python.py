import asyncio
import sys

READ = 16 * 1024


async def echo(reader, writer):
    while data := await reader.read(READ):
        writer.write(data)
        await writer.drain()
    writer.close()


async def lines(reader, writer):
    while line := await reader.readline():
        writer.write(line)
        await writer.drain()
    writer.close()


async def sink(reader, writer):
    count = 0
    while data := await reader.read(256 * 1024):
        count += len(data)
    writer.write(b"%d" % count)
    writer.close()


async def source(reader, writer):
    chunk = bytes(64 * 1024)
    try:
        while True:
            writer.write(chunk)
            await writer.drain()
    except ConnectionError:
        writer.close()


async def main(workload, path):
    handler = {"echo": echo, "lines": lines, "sink": sink, "source": source}[workload]
    if path is None:
        server = await asyncio.start_server(handler, "127.0.0.1", 0, backlog=4096)
        print("%s:%d" % server.sockets[0].getsockname(), flush=True)
    else:
        server = await asyncio.start_unix_server(handler, path, backlog=4096)
        print(path, flush=True)
    await server.serve_forever()


if sys.argv[1] == "uvloop":
    import uvloop

    uvloop.install()
asyncio.run(main(sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else None))
