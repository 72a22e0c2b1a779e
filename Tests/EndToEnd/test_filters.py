"""What is left out of a report because somebody wants it so: of a command by options, of an agent's jobs by their rules."""
import json
import os
import subprocess
import unittest

from agent import AgentCase
from harness import MARTLET, needs_root, needs_sensor, wait_until

CONFIGURATION = """version: 1
rules:
  - {name: quiet, provider: jenkins, markers: [QUIET], key: BUILD_TAG}
  - {name: loud, provider: jenkins, markers: [LOUD], key: BUILD_TAG}
  - {name: other, provider: jenkins, markers: [OTHER], key: BUILD_TAG}
  - {name: slice, provider: other, cgroup: %s}
shippedRules: false
filters:
  - {rules: quiet, excludeEvents: file}
  - {rules: loud, excludeEvents: unix, excludePaths: [/], includePaths: [%s]}
"""

DEEDS = "for n in 1 2 3; do echo $n > %s-$n; cat %s-$n /etc/passwd > /dev/null; done"


@needs_sensor
@needs_root
class Filters(AgentCase):
    def configure(self, cgroup="/martlet-test-none"):
        with open(self.path("agent.yaml"), "w") as file:
            file.write(CONFIGURATION % (cgroup, self.path("work")))
        self.start_agent("--config", self.path("agent.yaml"))

    def paths(self, report):
        return {row["path"] for row in report["files"]}

    def test_two_classes_of_jobs_side_by_side(self):
        self.configure()
        jobs = [
            self.jenkins(DEEDS % (name, name), name, {name.upper(): "1"})
            for name in ("quiet", "loud", "other")
        ]
        for process in jobs:
            self.assertEqual(process.wait(60), 0)
        wait_until(lambda: len(self.status()["jobs"]) == 3)
        status = self.status()
        self.assertEqual([row["rules"] for row in status["filters"]], [["quiet"], ["loud"]])
        self.stop_agent()
        reports = {report["job"]["rule"]: report for report in self.reports(3)}
        quiet, loud, other = reports["quiet"], reports["loud"], reports["other"]
        for report in reports.values():
            self.assertEqual(report["verdict"], "clean", report["reasons"])
            self.assertGreaterEqual(len(report["processes"]), 4)
            self.assertEqual(report["sensor"]["completeness"]["lost"], {"critical": 0, "bulk": 0})

        self.assertEqual(self.paths(quiet), set())
        self.assertGreater(quiet["filters"]["classes"]["file.read"], 6)
        self.assertGreater(quiet["filters"]["classes"]["file.write"], 2)
        self.assertIn("does not vouch", quiet["filters"]["sentence"])

        work = self.path("work") + "/"
        self.assertEqual(self.paths(loud), {f"{work}loud-{n}" for n in (1, 2, 3)})
        self.assertGreater(loud["filters"]["filtered"], 6)
        self.assertEqual(loud["filters"]["includePaths"], [self.path("work")])

        self.assertNotIn("filters", other)
        self.assertTrue(self.paths(other) >= {f"{work}other-{n}" for n in (1, 2, 3)})
        # The log has no more than the report.
        log = subprocess.run([MARTLET, "log", "cat", quiet["directory"]], stdout=subprocess.PIPE, check=True).stdout
        names = {json.loads(line).get("activity_name") for line in log.splitlines()}
        self.assertTrue(names >= {"exec", "exit"} and not names & {"open", "close", "rename"}, names)

    def test_a_job_cannot_change_its_filter(self):
        with open(self.path("work", "martlet.yaml"), "w") as file:
            file.write("version: 1\nfilters: []\n")
        self.configure()
        process = self.jenkins("echo x > there", "a", {"QUIET": "1", "MARTLET_FILTERS": "none"})
        self.assertEqual(process.wait(60), 0)
        self.stop_agent()
        report, = self.reports(1)
        self.assertEqual(self.paths(report), set())
        self.assertEqual(report["filters"]["excludeEvents"], ["file.read", "file.write", "file.name", "file.attribute"])

    def test_what_an_agent_that_was_killed_left_out(self):
        self.configure()
        self.jenkins("echo x > there; sleep 1000", "a", {"QUIET": "1"})
        wait_until(lambda: os.path.exists(self.path("work", "there")))
        wait_until(lambda: self.status()["jobs"])
        self.kill_agent()
        self.start_agent("--config", self.path("agent.yaml"))
        report = self.reports(1)[0]
        self.assertEqual(report["verdict"], "incomplete")
        self.assertIsNone(report["filters"]["filtered"])
        self.assertIn("file.read", report["filters"]["sentence"])

    def test_a_cgroup_is_a_job(self):
        with open("/proc/self/mountinfo") as file:
            top = next((line.split()[4] for line in file if " - cgroup2 " in line), None)
        if top is None:
            self.skipTest("no cgroup v2 hierarchy is mounted")
        name = f"/martlet-test-{os.getpid()}"
        os.mkdir(top + name)
        self.addCleanup(lambda: os.rmdir(top + name))
        # One that was there first.
        waits = self.path("work", "waits")
        early = subprocess.Popen(
            ["/bin/sh", "-c", f"echo $$ > {top}{name}/cgroup.procs; exec /bin/sh -c 'echo > {waits}; exec sleep 1000'"])
        self.addCleanup(lambda: (early.kill(), early.wait()))
        wait_until(lambda: os.path.exists(waits))
        self.configure(name)
        for number in (1, 2):
            subprocess.run(
                ["/bin/sh", "-c", f"echo $$ > {top}{name}/cgroup.procs; exec /bin/sh -c 'echo > job-{number}'"],
                cwd=self.path("work"), check=True)
        job, = self.status()["jobs"]
        self.assertEqual((job["rule"], job["reason"]), ("slice", "adopted"))
        early.kill()
        early.wait()
        self.stop_agent()
        report, = self.reports(1)
        self.assertTrue(
            self.paths(report) >= {self.path("work", "job-1"), self.path("work", "job-2")}, self.paths(report))


