"""Everything that the tools talk to, on the loopback interface of a network namespace: a resolver, HTTP and HTTPS with as
many hosts as are wanted, git's own protocol. Names are answered with the addresses of a generation, which can be turned."""
import base64
import hashlib
import http.server
import json
import os
import socket
import socketserver
import ssl
import struct
import subprocess
import threading
import urllib.parse

RESOLVER = "198.51.100.53"
SEARCH = "corp.example.org"
# Each name's place in the networks of a generation. One of them shares its address with another in the first.
NAMES = {"deb.example.org": 10, "mirror.example.org": 11, "pypi.example.org": 12, "files.example.org": 12,
         "git.example.org": 14, "registry.example.org": 15, "index.crates.example.org": 16, "static.crates.example.org": 17}
EVIL = "evil.example.net"
# Those that have IPv6 addresses, and those of them at which nobody listens.
V6, V6_CLOSED = {"pypi.example.org", "files.example.org", "git.example.org", "registry.example.org"}, {"registry.example.org"}


def v4(name, generation):
    if name == EVIL:
        return "198.51.100.66"
    place = NAMES[name] + (2 if generation and name == "files.example.org" else 0)
    return f"{'203.0.113' if generation else '198.51.100'}.{place}"


def v6(name, generation):
    return f"2001:db8:{generation}::{NAMES[name]}"


def addresses():
    found = {RESOLVER, v4(EVIL, 0)}
    for name in NAMES:
        for generation in (0, 1):
            found.add(v4(name, generation))
            if name in V6:
                found.add(v6(name, generation))
    return sorted(found)


class Resolver(threading.Thread):
    """Answers A and AAAA of the zone, nothing else, and NXDOMAIN for what is not in it."""

    def __init__(self):
        super().__init__(daemon=True)
        self.generation = 0
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((RESOLVER, 53))
        self.stream = socket.create_server((RESOLVER, 53))
        threading.Thread(target=self.run_stream, daemon=True).start()

    def run(self):
        while True:
            message, sender = self.socket.recvfrom(4096)
            try:
                self.socket.sendto(self.answer(message), sender)
            except (IndexError, struct.error):
                continue

    def run_stream(self):
        """By TCP, connection by connection: as many questions at once as somebody asks."""
        while True:
            connection, _ = self.stream.accept()
            with connection, connection.makefile("rb") as file:
                connection.settimeout(5)
                try:
                    while head := file.read(2):
                        said = self.answer(file.read(*struct.unpack("!H", head)))
                        connection.sendall(struct.pack("!H", len(said)) + said)
                except (OSError, IndexError, struct.error):
                    continue

    def answer(self, message):
        labels, at = [], 12
        while message[at]:
            labels.append(message[at + 1:at + 1 + message[at]].decode("latin-1"))
            at += 1 + message[at]
        end, name = at + 5, ".".join(labels).lower()
        kind = struct.unpack_from("!H", message, at + 1)[0]
        data = b""
        if name in NAMES or name == EVIL:
            code = 0
            if kind == 1:
                data = socket.inet_aton(v4(name, self.generation))
            elif kind == 28 and name in V6:
                data = socket.inet_pton(socket.AF_INET6, v6(name, self.generation))
        else:
            code = 3
        # EDNS is answered with EDNS.
        has_edns = struct.unpack_from("!H", message, 10)[0] > 0
        head = message[:2] + struct.pack("!HHHHH", 0x8180 | code, 1, 1 if data else 0, 0, 1 if has_edns else 0)
        record = b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 30, len(data)) + data if data else b""
        return head + message[12:end] + record + (b"\0\0\x29\x04\xd0\0\0\0\0\0\0" if has_edns else b"")


