"""Clients of an echo server over TLS, by CPython's ssl on blocking sockets, in threads.

Arguments: port, authority's file, version (1.2 or 1.3), how many clients, bytes for each.
"""

import hashlib
import os
import socket
import ssl
import sys
import threading

port, authority, version, clients, size = sys.argv[1:]
context = ssl.create_default_context(cafile=authority)
only = {'1.2': ssl.TLSVersion.TLSv1_2, '1.3': ssl.TLSVersion.TLSv1_3}[version]
context.minimum_version = context.maximum_version = only
# A peer that ends without a close_notify is an error of read.
context.options &= ~getattr(ssl, 'OP_IGNORE_UNEXPECTED_EOF', 0)
faults = []


def talks():
    sent = os.urandom(int(size))
    with socket.create_connection(('127.0.0.1', int(port)), 60) as plain:
        tls = context.wrap_socket(plain, server_hostname='localhost',
                                  suppress_ragged_eofs=False)
        assert tls.version() == f'TLSv{version}', tls.version()
        # By turns, for an SSLSocket is not for two threads at once.
        got = bytearray()
        for start in range(0, len(sent), 65536):
            piece = sent[start:start + 65536]
            tls.sendall(piece)
            while len(got) < start + len(piece):
                more = tls.recv(65536)
                assert more, 'the end came too early'
                got += more
        assert hashlib.sha256(got).digest() == hashlib.sha256(sent).digest()
        # Sends our close_notify, and waits for the peer's.
        tls.unwrap()


def client():
    try:
        talks()
    except BaseException as fault:
        faults.append(repr(fault))


threads = [threading.Thread(target=client) for _ in range(int(clients))]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert not faults, faults
print(f'{clients} clients are content')
