"""martlet agent that another one replaces while jobs run: none is lost, none is in two reports, and nothing is left behind."""
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import unittest

from agent import AgentCase
from harness import MARTLET, PATIENCE, needs_root, needs_sensor, wait_until
from house import AS_NOBODY, HouseCase

# Of this test alone: others may run beside it.
MARK = f"MARTLET_TEST_{os.getpid()}"
RULES = """
version: 1
shippedRules: false
rules:
  - {{name: github, provider: github, path: {runner}, steps: children}}
  - {{name: jenkins, provider: jenkins, markers: [{mark}, BUILD_TAG], key: BUILD_TAG, linger: 2s}}
"""
# Asks, by who it is, to replace an agent.
ASK = """
import socket, sys
client = socket.socket(socket.AF_UNIX)
client.connect(sys.argv[1])
client.sendall(b'{"command":"replace","step":"begin"}\\n')
answers = client.makefile("rb")
import json
client.sendall(json.loads(answers.readline())["challenge"].encode() + b"\\n")
sys.stdout.buffer.write(answers.readline())
"""


class ReplacedCase(AgentCase):
    def setUp(self):
        super().setUp()
        self.config = self.path("agent.yaml")
        with open(self.config, "w") as file:
            file.write(RULES.format(runner=self.runner, mark=MARK))

    def jenkins(self, script, tag):
        return super().jenkins(script, tag, {MARK: "1"})

    def start(self, *options):
        return self.start_agent("--config", self.config, *options)

    def replace(self, *options, draining=True):
        """Has a new agent take over; the number of the old one's process."""
        old = self.agent_pid
        self.start("--replace", *options)
        self.assertNotEqual(self.agent_pid, old)
        if draining:
            self.assertIn(old, [other["pid"] for other in self.status()["draining"]])
        return old

    def gone(self, pid):
        wait_until(lambda: not os.path.exists(f"/proc/{pid}"))

    def let_go(self, name):
        with open(self.path("work", name), "w"):
            pass

    def held(self, name):
        """A line of a job's script that says that it is there, and waits to be let go."""
        return f"echo x > {name}-there; while [ ! -e {name}-go ]; do sleep 0.02; done; echo x > {name}-done"

    def wait_there(self, name):
        wait_until(lambda: os.path.exists(self.path("work", f"{name}-there")))

    def by_files(self, reports):
        """Which reports have a file, by its name."""
        found = {}
        for report in reports:
            for name in self.written(report, self.path("work")):
                found.setdefault(name, []).append(report)
        return found

    def nothing_left(self):
        """No names of agents that were replaced."""
        self.assertEqual([name for name in os.listdir(self.scratch) if name.startswith("agent.sock")], ["agent.sock"])
        self.assertEqual(
            sorted(name for name in os.listdir(self.path("out")) if "journal" in name or "lock" in name), [".lock", "journal"])


