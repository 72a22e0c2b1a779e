"""Requests over TLS: `run --requests`, against what a server saw at each of its clients' ports, and against a capture."""
import json
import os
import shutil
import socket
import struct
import subprocess
import threading
import time

from harness import MARTLET, needs_root, needs_sensor, wait_until
from served import HERE, ServedCase

SECRET = "hunter2"
# Rounds that each client asks in; see requests/clients.py.
CONNECTIONS = 125


class Capture:
    """How many bytes each TCP connection on loopback carried, by sequence numbers: whatever is sent twice counts once."""

    def __init__(self, port):
        self.port = port
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
        # SO_RCVBUFFORCE
        self.socket.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)
        self.socket.bind(("lo", 0x0800))
        self.socket.settimeout(0.2)
        # By (source port, destination port): the first byte's number, how many there were, and how many of them when the
        # other side had said that it sends no more. It may be closed then, and what comes nobody's.
        self.first, self.last, self.before = {}, {}, {}
        self.is_over = False
        self.thread = threading.Thread(target=self.read)
        self.thread.start()

    def read(self):
        while True:
            try:
                packet, address = self.socket.recvfrom(65536)
            except TimeoutError:
                if self.is_over:
                    return
                continue
            # Each is seen twice, going out and coming in.
            if address[2] == socket.PACKET_OUTGOING or packet[9] != socket.IPPROTO_TCP:
                continue
            head = (packet[0] & 15) * 4
            source, destination, sequence = struct.unpack(">HHI", packet[head:head + 8])
            if self.port not in (source, destination):
                continue
            length = struct.unpack(">H", packet[2:4])[0] - head - (packet[head + 12] >> 4) * 4
            way = (source, destination)
            flags = packet[head + 13]
            if flags & 2:
                self.first[way], self.last[way] = sequence + 1, 0
            elif way in self.first and length:
                self.last[way] = max(self.last[way], (sequence + length - self.first[way]) & 0xffffffff)
            # FIN or RST
            if flags & 5:
                self.before.setdefault(way[::-1], self.last.get(way[::-1], 0))

    def end(self):
        self.is_over = True
        self.thread.join()
        self.socket.close()

    def sent(self, port):
        return self.last[port, self.port]

    def received(self, port):
        """What a client may have received."""
        way = self.port, port
        return {self.last[way], self.before.get(way, self.last[way])}


