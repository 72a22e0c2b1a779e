"""An HTTPS server for a test, which says what each of its clients asked for."""
import json
import os
import subprocess

from harness import PATIENCE, Case, wait_until

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "requests")


class ServedCase(Case):
    def setUp(self):
        super().setUp()
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout",
             self.path("key.pem"), "-out", self.path("cert.pem"), "-days", "2", "-subj", "/CN=localhost"],
            check=True, stderr=subprocess.DEVNULL)
        self.server = subprocess.Popen(
            ["node", os.path.join(HERE, "server.js"), self.scratch, self.path("port")], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE)
        self.addCleanup(self._end, self.server)
        wait_until(lambda: os.path.exists(self.path("port")) and os.path.getsize(self.path("port")))
        with open(self.path("port")) as file:
            self.port = int(file.read())
        self.url = "https://127.0.0.1:%d" % self.port

    def seen(self):
        """What the server saw: (method, host, path, version) of each request, by the client's port."""
        out, _ = self.server.communicate(timeout=PATIENCE)
        answer = json.loads(out)
        self.most = answer["most"]
        return {int(port): [(m, h, p.split("?")[0], v) for m, h, p, v in rows] for port, rows in answer["seen"].items()}

    def unreadable(self, name):
        """A program that looks as if it had OpenSSL, whose functions nobody finds."""
        source = self.script("own.c", 'const char *file = "../ssl/ssl_lib.c"; int main(void) { return !*file; }\n')
        subprocess.run(["cc", "-O0", "-o", self.path(name), source], check=True)
        return self.path(name)