@needs_sensor
@needs_root
class Replaced(ReplacedCase):
    def test_jobs_stay_where_they_are(self):
        self.start()
        runner = self.github([self.held("runner"), "echo x > runner-later"], run="1")
        step = self.jenkins("echo x > step-1", "build-1")
        self.assertEqual(step.wait(PATIENCE), 0)
        self.wait_there("runner")
        old = self.replace()
        # A job that is new, and a step of one that is not.
        self.github(["echo x > new"], run="2", wait=True)
        step = self.jenkins("echo x > step-2", "build-1")
        self.assertEqual(step.wait(PATIENCE), 0)
        self.let_go("runner-go")
        self.assertEqual(runner.wait(PATIENCE), 0)
        self.gone(old)
        wait_until(lambda: not self.status()["draining"])
        reports = self.reports(3)
        found = self.by_files(reports)
        self.assertEqual(
            sorted(found), ["new", "runner-done", "runner-later", "runner-there", "step-1", "step-2"])
        for name, having in found.items():
            self.assertEqual(len(having), 1, name)
            self.assertEqual(having[0]["verdict"], "clean", having[0]["reasons"])
        self.assertEqual(found["step-1"], found["step-2"])
        self.assertEqual([step["number"] for step in found["step-1"][0]["job"]["steps"]], [1, 2])
        self.assertEqual(found["runner-there"], found["runner-later"])
        self.assertEqual([step["number"] for step in found["runner-later"][0]["job"]["steps"]], [1, 2])
        self.nothing_left()
        # What comes with the key of a job that is over is another job, of the agent that there is.
        self.jenkins("echo x > step-3", "build-1").wait(PATIENCE)
        wait_until(lambda: len(self.reports_now()) == 4)
        self.assertEqual(self.status()["counts"]["opened"], 2)

    def reports_now(self):
        return [name for name in os.listdir(self.path("out")) if os.path.exists(self.path("out", name, "report.json"))]

    def test_jobs_that_begin_while_it_happens(self):
        """Runners, and pairs of processes with one key at the very same moment, all the time while agents replace each other."""
        self.start()
        # Of the first agent, for as long as this goes on: each next one is beside it and the one before.
        holder = self.github([self.held("holder")], run="0")
        self.wait_there("holder")
        ending, started = threading.Event(), []

        def start():
            number = 0
            while not ending.is_set():
                number += 1
                name = f"{number:04}"
                started.append((f"r{name}", self.github([f"echo x > r{name}"], run=name)))
                for half in "ab":
                    started.append((f"k{name}{half}", self.jenkins(f"echo x > k{name}{half}", f"build-{name}")))
                time.sleep(random.uniform(0, 0.03))

        thread = threading.Thread(target=start)
        thread.start()
        try:
            pids = [self.replace() for _ in range(3)]
        finally:
            ending.set()
            thread.join()
        for _, process in started:
            self.assertEqual(process.wait(PATIENCE), 0)
        self.let_go("holder-go")
        self.assertEqual(holder.wait(PATIENCE), 0)
        for pid in pids:
            self.gone(pid)
        wait_until(lambda: self.status()["counts"]["running"] + self.status()["counts"]["reportsWaiting"] == 0)
        reports = [self.report(name) for name in self.reports_now()]
        found = self.by_files(reports)
        self.assertEqual(sorted(set(found) - {"holder-there", "holder-done"}), sorted(name for name, _ in started))
        for name, having in found.items():
            self.assertEqual(len(having), 1, name)
            self.assertEqual(having[0]["verdict"], "clean", (name, having[0]["reasons"]))
            if name.startswith("k"):
                self.assertEqual(having, found[name[:-1] + "b"], name)
        self.assertEqual(len(reports), 1 + len(started) * 2 // 3)
        self.nothing_left()

    def report(self, name):
        with open(self.path("out", name, "report.json"), "rb") as file:
            return json.load(file)

    def test_who_asks_is_answered_by_the_agent_that_has_it(self):
        self.start()
        ask = f"{MARTLET} agent report --socket {self.path('agent.sock')} --json"
        # In a job nobody is given another sensor, and the refusal is that of who watches the job.
        run = f"setpriv --reuid 65534 --regid 65534 --clear-groups {MARTLET} run --socket {self.path('agent.sock')}"
        runner = self.github([f"echo x > there; while [ ! -e go ]; do sleep 0.02; done; {ask} > asked; {run} -- true 2> refused"])
        wait_until(lambda: os.path.exists(self.path("work", "there")))
        wait_until(lambda: self.status()["jobs"])
        job = self.status()["jobs"][0]["id"]
        old, old_token = self.agent_pid, self.token
        self.replace()
        self.assertEqual(self.status()["jobs"], [])
        replaced, = self.status()["replaced"]
        self.assertEqual((replaced["pid"], replaced["replacedBy"]), (old, self.agent_pid))
        self.assertEqual([found["id"] for found in replaced["jobs"]], [job])
        text = self.agent("status").stdout.decode()
        self.assertIn(f"took over  from process {old}", text)
        self.assertIn("octo/repo", text)
        self.let_go("go")
        self.assertIn(runner.wait(PATIENCE), (0, 125))
        with open(self.path("work", "asked")) as file:
            self.assertEqual(json.load(file)["job"], job)
        # By its name, and with the new agent's token.
        with open(self.path("token"), "w") as file:
            file.write(self.token)
        self.assertNotEqual(old_token, self.token)
        self.gone(old)

    def test_a_job_is_named_to_the_new_agent(self):
        self.start()
        runner = self.github([self.held("one")])
        self.wait_there("one")
        wait_until(lambda: self.status()["jobs"])
        job = self.status()["jobs"][0]["id"]
        old = self.replace()
        with open(self.path("token"), "w") as file:
            file.write(self.token)
        os.chmod(self.path("token"), 0o644)
        for words in ([], AS_NOBODY):
            done = subprocess.run(
                [*words, MARTLET, "agent", "report", "--socket", self.path("agent.sock"), "--job", job, "--json",
                 "--token-file", self.path("token")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd="/")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(json.loads(done.stdout)["job"], job)
        self.let_go("one-go")
        self.assertEqual(runner.wait(PATIENCE), 0)
        self.gone(old)

    def test_without_jobs_the_old_one_ends_at_once(self):
        self.start("--replace")
        old = self.replace(draining=False)
        self.gone(old)
        self.assertFalse(self.status()["draining"])
        self.nothing_left()

    def test_stop_ends_all(self):
        self.start()
        self.github([self.held("one")])
        self.wait_there("one")
        old = self.replace()
        self.stop_agent()
        self.assertFalse(os.path.exists(f"/proc/{old}"))
        report, = self.reports(1)
        self.assertEqual([entry["reason"] for entry in report["job"]["unseen"]], ["stopped"])
        self.assertEqual([name for name in os.listdir(self.scratch) if name.startswith("agent.sock")], [])

    def test_systemd_is_told_which_process_it_is_now(self):
        notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(notified.close)
        notified.bind(self.path("notify"))
        notified.settimeout(PATIENCE)
        os.environ["NOTIFY_SOCKET"] = self.path("notify")
        self.addCleanup(os.environ.pop, "NOTIFY_SOCKET")
        self.start()
        self.assertEqual(notified.recv(1000), b"READY=1")
        self.replace(draining=False)
        self.assertEqual(notified.recv(1000), f"MAINPID={self.agent_pid}".encode())


@needs_sensor
@needs_root
class Refused(ReplacedCase):
    def test_by_whom_it_is_not_for(self):
        self.start()
        asked = subprocess.run(
            [*AS_NOBODY, sys.executable, "-c", ASK, self.path("agent.sock")], stdout=subprocess.PIPE, cwd="/", check=True)
        self.assertIn("only root, or the user whose agent it is", json.loads(asked.stdout)["error"])
        start = f"{MARTLET} agent start --foreground --replace --socket {self.path('agent.sock')} --output {self.path('other')}"
        self.github([f"{start} 2> refused; true"], wait=True)
        with open(self.path("work", "refused")) as file:
            self.assertIn("a process of a job cannot replace the agent", file.read())
        # And it goes on.
        self.github(["echo x > there"], run="2", wait=True)
        self.reports(2)
        self.nothing_left()

    def test_jobs_are_kept_off_both(self):
        if "refused" not in self.agent_protection():
            self.skipTest("nothing is refused here: who attacks martlet is killed")
        self.start()
        old_job = self.github([self.held("old"), f"kill -9 $(cat agents); rm -f {self.path('agent.sock')}*; true"], run="1")
        self.wait_there("old")
        old = self.replace()
        with open(self.path("work", "agents"), "w") as file:
            file.write(f"{old} {self.agent_pid}")
        self.github([f"kill -9 $(cat agents); rm -f {self.path('agent.sock')}*; true"], run="2", wait=True)
        self.assertTrue(os.path.exists(f"/proc/{old}") and os.path.exists(f"/proc/{self.agent_pid}"))
        self.let_go("old-go")
        self.assertEqual(old_job.wait(PATIENCE), 0)
        self.gone(old)
        for report in self.reports(2):
            self.assertEqual(report["verdict"], "blocked")
            self.assertEqual(
                {denial["section"] for denial in report["denials"]}, {"self-protection"})
        self.nothing_left()

    def agent_protection(self):
        done = subprocess.run([MARTLET, "doctor"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        return next((line for line in done.stdout.decode().splitlines() if "self-protection" in line.lower()), "")


@needs_sensor
@needs_root
class Killed(ReplacedCase):
    MOMENTS = 12

    def test_the_new_one_at_any_moment(self):
        """Before it is ready the old one goes on as if nothing had been; after that the new one does, or is started again."""
        self.start()
        old = self.agent_pid
        for number in range(self.MOMENTS):
            new = subprocess.Popen(
                [MARTLET, "agent", "start", "--foreground", "--replace", "--socket", self.path("agent.sock"), "--output",
                 self.path("out"), "--config", self.config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            self.addCleanup(self._end, new)
            time.sleep(random.uniform(0.02, 1.2))
            new.kill()
            new.wait()
            # The old one notices that, if the new one had not told it by then that it was ready.
            if not self.goes_on(old):
                self.gone(old)
                self.start()
                old = self.agent_pid
            self.github([f"echo x > after-{number}"], run=str(number), wait=True)
            wait_until(lambda: self.having(f"after-{number}"))
            report, = self.having(f"after-{number}")
            self.assertEqual(report["verdict"], "clean", report["reasons"])
        self.nothing_left()

    def goes_on(self, old):
        """Whether it begins jobs: it has its names again."""
        def is_decided():
            if not os.path.exists(f"/proc/{old}"):
                return True
            done = self.agent("status", "--json", check=False)
            return done.returncode == 0 and json.loads(done.stdout)["pid"] == old and not os.path.exists(
                self.path("out", f"journal.{old}"))
        wait_until(is_decided)
        return os.path.exists(f"/proc/{old}")

    def having(self, name):
        found = []
        for entry in os.listdir(self.path("out")):
            path = self.path("out", entry, "report.json")
            # What is being written has no name yet.
            if not entry.startswith(".") and os.path.exists(path):
                with open(path, "rb") as file:
                    report = json.load(file)
                if name in self.written(report, self.path("work")):
                    found.append(report)
        return found

    def test_the_old_one(self):
        self.start()
        runner = self.github([self.held("one"), "echo x > later"])
        self.wait_there("one")
        wait_until(lambda: self.status()["jobs"])
        old = self.replace()
        os.kill(old, signal.SIGKILL)
        wait_until(lambda: not self.status()["draining"])
        wait_until(lambda: self.status()["jobs"])
        self.let_go("one-go")
        self.assertEqual(runner.wait(PATIENCE), 0)
        self.check_reports()

    def test_both(self):
        self.start()
        runner = self.github([self.held("one"), "echo x > later"])
        self.wait_there("one")
        wait_until(lambda: self.status()["jobs"])
        old = self.replace()
        second = self.github([self.held("two")], run="2")
        self.wait_there("two")
        wait_until(lambda: self.status()["jobs"])
        os.kill(old, signal.SIGKILL)
        os.kill(self.agent_pid, signal.SIGKILL)
        self.gone(self.agent_pid)
        self.start()
        wait_until(lambda: len(self.status()["jobs"]) == 2)
        for name in ("one-go", "two-go"):
            self.let_go(name)
        for process in (runner, second):
            self.assertEqual(process.wait(PATIENCE), 0)
        self.check_reports(jobs=2)

    def check_reports(self, jobs=1):
        """Of each job one by the agent that was killed, and one of what came then."""
        reasons = [[entry["reason"] for entry in report["job"]["unseen"]] for report in self.reports(2 * jobs)]
        self.assertEqual(sorted(reasons), [["adopted"]] * jobs + [["died"]] * jobs)
        later, = self.having("later")
        self.assertEqual(later["job"]["unseen"][0]["reason"], "adopted")
        self.nothing_left()

    def test_one_that_is_started_beside_those_that_drain(self):
        """As a supervisor does when the new one was killed: what the old one has stays its own."""
        self.start()
        runner = self.github([self.held("one"), "echo x > later"])
        self.wait_there("one")
        wait_until(lambda: self.status()["jobs"])
        old = self.replace()
        self.kill_agent()
        self.start()
        self.assertEqual([other["pid"] for other in self.status()["draining"]], [old])
        self.assertEqual(self.status()["jobs"], [])
        self.let_go("one-go")
        self.assertEqual(runner.wait(PATIENCE), 0)
        self.gone(old)
        report, = self.reports(1)
        self.assertEqual(report["verdict"], "clean", report["reasons"])
        wait_until(lambda: not self.status()["draining"])
        self.nothing_left()

@needs_sensor
@needs_root
class Service(HouseCase):
    """The unit's ExecReload, as systemd executes it."""

    def test_reload(self):
        # Whatever else runs on the machine is no job.
        self.install("version: 1\nshippedRules: false\nrules: [{name: none, provider: other, comm: no-such-runner}]\n")
        self.start_service()
        old = self.status()["pid"]
        user = self.start_in(
            *AS_NOBODY, "martlet", "run", "--", "sh", "-c", "echo x > there; while [ ! -e go ]; do sleep 0.02; done; exit 7")
        wait_until(lambda: os.path.exists(os.path.join(self.work, "there")))
        notify, sandbox = self.sandbox()
        with notify:
            # It leaves its standard error to the new agent, as that of a service is the journal.
            with open(self.path("log"), "w") as log:
                reload = self.start_in(
                    *sandbox, *self.unit()["ExecReload"].split(), environment={"NOTIFY_SOCKET": self.path("notify.sock")},
                    cwd="/", stdout=subprocess.DEVNULL, stderr=log)
            self.assertEqual(reload.wait(PATIENCE), 0)
            self.addCleanup(self.run_in, "martlet", "agent", "stop", "--token-file", "/run/martlet/token")
            new = self.status()["pid"]
            self.assertNotEqual(new, old)
            self.assertEqual(notify.recv(100), f"MAINPID={new}".encode())
        self.assertEqual([other["pid"] for other in self.status()["draining"]], [old])
        with open(os.path.join(self.work, "go"), "w"):
            pass
        said = self.finish(user, 7)
        self.assertRegex(said, r"^martlet  . clean\n")
        # The service's first process ends by itself, and with 0.
        self.assertEqual(self.service.wait(PATIENCE), 0)
        wait_until(lambda: not self.status()["draining"])
        self.assertEqual(sorted(os.listdir(self.inside("/run/martlet"))), ["agent.sock", "token"])

    def status(self):
        return json.loads(self.run_in("martlet", "agent", "status", "--json").stdout)


if __name__ == "__main__":
    unittest.main()
