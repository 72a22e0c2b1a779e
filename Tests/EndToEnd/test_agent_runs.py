"""martlet run of a user who may load nothing into the kernel, beside an agent that has."""
import json
import os
import signal
import sys
import unittest

from harness import needs_root, needs_sensor, wait_until
from house import AS_NOBODY, NOBODY, HouseCase

# Asks for a process that is not a child of its own, or that could become root, and prints the answer.
ASK_FOR = """
import ctypes, json, os, socket, subprocess, sys
what = sys.argv[1]
libc = ctypes.CDLL(None)
if what != "privileges":
    libc.prctl(38, 1, 0, 0, 0)
child = subprocess.Popen(["sleep", "30"])
grandchild = subprocess.Popen(["sh", "-c", "sleep 30 & echo $!; wait"], stdout=subprocess.PIPE)
number = {"child": child.pid, "privileges": child.pid, "grandchild": int(grandchild.stdout.readline()), "init": 1,
          "itself": os.getpid(), "nobody's": 2 ** 31 - 2}[what]
s = socket.socket(socket.AF_UNIX)
s.connect("/run/martlet/agent.sock")
said = s.makefile()
s.sendall(json.dumps({"command": "run", "process": number}).encode() + b"\\n")
s.sendall((json.loads(said.readline())["challenge"] + "\\n").encode())
print(said.readline())
for process in child, grandchild:
    process.kill()
os.kill(number, 9) if what == "grandchild" else None
"""