class Listener(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address, port, world, context=None):
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.world, self.context = world, context
        super().__init__((address, port), Handler)

    def server_bind(self):
        # Without asking who we are.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "server", self.server_address[1]

    def finish_request(self, request, client):
        if self.context:
            try:
                request = self.context.wrap_socket(request, server_side=True)
            except (ssl.SSLError, OSError):
                return
        super().finish_request(request, client)

    def handle_error(self, request, client):
        pass


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.respond()

    do_HEAD = do_POST = do_GET

    def respond(self):
        host = (self.headers.get("Host") or "").split(":")[0]
        path, _, query = self.path.partition("?")
        path = urllib.parse.unquote(path)
        scheme = "https" if self.server.context else "http"
        body = self.body()
        with self.server.world.lock:
            self.server.world.requests.append((scheme, host, path))
        if host == "git.example.org":
            return self.git(path, query, body)
        if host == EVIL:
            return self.send(200, b"stolen")
        made = self.server.world.pages(scheme, host, path)
        if made is None:
            return self.send(404, b"there is no such thing")
        kind, body = made
        if kind == "redirect":
            self.send_response(302)
            self.send_header("Location", body)
            self.send_header("Content-Length", "0")
            return self.end_headers()
        self.send(200, body, kind)

    def body(self):
        body = b""
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline().split(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        elif self.headers.get("Content-Length"):
            body = self.rfile.read(int(self.headers["Content-Length"]))
        return body

    def send(self, code, body, kind="application/octet-stream"):
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def git(self, path, query, body):
        """git http-backend, as CGI (RFC 3875)."""
        environment = {
            "PATH": os.environ["PATH"], "GIT_PROJECT_ROOT": self.server.world.repositories, "GIT_HTTP_EXPORT_ALL": "1",
            "REQUEST_METHOD": self.command, "PATH_INFO": path, "QUERY_STRING": query, "REMOTE_USER": "ci",
            "CONTENT_TYPE": self.headers.get("Content-Type") or "", "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding") or "",
            "GIT_PROTOCOL": self.headers.get("Git-Protocol") or "", "HOME": self.server.world.repositories,
            "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}
        done = subprocess.run(["git", "http-backend"], input=body, env=environment, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        status, fields = 200, []
        for line in head.decode("latin-1").split("\r\n"):
            key, _, value = line.partition(": ")
            if key == "Status":
                status = int(value.split()[0])
            elif key:
                fields.append((key, value))
        self.send_response(status)
        for key, value in fields:
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


class World:
    """All servers. `pages(scheme, host, path)` gives (type, bytes), ("redirect", URL) or None."""

    def __init__(self, scratch, pages):
        self.scratch, self.pages = scratch, pages
        self.repositories = os.path.join(scratch, "repositories")
        self.lock, self.requests = threading.Lock(), []
        os.makedirs(self.repositories, exist_ok=True)
        self.certificate = self.make_certificate()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, os.path.join(scratch, "key.pem"))
        self.resolver = Resolver()
        self.resolver.start()
        closed = {v6(name, generation) for name in V6_CLOSED for generation in (0, 1)}
        for address in addresses():
            if address == RESOLVER or address in closed:
                continue
            for port, secure in ((80, None), (443, context)):
                threading.Thread(target=Listener(address, port, self, secure).serve_forever, daemon=True).start()
        self.daemon = subprocess.Popen(
            ["git", "-c", "safe.directory=*", "daemon", "--base-path=" + self.repositories, "--export-all",
             "--reuseaddr", "--log-destination=none"], env={**os.environ, "HOME": self.repositories})

    def make_certificate(self):
        path = os.path.join(self.scratch, "ca.pem")
        names = ",".join(f"DNS:{name}" for name in [*NAMES, EVIL])
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=martlet test",
             "-addext", f"subjectAltName={names}", "-keyout", os.path.join(self.scratch, "key.pem"), "-out", path],
            check=True, stderr=subprocess.DEVNULL)
        return path

    def turn(self):
        """The same names have other addresses from now on."""
        self.resolver.generation = 1

    def end(self):
        self.daemon.terminate()
        self.daemon.wait()


def integrity(content):
    return "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()


def as_json(value):
    return "application/json", json.dumps(value).encode()
