"""What the end-to-end tests share: where the binary is, how it is run, and a shell on a terminal.

MARTLET names the binary (default: the debug build). With LAUNCH_PROBE, a test program that starts commands as
martlet does but loads no sensor, the tests of launching, signals and terminals need neither root nor BPF.
"""
import contextlib
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
MARTLET = os.environ.get("MARTLET", os.path.join(ROOT, ".build", "debug", "martlet"))
PROBE = os.environ.get("LAUNCH_PROBE")
# How long a step may hang before the test gives up: not a bound on speed.
PATIENCE = 60

# A shell starts what runs in its background with these ignored, and martlet does as it is told.
for number in (signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, signal.SIG_DFL)

needs_root = unittest.skipUnless(os.geteuid() == 0, "needs root")
needs_sensor = unittest.skipIf(PROBE, "needs the sensor, and LAUNCH_PROBE is set")


class Case(unittest.TestCase):
    """A test with a scratch directory, in which martlet runs."""

    def setUp(self):
        self.scratch = tempfile.mkdtemp(prefix="martlet-test-")
        self.addCleanup(shutil.rmtree, self.scratch, ignore_errors=True)

    def path(self, *parts):
        return os.path.join(self.scratch, *parts)

    def words(self, *command, options=()):
        """The argument vector that runs `command` under martlet."""
        if PROBE:
            return [PROBE, *[o for o in options], *command]
        return [MARTLET, "run", *options, "--", *command]

    def run_martlet(self, *command, options=(), **keywords):
        keywords.setdefault("cwd", self.scratch)
        keywords.setdefault("stdin", subprocess.DEVNULL)
        keywords.setdefault("timeout", PATIENCE)
        return subprocess.run(
            self.words(*command, options=options), stdout=subprocess.PIPE, stderr=subprocess.PIPE, **keywords)

    def start(self, *command, options=(), **keywords):
        keywords.setdefault("cwd", self.scratch)
        keywords.setdefault("stdin", subprocess.DEVNULL)
        process = subprocess.Popen(
            self.words(*command, options=options), stdout=subprocess.PIPE, stderr=subprocess.PIPE, **keywords)
        self.addCleanup(self._end, process)
        return process

    def _end(self, process):
        if process.poll() is None:
            process.kill()
        process.communicate()

    @staticmethod
    def end_group(process):
        """Ends a process with its session: what it has started, too, would keep our output open, and whoever reads it waiting."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()

    def report(self, directory="martlet-report"):
        with open(self.path(directory, "report.json"), "rb") as file:
            return json.load(file)

    def script(self, name, text, mode=0o755):
        path = self.path(name)
        with open(path, "w") as file:
            file.write(text)
        os.chmod(path, mode)
        return path


def read_line(process):
    """The next line of a started command's standard output."""
    line = process.stdout.readline()
    if not line:
        raise AssertionError("the command ended early: %r" % process.stderr.read())
    return line.decode().strip()


def wait_until(what, seconds=PATIENCE):
    """Polls until `what()` is true."""
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            raise AssertionError("gave up waiting")
        time.sleep(0.02)


class Shell:
    """An interactive shell with job control on a terminal of its own."""

    def __init__(self, cwd, **environment):
        self.output = b""
        self.position = 0
        merged = {k: v for k, v in os.environ.items() if k != "CI"}
        merged.update(PS1="<prompt>", TERM="xterm", HISTFILE="", **environment)
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            os.chdir(cwd)
            os.execvpe("bash", ["bash", "--norc", "--noprofile", "--noediting", "-i"], merged)
        self.expect("<prompt>")

    def send(self, text):
        os.write(self.descriptor, text.encode())

    def line(self, text):
        self.send(text + "\n")

    def expect(self, pattern, seconds=PATIENCE):
        """Reads until `pattern` appears after what was matched last; returns the match."""
        expression = re.compile(pattern.encode())
        end = time.monotonic() + seconds
        while True:
            match = expression.search(self.output, self.position)
            if match:
                self.position = match.end()
                return match
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.descriptor], [], [], left)[0]:
                raise AssertionError("no %r in %r" % (pattern, self.output[self.position:]))
            try:
                data = os.read(self.descriptor, 65536)
            except OSError:
                data = b""
            if not data:
                raise AssertionError("the shell ended; no %r in %r" % (pattern, self.output[self.position:]))
            self.output += data

    def close(self):
        try:
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        os.close(self.descriptor)
        os.waitpid(self.pid, 0)


def shell_words(words):
    import shlex

    return " ".join(shlex.quote(w) for w in words)


def python(code):
    """Words that run `code` in a fresh interpreter."""
    return [sys.executable, "-c", code]