@needs_root
@needs_sensor
class Requests(ServedCase):
    def log(self):
        out = subprocess.run(
            [MARTLET, "log", "cat", self.path("martlet-report", "events.ndjson.zst")], stdout=subprocess.PIPE).stdout
        self.assertNotIn(SECRET.encode(), out.replace(b"secret=" + SECRET.encode(), b""), "a secret is in the log")
        return [json.loads(line) for line in out.splitlines()]

    def told(self, lines):
        """What the log tells: the same as seen(), the bytes of connections by port, and requests without one."""
        requests, traffic, lost = {}, {}, []
        # A socket's number comes again: what ends behind a request is its connection.
        waiting = {}
        for line in lines:
            name = line.get("activity_name")
            if name == "request":
                if line.get("hidden"):
                    lost.append("hidden")
                    continue
                request = line["http_request"]
                row = (
                    request["http_method"], request["url"].get("hostname"), request["url"]["path"],
                    2 if line.get("http2") else 1)
                uid = line.get("connection_info", {}).get("uid")
                if uid:
                    waiting.setdefault(uid, []).append(row)
                else:
                    lost.append(row)
            elif name in ("tcp_close", "flow_open") and line["connection_info"].get("direction_id") != 1:
                uid = line["connection_info"]["uid"]
                if line["dst_endpoint"]["port"] == self.port:
                    port = line["src_endpoint"]["port"]
                    requests.setdefault(port, []).extend(waiting.pop(uid, []))
                    traffic.setdefault(port, []).append((line["traffic"]["bytes_out"], line["traffic"]["bytes_in"]))
        lost += [row for rows in waiting.values() for row in rows]
        return requests, traffic, lost

    def compare(self, seen, requests):
        self.assertEqual(set(seen), set(requests))
        for port, rows in seen.items():
            self.assertEqual(sorted(rows), sorted(requests[port]), "port %d" % port)

    def go_client(self):
        """Compiled; None where there is no Go."""
        if not shutil.which("go"):
            return None
        environment = dict(os.environ, GO111MODULE="off", GOCACHE=self.path("cache"), GOFLAGS="")
        subprocess.run(
            ["go", "build", "-ldflags=-s -w", "-o", self.path("goclient"), os.path.join(HERE, "client.go")], check=True,
            env=environment)
        return self.path("goclient")

    def test_a_thousand_connections(self):
        go = self.go_client()
        clients = []
        for protocol in ("1", "2"):
            for library in ("openssl", "gnutls"):
                clients.append((library + protocol, ["python3", os.path.join(HERE, "clients.py"), library, protocol]))
            clients.append(("node" + protocol, ["node", os.path.join(HERE, "client.js"), protocol]))
            if go:
                clients.append(("go" + protocol, [go, protocol]))
        if not go:
            print("\nno Go here: its clients are left out")
        os.mkdir(self.path("state"))
        count = 1000 // len(clients)
        lines = []
        for _, words in clients:
            lines.append(" ".join(words + [str(self.port), str(count), self.path("state")]) + " &")
        script = "ulimit -n 4096; %s\nfor job in $(jobs -p); do wait $job || exit 1; done\n" % "\n".join(lines)
        capture = Capture(self.port)
        self.addCleanup(capture.end)
        process = self.start("bash", self.script("clients.sh", script), options=("--requests",))
        wait_until(
            lambda: all(os.path.exists(self.path("state", name + ".open")) for name, _ in clients)
            or process.poll() is not None, 120)
        self.assertIsNone(process.poll(), process.poll() is not None and process.communicate())
        open(self.path("state", "all"), "w").close()
        out, err = process.communicate(timeout=120)
        self.assertEqual(process.returncode, 0, err)
        seen = self.seen()
        self.assertGreaterEqual(self.most, count * len(clients))
        asked = sum(map(len, seen.values()))
        self.assertEqual(asked, len(clients) * (2 * count + (count + 1) // 2))

        report = self.report()
        requests, traffic, lost = self.told(self.log())
        self.assertEqual(lost, [])
        self.compare(seen, requests)
        self.assertEqual(report["verdict"], "clean", report["reasons"])
        told = report["sensor"]["requests"]
        self.assertEqual((told["count"], told["hidden"], told["withoutConnection"]["count"]), (asked, 0, 0))
        flows = [f for f in report["network"] if f["remotePort"] == self.port and f["direction"] == "outbound"]
        self.assertEqual(sum(f["requests"]["count"] for f in flows), asked)
        self.assertEqual(
            {r["library"] for f in flows for r in f["requests"]["distinct"]},
            {"openssl", "gnutls"} | ({"go"} if go else set()))
        # Wait for the last segments, which the server's end may still send.
        time.sleep(0.5)
        # A port that came again is two connections to the capture's one.
        single = {port: rows[0] for port, rows in traffic.items() if len(rows) == 1}
        self.assertGreater(len(single), len(clients) * count)
        for port, (sent, received) in single.items():
            self.assertEqual(sent, capture.sent(port), "port %d" % port)
            self.assertIn(received, capture.received(port), "port %d" % port)
        for name in ("report.html", "report.md"):
            with open(self.path("martlet-report", name)) as file:
                self.assertIn("localhost:%d/" % self.port, file.read())

    def test_programs_of_others(self):
        """curl, with both libraries where there are two, and what asks through memory: asyncio."""
        code = (
            "import asyncio, ssl\n"
            "async def main():\n"
            "    context = ssl._create_unverified_context()\n"
            "    async def one(number):\n"
            "        reader, writer = await asyncio.open_connection('127.0.0.1', %d, ssl=context)\n"
            "        for again in range(3):\n"
            "            writer.write(('PUT /asyncio/%%d/%%d?x HTTP/1.1\\r\\nHost: h\\r\\nContent-Length: 9\\r\\n\\r\\n123456789'\n"
            "                %% (number, again)).encode())\n"
            "            await writer.drain()\n"
            "            await reader.readuntil(b'\\r\\n\\r\\n')\n"
            "            await reader.read(100)\n"
            "        writer.close()\n"
            "    await asyncio.gather(*[one(number) for number in range(40)])\n"
            "asyncio.run(main())\n" % self.port)
        self.script("asked.py", code)
        url = self.url
        self.script(
            "all.sh", "python3 asked.py && curl -sk --http1.1 -d body '%s/one?secret=hunter2' '%s/two' && "
            "curl -sk --http2 -H 'Cookie: hunter2' '%s/three' '%s/four' '%s/five'\n" % ((url,) * 5))
        done = self.run_martlet("bash", "all.sh", options=("--requests",))
        self.assertEqual(done.returncode, 0, done.stderr)
        seen = self.seen()
        self.assertEqual(sum(map(len, seen.values())), 125)
        requests, _, lost = self.told(self.log())
        self.assertEqual(lost, [])
        self.compare(seen, requests)

    def test_what_cannot_be_read_is_named(self):
        self.unreadable("own")
        done = self.run_martlet("sh", "-c", "./own; true", options=("--requests",))
        self.assertEqual(done.returncode, 0, done.stderr)
        files = {f["path"]: f for f in self.report()["sensor"]["requests"]["files"]}
        self.assertEqual(
            files[os.path.realpath(self.path("own"))].get("notRead"), "OpenSSL without its symbols", files)
        for name in ("report.html", "report.md"):
            with open(self.path("martlet-report", name)) as file:
                self.assertIn("OpenSSL without its symbols", file.read())

    def test_nothing_is_read_unless_asked_for(self):
        done = self.run_martlet("curl", "-sk", "https://127.0.0.1:%d/a" % self.port)
        self.assertEqual(done.returncode, 0, done.stderr)
        report = self.report()
        self.assertNotIn("requests", report["sensor"])
        self.assertFalse([f for f in report["network"] if "requests" in f])
        self.assertFalse([h for h in report["sensor"]["hooks"] if h["program"].startswith("tls_")])