@needs_sensor
@needs_root
class Runs(HouseCase):
    def setUp(self):
        super().setUp()
        self.install("version: 1\nlimits: {runsPerUser: 2}\n")
        self.start_service()

    def run_as_nobody(self, *command, options=(), **keywords):
        return self.run_in(*AS_NOBODY, "martlet", "run", *options, "--", *command, **keywords)

    def report_in(self, place):
        with open(os.path.join(place, "report.json"), "rb") as file:
            return json.load(file)

    def status(self):
        return json.loads(self.run_in("martlet", "agent", "status", "--json").stdout)

    def test_as_if_root_had_run_it(self):
        done = self.run_as_nobody("sh", "-c", "id -u; echo x > made; ls > /dev/null; exit 7", check=False)
        self.assertEqual((done.returncode, done.stdout), (7, b"65534\n"), done.stderr)
        said = done.stderr.decode()
        self.assertRegex(said, r"^martlet  . clean\n")
        self.assertIn("exited 7 after", said)
        self.assertIn("martlet-report/report.html\n", said)
        place = self.path("work", "martlet-report")
        self.assertEqual(sorted(os.listdir(place)), ["events.ndjson.zst", "policy.suggested.yaml", "report.html", "report.json", "report.md"])
        for name in (".", *os.listdir(place)):
            status = os.stat(os.path.join(place, name))
            self.assertEqual((status.st_uid, status.st_mode & 0o77), (NOBODY, 0), name)
        report = self.report_in(place)
        self.assertEqual(report["verdict"], "clean", report["reasons"])
        job = report["job"]
        self.assertEqual((job["provider"], job["reason"], job["exitCode"]), ("run", "asked", 7))
        self.assertEqual(job["command"][0], "sh")
        self.assertEqual(job["workingDirectory"], self.work)
        self.assertEqual(self.written(report), ["made"])
        self.assertEqual([p["parent"] for p in report["processes"]].count(0), 1)
        self.assertEqual(report["sensor"]["fold"]["orphans"], 0)
        self.run_in("martlet", "log", "check", place)
        # The copy is the report: the agent's is gone.
        wait_until(lambda: not [n for n in os.listdir(self.inside("/var/lib/martlet")) if n.startswith(("run-", ".m"))])
        self.assertEqual(self.status()["recent"][0]["path"], "(handed over)")

    def test_statuses(self):
        for command, status in ((["true"], 0), (["./no-such-program"], 127), (["/etc/passwd"], 126),
                                (["sh", "-c", "kill -9 $$"], 137)):
            done = self.run_as_nobody(*command, options=["-o", "out"], check=False)
            self.assertEqual(done.returncode, status, done.stderr)
        # Of commands that never ran there is nothing left.
        wait_until(lambda: not [n for n in os.listdir(self.inside("/var/lib/martlet")) if n.startswith("run-")])
        done = self.run_as_nobody("true", options=["--fail-on", "incomplete"])
        self.assertIn(b"clean", done.stderr)
        # Places where there is no report to be left are found before the command runs.
        done = self.run_as_nobody("touch", "ran", options=["-o", "/root/x"], check=False)
        self.assertEqual(done.returncode, 125)
        self.assertFalse(os.path.exists(self.path("work", "ran")))

    def test_the_users_directory_leads_root_nowhere(self):
        os.makedirs(self.path("secret"))
        os.symlink(self.path("secret"), self.path("work", "link"))
        done = self.run_as_nobody("sh", "-c", "ln -s /var/lib/martlet gone", options=["-o", "link"])
        self.assertIn(b"link.1", done.stderr)
        self.assertEqual(os.listdir(self.path("secret")), [])
        self.assertEqual(os.stat(self.path("work", "link.1")).st_uid, NOBODY)

    def test_what_the_agent_cannot_do_is_refused(self):
        for options in (["--bytes"], ["--hashes"], ["--requests"], ["--user", "nobody"], ["--mask", "corp-*"], ["--hooks", "lsm"],
                        ["--metrics-file", "m"], ["--ring-size", "bulk=1M"], ["--argv", "full"]):
            done = self.run_as_nobody("touch", "ran", options=options, check=False)
            self.assertEqual(done.returncode, 125, options)
            self.assertIn(options[0], done.stderr.decode())
            self.assertIn("was not run", done.stderr.decode())
        policy = self.script("policy.yaml", "version: 1\nnetwork: {default: deny}\n", mode=0o644)
        done = self.run_as_nobody("touch", "ran", options=["--policy", policy], check=False)
        self.assertEqual(done.returncode, 125)
        self.assertIn("the agent that runs here keeps no policies", done.stderr.decode())
        self.assertEqual(os.listdir(self.work), [])

    def test_nobody_has_anothers_process_watched(self):
        script = self.script("ask.py", ASK_FOR)
        for what, answer in (
                ("child", '"watched"'), ("privileges", "could become more"), ("grandchild", "no child of who asks"),
                ("init", "no child of who asks"), ("itself", "no child of who asks"), ("nobody's", "no process")):
            done = self.run_in(*AS_NOBODY, sys.executable, script, what)
            self.assertIn(answer, done.stdout.decode(), what)
        # And the command gains nothing by executing a program: its report would tell what root's does.
        done = self.run_as_nobody("sh", "-c", "grep NoNewPrivs /proc/self/status")
        self.assertEqual(done.stdout.split(), [b"NoNewPrivs:", b"1"])

    def test_limits_and_several_at_once(self):
        waiting = [
            self.start_in(*AS_NOBODY, "martlet", "run", "-o", f"out-{n}", "--", "sh", "-c",
                          f"echo x > there-{n}; while [ ! -e goon ]; do sleep 0.05; done; echo x > after-{n}")
            for n in range(2)]
        wait_until(lambda: all(os.path.exists(self.path("work", f"there-{n}")) for n in range(2)))
        done = self.run_as_nobody("true", options=["-o", "third"], check=False)
        self.assertEqual(done.returncode, 125)
        self.assertIn("user 65534 may run 2 at once", done.stderr.decode())
        # Longer than a connection may otherwise take, nothing else is held up.
        self.assertEqual(self.status()["counts"]["running"], 2)
        with open(self.path("work", "goon"), "w"):
            pass
        for n, process in enumerate(waiting):
            self.finish(process)
            report = self.report_in(self.path("work", f"out-{n}"))
            self.assertEqual(self.written(report), [f"after-{n}", f"there-{n}"])

    def test_what_is_left_behind_is_listed(self):
        done = self.run_as_nobody("sh", "-c", "sleep 30 >/dev/null 2>&1 & echo $!")
        self.addCleanup(os.kill, int(done.stdout), signal.SIGKILL)
        report = self.report_in(self.path("work", "martlet-report"))
        self.assertEqual(report["counts"]["outlivedCommand"], 1)

    def test_a_martlet_or_an_agent_that_dies(self):
        process = self.start_in(*AS_NOBODY, "martlet", "run", "--", "sh", "-c", "echo x > there; sleep 1; echo x > after")
        wait_until(lambda: os.path.exists(self.path("work", "there")))
        os.kill(self.martlet_below(process), signal.SIGKILL)
        # It is watched to its end all the same, and the agent keeps the report.
        report, = self.reports(1, "run")
        self.assertEqual(self.written(report), ["after", "there"])
        # As with any martlet that is killed.
        left = [name for name in os.listdir(self.work) if name.startswith(".martlet")]
        process = self.start_in(
            *AS_NOBODY, "martlet", "run", "-o", "second", "--", "sh", "-c", "echo x > again; while [ ! -e goon ]; do sleep 0.05; done")
        wait_until(lambda: os.path.exists(self.path("work", "again")))
        self.service.kill()
        self.service.wait()
        with open(self.path("work", "goon"), "w"):
            pass
        self.assertIn("there is no report here", self.finish(process, status=125))
        self.assertFalse(os.path.exists(self.path("work", "second")))
        self.assertEqual([name for name in os.listdir(self.work) if name.startswith(".martlet")], left)

    def martlet_below(self, process):
        """nsenter and env become what they run, setpriv too: the process is martlet."""
        with open(f"/proc/{process.pid}/comm") as file:
            self.assertEqual(file.read(), "martlet\n")
        return process.pid

    def test_within_a_job(self):
        """What a job does stays in the job's report: it cannot be taken out by watching it."""
        runner = self.runner("status=0", " ".join(AS_NOBODY) + " martlet run -- touch ran || status=$?", "exit $status")
        said = self.finish(runner, status=125)
        self.assertIn("part of a job that the agent watches already", said)
        self.assertFalse(os.path.exists(self.path("work", "ran")))

    def test_roots_within_a_job_is_seen_by_both_and_counted_once_by_each(self):
        inner = "for n in 1 2 3; do cat there > there-$n; done; python3 -c \"import socket; " \
            "socket.socket().connect_ex((chr(49) + '27.0.0.1', 9))\""
        script = self.script("inner.sh", inner)
        self.finish(self.runner("set -e", "echo x > there", f"martlet run -o inner -- sh {script}", "echo x > last"))
        own = self.report_in(self.path("work", "inner"))
        job, = self.reports(1, "github", wanted=lambda job: job["command"][-1].startswith(self.scratch))
        copies = {f"there-{n}" for n in (1, 2, 3)}
        self.assertEqual(set(self.written(own)), copies)
        self.assertGreaterEqual(set(self.written(job)), copies | {"there", "last"})
        for report in own, job:
            self.assertEqual(report["verdict"], "clean", report["reasons"])
            self.assertEqual(sum(p["arguments"][:2] == ["cat", "there"] for p in report["processes"]), 3)
            self.assertEqual(len([f for f in report["network"] if f.get("remotePort") == 9]), 1, report["network"])
            completeness = report["sensor"]["completeness"]
            self.assertEqual(completeness["received"], completeness["sent"])
            self.assertEqual(completeness["seen"], completeness["sent"] + completeness["deduplicated"] + completeness["aggregated"])
            for name in copies:
                file, = [f for f in report["files"] if f["path"] == self.path("work", name)]
                same, = [f for f in own["files"] if f["path"] == self.path("work", name)]
                self.assertEqual([len(file[who]) for who in ("writers", "readers")], [len(same[who]) for who in ("writers", "readers")])

    def test_without_an_agent(self):
        self.stop_service()
        done = self.run_as_nobody("touch", "ran", check=False)
        self.assertEqual(done.returncode, 125)
        self.assertRegex(done.stderr.decode(), "Loading the kernel programs takes .*Run martlet as root")
        self.assertEqual(os.listdir(self.work), [])


if __name__ == "__main__":
    unittest.main()
