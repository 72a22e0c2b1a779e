"""martlet top under a pseudo terminal and as JSON, program statistics, and metrics over HTTP and in a file."""
import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import termios
import time
import unittest
import urllib.error
import urllib.request

from harness import MARTLET, PATIENCE, Case, needs_root, needs_sensor, python, read_line, wait_until

# Opens files until it is told to stop, and says when it has begun.
BUSY = python("import os\nprint('ready',flush=True)\nwhile not os.path.exists('stop'): os.close(os.open('/etc/passwd',0))")
KEPT = "\x1b[?1049h"
LEFT = "\x1b[?25h\x1b[?1049l"


class Screen:
    """A terminal of a size, with martlet top on it."""

    def __init__(self, *options, columns=80, rows=24, **environment):
        merged = {k: v for k, v in os.environ.items() if k != "NO_COLOR"}
        merged.update(TERM="xterm", **environment)
        self.output = ""
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
            os.execve(MARTLET, [MARTLET, "top", *options], merged)

    def modes(self):
        return termios.tcgetattr(self.descriptor)

    def resize(self, columns, rows):
        fcntl.ioctl(self.descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def send(self, text):
        os.write(self.descriptor, text.encode())

    def read(self, seconds=0.0):
        end = time.monotonic() + seconds
        while select.select([self.descriptor], [], [], max(0.0, end - time.monotonic()))[0]:
            try:
                data = os.read(self.descriptor, 65536)
            except OSError:
                data = b""
            if not data:
                return False
            self.output += data.decode()
        return True

    def frames(self):
        return self.output.split("\x1b[H")[1:]

    def expect(self, pattern):
        """Waits for a whole frame in which the pattern is, drawn after this call."""
        start = len(self.output)
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            alive = self.read(0.1)
            for frame in self.output[start:].split("\x1b[H")[1:]:
                if re.search(pattern, frame):
                    return frame
            if not alive:
                break
        raise AssertionError("no %r in %r" % (pattern, self.output[start:]))

    def reap(self):
        while self.read(0.1):
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done:
                self.read(0.1)
                self.pid = None
                return status
        if self.pid is not None:
            status = os.waitpid(self.pid, 0)[1]
            self.pid = None
            return status

    def close(self):
        if self.pid is not None:
            try:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
            except (ProcessLookupError, ChildProcessError):
                pass
        os.close(self.descriptor)


def plain(frame):
    """The lines without escape sequences; the terminal makes a carriage return more of each."""
    return [line.strip("\r") for line in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", frame).split("\n")]


def runs_are_counted():
    """Whether anybody has statistics on: a program that runs with every system call then counts."""
    def count():
        answer = subprocess.run(["bpftool", "prog", "show", "--json"], stdout=subprocess.PIPE, check=True)
        return sum(p.get("run_cnt", 0) for p in json.loads(answer.stdout))
    before = count()
    time.sleep(0.2)
    return count() != before


@needs_sensor
@needs_root
class Monitored(Case):
    def busy(self, *options):
        """A command under martlet that is at work; `stop` in the scratch directory ends it."""
        process = self.start(*BUSY, options=options)
        self.addCleanup(self.stop)
        self.assertEqual(read_line(process), "ready")
        return process

    def stop(self):
        if os.path.isdir(self.scratch):
            open(self.path("stop"), "w").close()


class Top(Monitored):
    def screen(self, *options, **keywords):
        screen = Screen(*options, **keywords)
        self.addCleanup(screen.close)
        return screen

    def test_it_shows_the_programs_the_rings_and_the_job_of_a_run(self):
        process = self.busy()
        screen = self.screen("-d", "0.2")
        frame = screen.expect(r"sys_exit +[1-9]")
        self.assertRegex(frame, r"martlet %d\x1b\[0m  " % process.pid)
        self.assertRegex(frame, r"job 1: 1 process")
        for text in ("critical", "bulk 0", "processes", "RUNS/S", "NS/RUN", "CPU%", "none lost"):
            self.assertIn(text, frame)
        self.assertLessEqual(frame.count("\r\n"), 23)
        self.assertTrue(all(len(line) <= 80 for line in plain(frame)), frame)

    def test_keys(self):
        screen = self.screen("-d", "0.2")
        screen.expect("by CPU")
        screen.send("n")
        screen.expect("by name")
        screen.send("r")
        screen.expect("by name, reversed")
        screen.send("a")
        screen.expect("all programs")
        screen.send("+")
        screen.expect(r"every 0\.5 s")
        screen.send("?")
        screen.expect("Any key goes back")
        screen.send("x")
        screen.expect("by name")
        screen.send(" ")
        screen.expect("PAUSED")
        clock = screen.frames()[-1]
        screen.read(1.5)
        self.assertEqual(screen.frames()[-1], clock)
        screen.send("q")
        self.assertEqual(screen.reap(), 0)

    def test_the_terminal_is_as_it_was_at_the_end(self):
        for how, status in (("q", 0), ("\x03", signal.SIGINT), (signal.SIGTERM, signal.SIGTERM), (signal.SIGHUP, signal.SIGHUP)):
            screen = self.screen("-d", "0.2")
            screen.expect("martlet top")
            self.assertFalse(screen.modes()[3] & (termios.ICANON | termios.ECHO))
            if isinstance(how, str):
                screen.send(how)
            else:
                os.kill(screen.pid, how)
            # Keep the terminal open here, so that its modes can still be asked for.
            end = screen.reap()
            self.assertEqual(os.WTERMSIG(end) if os.WIFSIGNALED(end) else os.WEXITSTATUS(end), status)
            self.assertIn(KEPT, screen.output)
            self.assertTrue(screen.output.endswith(LEFT), screen.output[-80:])

    def test_modes_are_put_back(self):
        master, slave = pty.openpty()
        self.addCleanup(os.close, master)
        self.addCleanup(os.close, slave)
        before = termios.tcgetattr(slave)
        process = subprocess.Popen(
            [MARTLET, "top", "-d", "0.2"], stdin=slave, stdout=slave, stderr=slave, env=dict(os.environ, TERM="xterm"))
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        os.set_blocking(master, False)

        def drawn():
            try:
                return b"martlet top" in os.read(master, 65536)
            except BlockingIOError:
                return False
        wait_until(drawn)
        self.assertNotEqual(termios.tcgetattr(slave), before)
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: process.poll() is not None)
        self.assertEqual(process.returncode, -signal.SIGTERM)
        self.assertEqual(termios.tcgetattr(slave), before)

    def test_it_follows_the_size_of_the_terminal(self):
        screen = self.screen("-d", "0.2", "--all")
        screen.expect("martlet top")
        for columns, rows in ((40, 10), (132, 50), (20, 3), (80, 24)):
            screen.resize(columns, rows)
            time.sleep(0.3)
            screen.read(0.1)
            frame = screen.expect("martlet top")
            self.assertLessEqual(frame.split("\x1b[J")[0].count("\r\n"), rows)
            self.assertTrue(all(len(line) <= columns for line in plain(frame)), frame)

    def test_no_colour_on_request(self):
        screen = self.screen("-d", "0.2", NO_COLOR="1")
        frame = screen.expect("martlet top")
        self.assertNotRegex(frame, r"\x1b\[(1;)?3[0-9]m")
        self.assertIn("\x1b[7m", frame)

    def test_in_a_pipe_it_prints_one_sample(self):
        done = subprocess.run([MARTLET, "top", "-d", "0.2"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=PATIENCE)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        self.assertNotIn(b"\x1b", done.stdout)
        self.assertIn(b"RUNS/S", done.stdout)

    def test_json(self):
        process = self.busy()
        # The table of processes knows who they are.
        done = subprocess.run([MARTLET, "top", "--json", "-d", "0.5"], stdout=subprocess.PIPE, check=True, timeout=PATIENCE)
        top = json.loads(done.stdout)
        self.assertEqual(top["schema"], "martlet.top/v1")
        # On a busy machine it may come late, never early.
        self.assertGreaterEqual(top["intervalSeconds"], 0.5)
        own = [s for s in top["sensors"] if s["pid"] == process.pid]
        self.assertEqual(len(own), 1, top["sensors"])
        self.assertEqual([r["ring"] for r in own[0]["rings"]][:2], ["critical", "bulk"])
        self.assertTrue(all(r["availableBytes"] <= r["highWaterBytes"] <= r["bytes"] for r in own[0]["rings"]))
        self.assertEqual(own[0]["jobs"], [{"job": 1, "processes": 1, "threads": 0}])
        names = {p["name"] for p in top["programs"]}
        # Whole names: the kernel's own end after 15 characters.
        self.assertIn("sched_process_exec", names)
        self.assertTrue(all(p["martlet"] for p in top["programs"]))
        busy = max(top["programs"], key=lambda p: p["runsPerSecond"])
        self.assertGreater(busy["nanosecondsPerRun"], 0)
        self.assertGreater(busy["cpuPercent"], 0)

    @unittest.skipUnless(shutil.which("bpftool"), "needs bpftool")
    def test_statistics_are_off_after_a_crash(self):
        self.busy()
        if runs_are_counted():
            self.skipTest("somebody else has statistics on")
        screen = self.screen("-d", "0.2")
        screen.expect("martlet top")
        self.assertTrue(runs_are_counted())
        os.kill(screen.pid, signal.SIGKILL)
        screen.reap()
        self.assertFalse(runs_are_counted())


class ProgramStatistics(Monitored):
    def test_in_the_report_on_request_only(self):
        for options, expected in ((("--program-stats",), True), ((), False)):
            done = self.run_martlet("sh", "-c", "for i in 1 2 3 4 5 6 7 8 9; do cat /etc/passwd; done", options=options)
            self.assertEqual(done.returncode, 0, done.stderr)
            sensor = self.report()["sensor"]
            self.assertEqual("programs" in sensor, expected)
            if expected:
                programs = {p["program"]: p for p in sensor["programs"]}
                self.assertGreater(programs["sched_process_exec"]["runs"], 9)
                self.assertGreater(programs["sched_process_exec"]["nanoseconds"], 0)
                with open(self.path("martlet-report", "report.html")) as file:
                    self.assertIn("Run time of the programs", file.read())


class Limits(Monitored):
    def test_a_ring_that_filled_is_warned_of_with_the_option_to_change(self):
        process = self.start(
            "sh", "-c", "echo ready; read go; for i in 1 2 3 4 5 6 7 8 9 10; do rm -f a; : > a; done; find /usr/include -type f "
            "| head -2000 | xargs cat > /dev/null; echo done; read go; true", options=("--ring-size", "bulk=128K"), stdin=subprocess.PIPE)
        self.assertEqual(read_line(process), "ready")
        process.stdin.write(b"\n")
        process.stdin.flush()
        self.assertEqual(read_line(process), "done")
        process.stdin.close()
        process.stdin = None
        self.assertEqual(process.wait(PATIENCE), 0)
        sensor = self.report()["sensor"]
        for ring in sensor["rings"]:
            self.assertEqual(ring["bytes"], 131072 if ring["ring"] == "bulk" else ring["bytes"])
            self.assertLessEqual(ring["highWaterBytes"], ring["bytes"])
        fullest = max(r["highWaterBytes"] for r in sensor["rings"] if r["ring"] == "bulk")
        self.assertGreater(fullest, 0)
        warned = [w for w in sensor["warnings"] if "--ring-size bulk=256K" in w]
        self.assertEqual(bool(warned), round(fullest / 131072 * 100) > 50, sensor)


class Metrics(Monitored):
    def fetch(self, url, **keywords):
        return urllib.request.urlopen(urllib.request.Request(url, **keywords), timeout=PATIENCE)

    def value(self, text, name):
        match = re.search(r"^%s ([0-9.e+]+)$" % re.escape(name), text, re.M)
        self.assertIsNotNone(match, name)
        return float(match.group(1))

    def endpoint(self, process):
        line = process.stderr.readline().decode()
        match = re.fullmatch(r"martlet: metrics are at (http://127\.0\.0\.1:\d+/metrics)\n", line)
        self.assertIsNotNone(match, line)
        return match.group(1)

    def test_over_http_while_the_command_runs(self):
        process = self.busy("--metrics-listen", "0")
        url = self.endpoint(process)
        with self.fetch(url) as answer:
            self.assertEqual(answer.headers["Content-Type"], "text/plain; version=0.0.4; charset=utf-8")
            first = answer.read().decode()
        self.assertTrue(first.startswith("# HELP martlet_info "))
        name = 'martlet_events_seen_total{type="open",ring="bulk"}'
        wait_until(lambda: self.value(self.fetch(url).read().decode(), name) > self.value(first, name))
        text = self.fetch(url).read().decode()
        self.assertGreater(self.value(text, 'martlet_ring_capacity_bytes{ring="critical",cpu=""}'), 0)
        self.assertEqual(self.value(text, 'martlet_map_refused_total{map="processes"}'), 0)
        self.assertNotIn("end_time", text)
        with self.fetch(url, method="HEAD") as answer:
            self.assertEqual(answer.read(), b"")
        for bad, status in ((url + "x", 404), (url, 405)):
            with self.assertRaises(urllib.error.HTTPError) as caught:
                self.fetch(bad, data=b"x" if status == 405 else None, method="POST" if status == 405 else "GET")
            self.assertEqual(caught.exception.code, status)
        # One that says nothing holds up nobody.
        port = int(url.split(":")[2].split("/")[0])
        with socket.create_connection(("127.0.0.1", port)):
            self.fetch(url).read()
        self.stop()
        self.assertEqual(process.wait(PATIENCE), 0)
        with self.assertRaises(urllib.error.URLError):
            self.fetch(url)

    def test_a_port_that_is_taken_is_told_before_the_command_runs(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            done = self.run_martlet("touch", "ran", options=("--metrics-listen", str(server.getsockname()[1])))
        self.assertEqual(done.returncode, 125)
        self.assertIn(b"Address already in use", done.stderr)
        self.assertFalse(os.path.exists(self.path("ran")))

    def test_in_a_file_that_is_always_whole(self):
        process = self.busy("--metrics-file", "m.prom")
        wait_until(lambda: os.path.exists(self.path("m.prom")))
        with open(self.path("m.prom")) as file:
            self.assertIn('martlet_records_sent_total{type="exec",ring="critical"}', file.read())
        self.stop()
        self.assertEqual(process.wait(PATIENCE), 0)
        with open(self.path("m.prom")) as file:
            text = file.read()
        completeness = self.report()["sensor"]["completeness"]
        cpus = self.report()["sensor"]["cpus"]
        self.assertEqual(sum(c["sent"] for c in cpus), completeness["sent"])
        # By type and CPU they add up in both directions.
        for cpu in cpus:
            for key in ("sent", "deduplicated", "lost", "truncated"):
                self.assertEqual(sum(t[key] for t in cpu["types"]), cpu[key], (cpu, key))
        for row in completeness["types"]:
            of_type = [t for cpu in cpus for t in cpu["types"] if t["type"] == row["type"]]
            self.assertEqual(sum(t["sent"] for t in of_type), row["sent"], row)
        metrics = re.findall(r'^martlet_cpu_records_sent_total\{cpu="(\d+)",type="(\w+)"\} (\d+)$', text, re.M)
        self.assertEqual(
            {(int(cpu), name): int(value) for cpu, name, value in metrics},
            {(c["cpu"], t["type"]): t["sent"] for c in cpus for t in c["types"] if t["sent"]})
        maps = {m["map"]: m for m in self.report()["sensor"]["maps"]}
        for name in ("tags", "processes", "writers", "sockets"):
            self.assertEqual(maps[name]["entries"], 0, maps)
        self.assertGreater(maps["processes"]["highWaterEntries"], 0)
        sent = sum(float(v) for v in re.findall(r"^martlet_records_sent_total\{.*\} (\d+)$", text, re.M))
        self.assertEqual(sent, completeness["sent"])
        self.assertEqual(self.value(text, "martlet_records_received_total"), completeness["received"])
        self.assertGreaterEqual(
            self.value(text, "martlet_run_end_time_seconds"), self.value(text, "martlet_run_start_time_seconds"))
        self.assertEqual(os.stat(self.path("m.prom")).st_mode & 0o777, 0o644)
        self.assertEqual([n for n in os.listdir(self.scratch) if "tmp" in n], [])

    def test_wake_ups(self):
        for mode in ("timer", "adaptive", "immediate"):
            done = self.run_martlet("true", options=("--wakeup", mode, "-o", mode))
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(self.report(mode)["verdict"], "clean")
        self.assertEqual(self.run_martlet("true", options=("--wakeup", "never")).returncode, 125)

    def test_sizes_of_maps(self):
        done = self.run_martlet("true", options=("--map-size", "processes=4096,sockets=128"))
        self.assertEqual(done.returncode, 0, done.stderr)
        maps = {m["map"]: m for m in self.report()["sensor"]["maps"]}
        self.assertEqual((maps["processes"]["capacity"], maps["sockets"]["capacity"]), (4096, 128))
        for bad in ("processes=1", "opens=128", "processes=", "processes=128,processes=128"):
            self.assertEqual(self.run_martlet("true", options=("--map-size", bad)).returncode, 125, bad)


class Bench(Monitored):
    def test_hooks_and_transport(self):
        for what, key in (("hooks", "hooks"), ("transport", "throughput")):
            start = time.monotonic()
            done = subprocess.run([MARTLET, "bench", what, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=180)
            self.assertEqual((done.returncode, done.stderr), (0, b""))
            result = json.loads(done.stdout)
            self.assertEqual(result["schema"], "martlet.bench/v1")
            self.assertTrue(result[key])
            if what == "hooks":
                for row in result["hooks"]:
                    self.assertEqual(row["nanoseconds"] is None, "reason" in row, row)
                none = [r for r in result["hooks"] if r["hook"] == "none"]
                self.assertEqual([r["operation"] for r in none], ["rename", "random"])
                self.assertTrue(all(r["nanoseconds"] > 0 for r in none))
            else:
                self.assertTrue(all(r["receivedPerSecond"] > 0 for r in result["throughput"]))
                self.assertTrue(all(0 < r["medianNanoseconds"] <= r["p99Nanoseconds"] for r in result["latency"]))


if __name__ == "__main__":
    unittest.main()
