# SPDX-License-Identifier: Apache-2.0
"""A Debian archive on the loopback interface, so that no network decides how long a build takes."""

import http.server
import os
import shutil
import subprocess
import threading
import urllib.error
import urllib.request
from pathlib import Path

from harness.measure import Failure

ADDRESSES = Path(__file__).resolve().parents[2] / "scripts" / "debian-archive"


def archive(kind):
    """The address of `main` or of `security`, as the machine's own apt has it."""
    done = subprocess.run([ADDRESSES, kind], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise Failure(f"no address of Debian's {kind} archive")
    return done.stdout.strip()


def sources(main, security, suite="bookworm"):
    """What Debian's own images have, one line for each source."""
    return f"deb {main} {suite} main\ndeb {main} {suite}-updates main\ndeb {security} {suite}-security main\n"


class Mirror:
    """Passes on what it is asked for the first time and keeps it; once it is `closed`, what it does not have is missing.

    Its threads are the benchmark's own, in none of the control groups that are measured.
    """

    def __init__(self, directory, closed=False):
        self.directory = Path(directory)
        self.closed = closed
        self.missed = set()
        self.lock = threading.Lock()
        if closed:  # For ever: what is there was brought.
            self.upstream = dict.fromkeys(("debian", "debian-security"))
            return
        self.upstream = {"debian": archive("main"), "debian-security": archive("security")}
        proxy = subprocess.run(["apt-config", "shell", "proxy", "Acquire::http::Proxy"], stdout=subprocess.PIPE, text=True)
        proxy = proxy.stdout.strip().removeprefix("proxy='").removesuffix("'")
        self.opener = urllib.request.build_opener(*([urllib.request.ProxyHandler({"http": proxy})] if proxy else []))

    def __enter__(self):
        mirror = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                path = mirror.get(self.path)
                if path is None:
                    self.send_error(404)
                    return
                with open(path, "rb") as file:
                    self.send_response(200)
                    self.send_header("Content-Length", str(os.fstat(file.fileno()).st_size))
                    self.end_headers()
                    shutil.copyfileobj(file, self.wfile)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever).start()
        address = f"http://127.0.0.1:{self.server.server_port}"
        self.sources = sources(f"{address}/debian", f"{address}/debian-security")
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def get(self, asked):
        """The file of what was asked for, or None."""
        first, _, rest = asked.lstrip("/").partition("/")
        if first not in self.upstream or ".." in rest.split("/"):
            return None
        path = self.directory / first / rest
        with self.lock:
            if path.is_file():
                return path
            if self.closed:
                self.missed.add(asked)
                return None
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with self.opener.open(f"{self.upstream[first]}/{rest}", timeout=120) as answer:
                    with open(f"{path}.part", "wb") as file:
                        shutil.copyfileobj(answer, file)
            except urllib.error.HTTPError:
                return None
            os.rename(f"{path}.part", path)
        return path
