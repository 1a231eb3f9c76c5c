"""Where a peer meets the program under test: the first argument.

    connect:tcp:PORT    connect:unix:PATH    it serves, we connect
    serve:tcp:0         serve:unix:PATH      we serve, say where, and it connects
"""

import asyncio
import sys


async def meet():
    """Returns the reader and the writer of the one connection."""
    how, kind, address = sys.argv[1].split(":", 2)
    if how == "connect":
        if kind == "tcp":
            return await asyncio.open_connection("127.0.0.1", int(address))
        return await asyncio.open_unix_connection(address)

    met = asyncio.get_running_loop().create_future()

    def connected(reader, writer):
        met.set_result((reader, writer))

    server = await serve(connected)
    pair = await met
    server.close()
    return pair


async def serve(connected):
    """Serves, and says where."""
    _, kind, address = sys.argv[1].split(":", 2)
    if kind == "tcp":
        server = await asyncio.start_server(connected, "127.0.0.1", int(address))
        address = server.sockets[0].getsockname()[1]
    else:
        server = await asyncio.start_unix_server(connected, address)
    say("serving", address)
    return server


def say(*words):
    """Tells the test something."""
    print(*words, flush=True)


async def told(expected):
    """Waits until the test tells us something."""
    loop = asyncio.get_running_loop()
    line = await loop.run_in_executor(None, sys.stdin.readline)
    if line != expected + "\n":
        sys.exit(f"told {line!r} instead of {expected!r}")
