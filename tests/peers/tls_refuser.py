"""A client that trusts an authority and wants a name, and says how that went.

Arguments: port, authority's file, name.
"""

import socket
import ssl
import sys

port, authority, name = sys.argv[1:]
context = ssl.create_default_context(cafile=authority)
with socket.create_connection(('127.0.0.1', int(port)), 60) as plain:
    try:
        context.wrap_socket(plain, server_hostname=name).close()
        print('accepted')
    except ssl.SSLCertVerificationError as error:
        print(f'refused: {error.verify_message}')
