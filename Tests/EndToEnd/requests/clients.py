"""Clients over OpenSSL and GnuTLS: clients.py LIBRARY PROTOCOL PORT CONNECTIONS DIRECTORY.

What all clients do, each for one library and one protocol: open so many connections, ask once by each, say so by a file,
wait until all clients have, ask again by each, and then close every other connection and open another one, which gets its
descriptor, and ask by that. The path of a request says who asks.
"""
import ctypes
import os
import socket
import ssl
import struct
import sys
import time

library, protocol, port, count, directory = sys.argv[1:]
port, count = int(port), int(count)
name = library + protocol
host = "localhost:%d" % port


class OpenSSL:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2" if protocol == "2" else "http/1.1"])

    def __init__(self):
        self.socket = self.context.wrap_socket(socket.create_connection(("127.0.0.1", port)))
        self.send, self.receive, self.close = self.socket.sendall, self.socket.recv, self.socket.close


class GnuTLS:
    """The library itself, through its functions."""
    def bind():
        lib = ctypes.CDLL("libgnutls.so.30")
        lib.gnutls_record_send.restype = lib.gnutls_record_recv.restype = ctypes.c_ssize_t
        for function in (lib.gnutls_record_send, lib.gnutls_record_recv):
            function.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]
        lib.gnutls_transport_set_int2.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_int]
        for function in (lib.gnutls_set_default_priority, lib.gnutls_handshake, lib.gnutls_deinit):
            function.argtypes = [ctypes.c_void_p]
        lib.gnutls_deinit.restype = None
        lib.gnutls_credentials_set.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p]
        lib.gnutls_alpn_set_protocols.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
        credentials = ctypes.c_void_p()
        lib.gnutls_certificate_allocate_credentials(ctypes.byref(credentials))
        return lib, credentials

    class Datum(ctypes.Structure):
        _fields_ = [("data", ctypes.c_char_p), ("size", ctypes.c_uint)]

    if library == "gnutls":
        lib, credentials = bind()

    def __init__(self):
        lib, self.session = self.lib, ctypes.c_void_p()
        lib.gnutls_init(ctypes.byref(self.session), ctypes.c_uint(2))
        lib.gnutls_set_default_priority(self.session)
        lib.gnutls_credentials_set(self.session, 1, self.credentials)
        wanted = self.Datum(b"h2" if protocol == "2" else b"http/1.1", 2 if protocol == "2" else 8)
        lib.gnutls_alpn_set_protocols(self.session, ctypes.byref(wanted), 1, 0)
        self.socket = socket.create_connection(("127.0.0.1", port))
        lib.gnutls_transport_set_int2(self.session, self.socket.fileno(), self.socket.fileno())
        result = lib.gnutls_handshake(self.session)
        assert result == 0, result

    def send(self, data):
        while data:
            sent = self.lib.gnutls_record_send(self.session, data, len(data))
            assert sent > 0, sent
            data = data[sent:]

    def receive(self, size):
        buffer = ctypes.create_string_buffer(size)
        while True:
            count = self.lib.gnutls_record_recv(self.session, buffer, size)
            # GNUTLS_E_AGAIN: something that was no data, such as a ticket.
            if count != -28:
                assert count >= 0, count
                return buffer.raw[:count]

    def close(self):
        self.lib.gnutls_deinit(self.session)
        self.socket.close()


class HTTP1:
    def __init__(self, connection):
        self.connection = connection

    def ask(self, path):
        self.connection.send(
            ("GET %s?secret=hunter2 HTTP/1.1\r\nCookie: hunter2\r\nHost: %s\r\n\r\n" % (path, host)).encode())
        answer = b""
        while not (b"\r\n\r\n" in answer and answer.endswith(b"0\r\n\r\n")) and not self.is_whole(answer):
            piece = self.connection.receive(65536)
            assert piece
            answer += piece
        assert answer.startswith(b"HTTP/1.1 200"), answer

    @staticmethod
    def is_whole(answer):
        head, _, body = answer.partition(b"\r\n\r\n")
        for line in head.split(b"\r\n"):
            if line.lower().startswith(b"content-length:"):
                return len(body) >= int(line.split(b":")[1])
        return False


class HTTP2:
    """As little as it takes. The second and later requests take the host from the table that the first one filled."""
    def __init__(self, connection):
        self.connection, self.stream, self.received = connection, 1, b""
        connection.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + self.frame(4, 0, 0, b""))

    @staticmethod
    def frame(kind, flags, stream, payload):
        return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload

    def next_frame(self):
        while len(self.received) < 9 or len(self.received) < 9 + int.from_bytes(self.received[:3], "big"):
            piece = self.connection.receive(65536)
            assert piece
            self.received += piece
        length = int.from_bytes(self.received[:3], "big")
        kind, flags, stream = struct.unpack(">BBI", self.received[3:9])
        self.received = self.received[9 + length:]
        return kind, flags, stream

    def ask(self, path):
        def text(value):
            assert len(value) < 127
            return bytes([len(value)]) + value.encode()
        block = b"\x82\x87" + b"\x04" + text(path + "?secret=hunter2")
        # :authority with incremental indexing, then by its place; what else is new comes never indexed.
        block += b"\x41" + text(host) if self.stream == 1 else b"\xbe"
        block += b"\x10" + text("authorization") + text("Bearer hunter2")
        whole = self.frame(1, 1, self.stream, block[:20]) + self.frame(9, 4, self.stream, block[20:])
        # In two writes, neither of which begins or ends where a frame does.
        cut = 2 if self.stream == 1 else 31
        self.connection.send(whole[:cut])
        self.connection.send(whole[cut:])
        while True:
            kind, flags, stream = self.next_frame()
            if kind == 4 and not flags & 1:
                self.connection.send(self.frame(4, 1, 0, b""))
            if stream == self.stream and kind in (0, 1) and flags & 1:
                break
        self.stream += 2


class Client:
    def __init__(self):
        self.connection = (OpenSSL if library == "openssl" else GnuTLS)()
        self.ask = (HTTP1 if protocol == "1" else HTTP2)(self.connection).ask
        self.close = self.connection.close


clients = []
for index in range(count):
    clients.append(Client())
    clients[index].ask("/%s/0/%d" % (name, index))
open(os.path.join(directory, name + ".open"), "w").close()
while not os.path.exists(os.path.join(directory, "all")):
    time.sleep(0.02)
for index, client in enumerate(clients):
    client.ask("/%s/1/%d" % (name, index))
for index in range(0, count, 2):
    clients[index].close()
    clients[index] = Client()
    clients[index].ask("/%s/2/%d" % (name, index))
for client in clients:
    client.close()
