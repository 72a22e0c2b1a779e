"""martlet agent from outside: decoy runners, their reports, the socket, and ends of every kind."""
import contextlib
import glob
import json
import os
import signal
import socket
import subprocess
import sys
import time
import unittest

from agent import SECRET, AgentCase
from harness import MARTLET, PATIENCE, needs_root, needs_sensor, wait_until

# Connects to itself, and names a host there.
NAMES_A_HOST = """
import socket
listener = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(listener.getsockname())
client.sendall(b"GET / HTTP/1.1\\r\\nHost: named.example\\r\\n\\r\\n")
listener.accept()[0].recv(100)
"""
# A daemon as it is done: what it makes is written by a process that init has adopted.
DOUBLE_FORK = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(0.1)
        with open("NAME", "w") as file:
            file.write("x")
    os._exit(0)
os.wait()
while not os.path.exists("NAME"):
    time.sleep(0.01)
"""


def process_of(report, text):
    """The process whose command line has `text`."""
    found = [p for p in report["processes"] if any(text in argument for argument in p["arguments"])]
    if not found:
        raise AssertionError(f"no process with {text}: {[p['arguments'] for p in report['processes']]}")
    return found[0]


@needs_sensor
@needs_root
class Agent(AgentCase):
    def test_two_runners_at_once(self):
        self.start_agent()
        scripts = {}
        for name in ("one", "two"):
            os.mkdir(self.path("work", name))
            with open(self.path("work", f"{name}.py"), "w") as file:
                file.write(DOUBLE_FORK.replace("NAME", f"{name}/escaped"))
            scripts[name] = [
                f"echo a > {name}/first; ls > /dev/null", f"{sys.executable} {name}.py", f"sleep 0.2; echo b > {name}/last"]
        started = [self.github(scripts[name], repository=f"octo/{name}", run=str(n)) for n, name in enumerate(scripts)]
        for process in started:
            self.assertEqual(process.wait(PATIENCE), 0)
        reports = {report["job"]["repository"]: report for report in self.reports(2, "github")}
        self.assertEqual(sorted(reports), ["octo/one", "octo/two"])
        for name in scripts:
            report = reports[f"octo/{name}"]
            self.assertEqual(report["verdict"], "clean", report["reasons"])
            self.assertEqual(self.written(report, self.path("work")), ["escaped", "first", "last"])
            self.assertTrue(all(f"/{name}/" in f["path"] for f in report["files"] if f["written"] and "/work/" in f["path"]))
            self.assertEqual([step["number"] for step in report["job"]["steps"]], [1, 2, 3])
            self.assertEqual([step["name"] for step in report["job"]["steps"]], ["step_0", "step_1", "step_2"])
            self.assertEqual((report["job"]["rule"], report["job"]["reason"]), ("github", "comm"))
            self.assertEqual(report["job"]["workflow"], "CI")
            self.assertEqual(report["job"]["exitCode"], 0)
            self.assertEqual(process_of(report, "first")["step"], 1)
            self.assertEqual(process_of(report, f"{name}.py")["step"], 2)
            self.assertEqual(process_of(report, "last")["step"], 3)
            # What escaped is the job's, and of its step; nobody is without a parent but the runner.
            self.assertEqual([p["step"] for p in report["processes"]].count(2), 4, report["processes"])
            self.assertEqual([p["parent"] for p in report["processes"]].count(0), 1)
            self.assertEqual(report["sensor"]["fold"]["orphans"], 0)
            check = subprocess.run([MARTLET, "log", "check", report["directory"]], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            self.assertEqual(check.returncode, 0, check.stderr)
        self.assertNotIn(SECRET.encode(), self.everything_written())

    def test_jenkins_by_environment(self):
        self.start_agent()
        first = [self.jenkins(f"echo 1 > {tag}-1", tag) for tag in ("a", "b")]
        for process in first:
            process.wait(PATIENCE)
        # A later step of the same builds, found by variable 400 of 500.
        many = {f"FILLER_{number:03}": "x" * 20 for number in range(400)}
        many.update({f"ZZZ_{number:03}": "y" for number in range(90)})
        second = [self.jenkins(f"sleep 0.1; echo 2 > {tag}-2", tag, many) for tag in ("a", "b")]
        for process in second:
            process.wait(PATIENCE)
        wait_until(lambda: len(self.status()["jobs"]) == 2)
        self.stop_agent()
        reports = {report["job"]["variables"]["BUILD_TAG"]: report for report in self.reports(2, "jenkins")}
        for tag in ("a", "b"):
            report = reports[tag]
            self.assertEqual(self.written(report, self.path("work")), [f"{tag}-1", f"{tag}-2"])
            self.assertEqual(report["job"]["job"], tag + "-job")
            self.assertEqual(report["job"]["run"], "42")
            self.assertEqual(report["job"]["reason"], "environment")
            self.assertEqual(report["verdict"], "clean", report["reasons"])
            self.assertEqual(len(report["job"]["steps"]), 2, report["job"]["steps"])
        self.assertNotIn(SECRET.encode(), self.everything_written())

    def test_what_is_in_no_job_is_nowhere(self):
        self.start_agent()
        with open(self.path("work", "untold"), "w"):
            pass
        subprocess.run(["/bin/sh", "-c", "echo x > untold"], cwd=self.path("work"), check=True)
        self.github(["true"], wait=True)
        report, = self.reports(1)
        self.assertNotIn(b"untold", self.everything_written())
        self.assertEqual(self.status()["counts"]["running"], 0)

    def test_status_and_stop(self):
        done = self.start_agent("--token-file", self.path("token"))
        self.assertEqual(done.stdout, b"")
        self.assertEqual(os.stat(self.path("token")).st_mode & 0o777, 0o600)
        runner = self.github(["echo x > there; sleep 1000"], repository="octo/long")
        wait_until(lambda: os.path.exists(self.path("work", "there")))
        wait_until(lambda: self.status()["jobs"] and self.status()["jobs"][0]["steps"])
        status = self.status()
        self.assertEqual(status["schema"], "martlet.agent/v1")
        job, = status["jobs"]
        self.assertEqual((job["provider"], job["rule"], job["repository"]), ("github", "github", "octo/long"))
        self.assertEqual(job["steps"][0]["name"], "step_0")
        self.assertGreaterEqual(job["processes"], 2)
        self.assertIn("octo/long", self.agent("status").stdout.decode())
        # Others see numbers alone.
        answer = subprocess.run(
            ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", sys.executable, "-c", ASK,
             self.path("agent.sock"), '{"command":"status"}'], stdout=subprocess.PIPE, cwd="/")
        stranger = json.loads(answer.stdout)
        self.assertEqual(stranger["counts"]["running"], 1)
        self.assertFalse({"jobs", "recent", "rules", "output", "problems"} & set(stranger))
        self.assertNotIn("octo", answer.stdout.decode())

        wrong = self.agent("stop", "--token", "0" * 32, check=False)
        self.assertEqual(wrong.returncode, 1)
        self.assertIn("token", wrong.stderr.decode())
        none = self.agent("stop", check=False)
        self.assertEqual(none.returncode, 1)
        self.assertTrue(os.path.exists(f"/proc/{self.agent_pid}"))
        self.agent("stop", "--token-file", self.path("token"))
        wait_until(lambda: not os.path.exists(f"/proc/{self.agent_pid}"))
        self.assertIsNone(runner.poll())
        report, = self.reports(1)
        self.assertEqual(report["verdict"], "incomplete")
        self.assertEqual([u["reason"] for u in report["job"]["unseen"]], ["stopped"])
        self.assertIsNone(report["job"]["unseen"][0]["until"])
        self.assertFalse(os.path.exists(self.path("agent.sock")))

    def test_sigterm_flushes(self):
        self.start_agent()
        runners = [self.github([f"echo x > file-{n}; sleep 1000"], run=str(n)) for n in range(20)]
        wait_until(lambda: len(self.status()["jobs"]) == 20)
        wait_until(lambda: all(os.path.exists(self.path("work", f"file-{n}")) for n in range(20)))
        begun = time.monotonic()
        os.kill(self.agent_pid, signal.SIGTERM)
        wait_until(lambda: not os.path.exists(f"/proc/{self.agent_pid}"))
        taken = time.monotonic() - begun
        # All of them: what could not be written within five seconds would be left to the next agent.
        reports = self.reports(20)
        for report in reports:
            self.assertEqual(self.written(report, self.path("work")), [f"file-{report['job']['run']}"])
            self.assertEqual(report["verdict"], "incomplete")
        print(f"\n    20 jobs closed {taken:.2f} s after SIGTERM", file=sys.stderr)
        for runner in runners:
            runner.kill()

    def test_killed_and_started_again(self):
        self.start_agent()
        runner = self.github(
            ["echo x > before; sleep 1.5; : ", "touch waiting; while [ ! -e goon ]; do sleep 0.05; done; echo x > after"])
        wait_until(lambda: os.path.exists(self.path("work", "waiting")))
        # Frames are written about once a second.
        time.sleep(1.6)
        self.kill_agent()
        with open(self.path("work", "goon"), "w"):
            pass
        time.sleep(0.3)
        self.start_agent()
        runner.wait(PATIENCE)
        report = self.reports(1, "github")[0] if not self.status()["counts"]["adopted"] else self.recovered_of_two()
        self.assertEqual(report["verdict"], "incomplete")
        unseen, = report["job"]["unseen"]
        self.assertEqual(unseen["reason"], "died")
        self.assertLess(unseen["from"], unseen["until"])
        self.assertEqual(report["job"]["repository"], "octo/repo")
        self.assertIn("before", self.written(report, self.path("work")))
        self.assertNotIn("after", self.written(report, self.path("work")))
        self.assertEqual([s["name"] for s in report["job"]["steps"]], ["step_0", "step_1"])
        check = subprocess.run([MARTLET, "log", "check", report["directory"]], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertEqual(check.returncode, 0, check.stderr)
        self.assertNotIn(SECRET.encode(), self.everything_written())

    def recovered_of_two(self):
        reports = self.reports(2, "github")
        return next(r for r in reports if any(u["reason"] == "died" for u in r["job"]["unseen"]))

    def test_what_was_there_first_is_adopted(self):
        runner = self.github(
            ["touch there; while [ ! -e goon ]; do sleep 0.05; done; echo x > adopted", "echo x > later"],
            repository="octo/early")
        wait_until(lambda: os.path.exists(self.path("work", "there")))
        self.start_agent()
        job, = self.status()["jobs"]
        self.assertEqual(job["reason"], "adopted")
        with open(self.path("work", "goon"), "w"):
            pass
        self.assertEqual(runner.wait(PATIENCE), 0)
        report, = self.reports(1)
        self.assertEqual(report["verdict"], "incomplete")
        self.assertEqual([u["reason"] for u in report["job"]["unseen"]], ["adopted"])
        self.assertIsNotNone(report["job"]["unseen"][0]["until"])
        self.assertEqual(self.written(report, self.path("work")), ["adopted", "later"])
        self.assertEqual(report["job"]["repository"], "octo/early")
        # The programs of what was there are known, although nobody saw them being executed.
        self.assertTrue(report["processes"][0]["executable"].endswith("/Runner.Worker"), report["processes"][0])
        self.assertEqual(report["sensor"]["fold"]["orphans"], 0)

    def test_what_outlives_the_runner_is_listed(self):
        self.start_agent()
        self.github([f"{sys.executable} -c \"import os,time; os.fork() or (os.setsid(), time.sleep(1000))\" & sleep 0.5"], wait=True)
        report, = self.reports(1)
        outliving = [p for p in report["processes"] if p["outlivedCommand"]]
        self.assertTrue(outliving, report["processes"])
        self.assertEqual(report["counts"]["outlivedCommand"], len(outliving))
        before = self.status()["counts"]
        self.assertEqual(before["closing"], 1)
        for process in outliving:
            try:
                os.kill(process["pid"], signal.SIGKILL)
            except ProcessLookupError:
                pass
        # Then its place is another's.
        wait_until(lambda: self.status()["counts"]["closing"] == 0)

    def test_fifty_jobs_at_once(self):
        self.start_agent()
        script = "for i in 1 2 3 4 5; do echo x > {n}-$i; cat {n}-$i > /dev/null; done; sleep 1"
        runners = [self.github([script.replace("{n}", str(n))], run=str(n)) for n in range(50)]
        for runner in runners:
            self.assertEqual(runner.wait(PATIENCE), 0)
        reports = self.reports(50, seconds=120)
        status = self.status()
        for report in reports:
            run = report["job"]["run"]
            self.assertEqual(self.written(report, self.path("work")), [f"{run}-{i}" for i in range(1, 6)])
            self.assertEqual(report["verdict"], "clean", report["reasons"])
        self.assertEqual(sorted(int(r["job"]["run"]) for r in reports), list(range(50)))
        self.assertEqual(status["counts"]["unattributed"], 0, status["counts"])
        memory = status["memory"]
        print(
            f"\n    50 jobs: {memory['peakResidentBytes'] / 2**20:.0f} MiB at most, with the rings' "
            f"{memory['ringBytes'] / 2**20:.0f} MiB as far as they were touched", file=sys.stderr)
        # A bound on size, with room: the rings and 250 MiB for 200 jobs.
        self.assertLess(memory["peakResidentBytes"] - memory["ringBytes"], 250 << 20)

    def test_answers_under_load(self):
        self.start_agent()
        print(f"\n    ready {self.start_seconds * 1000:.0f} ms after 'agent start'", file=sys.stderr)
        load = self.github(["i=0; while [ $i -lt 3000 ]; do cat /etc/passwd > load-$((i % 50)); i=$((i + 1)); done"])
        times = []
        while load.poll() is None and len(times) < 50:
            begun = time.monotonic()
            self.ask('{"command":"status"}')
            times.append(time.monotonic() - begun)
        self.assertTrue(times)
        times.sort()
        print(
            f"    {len(times)} status under load: median {times[len(times) // 2] * 1000:.1f} ms, "
            f"at most {times[-1] * 1000:.1f} ms", file=sys.stderr)
        load.wait(PATIENCE)

    def connect(self, client):
        end = time.monotonic() + PATIENCE
        while True:
            try:
                client.connect(self.path("agent.sock"))
                return
            except BlockingIOError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.01)

    def ask(self, request):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE)
            # With a time limit a full backlog is an error at once, which a client without one waits for.
            self.connect(client)
            client.sendall(request.encode() + b"\n")
            answer = b""
            while not answer.endswith(b"\n"):
                chunk = client.recv(65536)
                if not chunk:
                    break
                answer += chunk
        return json.loads(answer)

    def test_a_job_that_floods_the_socket(self):
        self.start_agent()
        flood = self.path("flood.py")
        with open(flood, "w") as file:
            file.write(FLOOD)
        os.chmod(self.scratch, 0o755)
        flooding = subprocess.Popen(
            ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", sys.executable, flood,
             self.path("agent.sock")], cwd="/", stdout=subprocess.PIPE)
        self.addCleanup(self.end_group, flooding)
        self.assertEqual(flooding.stdout.readline(), b"flooding\n")
        for _ in range(20):
            self.assertTrue(self.ask('{"command":"status"}')["ready"])
        self.github(["echo x > there"], wait=True)
        report, = self.reports(1)
        self.assertEqual(report["verdict"], "clean", report["reasons"])
        self.assertGreater(self.status()["counts"]["turnedAway"], 0)

    def test_the_environment_of_the_agent_is_clean(self):
        os.environ["RUNNER_TRACKING_ID"] = "github_of_the_job"
        self.addCleanup(os.environ.pop, "RUNNER_TRACKING_ID")
        self.start_agent()
        with open(f"/proc/{self.agent_pid}/environ", "rb") as file:
            names = {entry.split(b"=")[0] for entry in file.read().split(b"\0") if entry}
        self.assertLessEqual(names, {b"PATH", b"LANG"})
        self.assertEqual(os.getsid(self.agent_pid) == self.agent_pid, False)
        self.assertNotEqual(os.getsid(self.agent_pid), os.getsid(0))
        self.assertEqual(os.readlink(f"/proc/{self.agent_pid}/cwd"), "/")

    def test_wait_ready_and_a_second_agent(self):
        late = self.agent("wait-ready", "--timeout", "0.1", check=False)
        self.assertEqual(late.returncode, 1)
        self.start_agent()
        self.agent("wait-ready", "--timeout", "5")
        second = self.agent("start", "--output", self.path("out"), check=False)
        self.assertEqual(second.returncode, 125)
        self.assertIn("another agent", second.stderr.decode())
        third = self.agent("start", "--output", self.path("elsewhere"), check=False)
        self.assertEqual(third.returncode, 125)
        self.assertIn("is an agent running there?", third.stderr.decode())
        self.assertEqual(self.status()["pid"], self.agent_pid)

    def test_in_the_foreground_it_tells_systemd(self):
        name = self.path("notify.sock")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(name)
            notify.settimeout(PATIENCE)
            process = subprocess.Popen(
                [MARTLET, "agent", "start", "--foreground", "--output", self.path("out"), "--socket",
                 self.path("agent.sock")], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                env={**os.environ, "NOTIFY_SOCKET": name})
            self.addCleanup(self._end, process)
            self.assertEqual(notify.recv(100), b"READY=1")
            self.assertEqual(len(process.stdout.readline().strip()), 32)
            process.terminate()
            self.assertEqual(process.wait(PATIENCE), 0)
            self.assertEqual(notify.recv(100), b"STOPPING=1")

    def test_packets_are_looked_at_while_a_job_runs(self):
        """For the names in them: everybody's pass the programs that do. A job's are told from its beginning on."""
        self.start_agent()

        def looks():
            found = 0
            for path in glob.glob(f"/proc/{self.agent_pid}/fdinfo/*"):
                with contextlib.suppress(OSError):
                    with open(path) as file:
                        # BPF_CGROUP_INET_INGRESS and _EGRESS
                        found += "link_type:\tcgroup" in (text := file.read()) and (
                            "attach_type:\t0\n" in text or "attach_type:\t1\n" in text)
            return found

        wait_until(lambda: looks() == 0)
        gate = self.path("gate")
        os.mkfifo(gate)
        with open(self.path("client.py"), "w") as file:
            file.write(NAMES_A_HOST)
        job = self.github([f"sleep 0.2; {sys.executable} {self.path('client.py')}; read line < {gate}"])
        wait_until(lambda: looks() == 2)
        with open(gate, "w") as file:
            file.write("\n")
        self.assertEqual(job.wait(PATIENCE), 0)
        report, = self.reports(1)
        self.assertIn("named.example", [flow.get("serverName", {}).get("name") for flow in report["network"]])
        wait_until(lambda: looks() == 0, 30)
        self.stop_agent()


@needs_sensor
class Rules(AgentCase):
    def test_rules(self):
        done = subprocess.run([MARTLET, "agent", "rules"], stdout=subprocess.PIPE, check=True)
        for word in (b"Runner.Worker", b"BUILD_TAG", b"GITHUB_REPOSITORY"):
            self.assertIn(word, done.stdout)
        rules = json.loads(subprocess.run([MARTLET, "agent", "rules", "--json"], stdout=subprocess.PIPE, check=True).stdout)
        self.assertEqual(rules["rules"][0]["comm"], "Runner.Worker")
        self.assertFalse([name for name in rules["variables"] if "TOKEN" in name or "PASSWORD" in name])


ASK = """
import socket, sys
client = socket.socket(socket.AF_UNIX)
client.connect(sys.argv[1])
client.sendall(sys.argv[2].encode() + b"\\n")
answer = b""
while not answer.endswith(b"\\n"):
    chunk = client.recv(65536)
    if not chunk:
        break
    answer += chunk
sys.stdout.buffer.write(answer)
"""

FLOOD = """
import socket, sys
held = []
print("flooding", flush=True)
while True:
    try:
        client = socket.socket(socket.AF_UNIX)
        client.setblocking(False)
        client.connect(sys.argv[1])
        client.send(b"{")
        held.append(client)
    except OSError:
        client.close()
    if len(held) > 200:
        held.pop(0).close()
"""

if __name__ == "__main__":
    unittest.main()