@needs_sensor
@needs_root
class Options(AgentCase):
    def run_martlet(self, *options, status=0):
        done = subprocess.run(
            [MARTLET, "run", "-o", self.path("report"), *options, "--", "/bin/sh", "-c", "cat /etc/passwd > there"],
            cwd=self.path("work"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertEqual(done.returncode, status, done.stderr)
        return done.stderr.decode()

    def test_options_leave_out_what_they_say(self):
        said = self.run_martlet(
            "--exclude-events", "unix,channel", "--exclude-path", "/", "--include-path", self.path("work"))
        self.assertIn("clean, with filters", said)
        self.assertIn("left out   events of channel, unix; files below / but for those below", said)
        with open(self.path("report", "report.json")) as file:
            report = json.load(file)
        self.assertEqual([row["path"] for row in report["files"]], [self.path("work", "there")])
        self.assertGreater(report["filters"]["classes"]["file.read"], 0)
        self.assertEqual(report["filters"]["notAttached"], ["channel", "unix"])
        with open(self.path("report", "policy.suggested.yaml")) as file:
            self.assertIn("recorded with filters", file.read())

    def test_what_makes_no_sense_is_refused(self):
        for options, word in [
            (["--exclude-events", "process"], "invalid"), (["--include-path", "/usr"], "exclude /"),
            (["--exclude-path", "usr"], "begin with /"), (["--exclude-uid", "0", "--only-uid", "1"], "exclude each other"),
            (["--bytes", "--exclude-path", "/usr"], "--bytes"), (["--requests", "--exclude-events", "network"], "--requests"),
        ]:
            self.assertIn(word, self.run_martlet(*options, status=125), options)
        self.assertFalse(os.path.exists(self.path("work", "there")))


if __name__ == "__main__":
    unittest.main()
