"""Reports of jobs that go on: asked for by the job itself, by root, by who has the token, and by those who may not."""
import json
import os
import subprocess
import sys
import unittest

from agent import AgentCase
from harness import MARTLET, PATIENCE, needs_root, needs_sensor, wait_until

# Connects and leaves the connection to a child, which asks when its parent has ended, or while it waits.
LEFT_BEHIND = """
import json, os, socket, sys, time
first = os.getpid()
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
end, ended = os.pipe()
if os.fork():
    os.close(end)
    if sys.argv[2] == "waits":
        os.wait()
    os._exit(0)
os.close(ended)
if sys.argv[2] == "ends":
    os.read(end, 1)
    # Until its parent has seen that it ended, its number leads to it still.
    try:
        while True:
            os.kill(first, 0)
            time.sleep(0.01)
    except ProcessLookupError:
        pass
s.sendall(b'{"command":"report","files":true}\\n')
said = s.makefile()
answer = json.loads(said.readline())
if "challenge" in answer:
    s.sendall((answer["challenge"] + "\\n").encode())
    answer = json.loads(said.readline())
with open(sys.argv[2], "w") as file:
    json.dump(answer, file)
"""


@needs_sensor
@needs_root
class Reports(AgentCase):
    def asking(self, *options, name="asked"):
        """A command of a job that asks for its report and keeps the answer."""
        words = " ".join([MARTLET, "agent", "report", "--socket", self.path("agent.sock"), *options])
        return f"{words} > {self.path(name)} 2>&1; echo $? > {self.path(name + '.status')}"

    def said(self, name="asked"):
        with open(self.path(name)) as file:
            return file.read()

    def status_of(self, name="asked"):
        wait_until(lambda: os.path.exists(self.path(name + ".status")) and os.path.getsize(self.path(name + ".status")))
        with open(self.path(name + ".status")) as file:
            return int(file.read())

    def go_on(self, name):
        return f"while [ ! -e {self.path(name)} ]; do sleep 0.05; done"

    def let(self, name):
        with open(self.path(name), "w"):
            pass

    def read(self, directory):
        with open(os.path.join(directory, "report.json"), "rb") as file:
            return json.load(file)

    def test_asked_early_hides_nothing(self):
        """What a job does after it has asked is in the report that takes the place of the first; both say so."""
        self.start_agent()
        copy = self.path("copy")
        runner = self.github([
            "echo a > before",
            self.asking("--json", "--output", copy),
            self.go_on("goon") + "; echo b > after; cat before > /dev/null"])
        self.assertEqual(self.status_of(), 0, self.said())
        answer = json.loads(self.said())
        self.assertEqual(answer["verdict"], "clean")
        self.assertGreater(answer["processes"], 1)
        first = self.read(copy)
        self.assertEqual(first["verdict"], "clean", first["reasons"])
        self.assertEqual(sorted(os.listdir(copy)), ["events.ndjson.zst", "policy.suggested.yaml", "report.html", "report.json", "report.md"])
        # It is the one that the agent keeps, under the name that the job's report will have.
        kept, = self.reports(1)
        self.assertEqual(kept["job"], first["job"])
        self.assertEqual(self.written(first, self.path("work")), ["before"])
        until = first["job"]["span"]["until"]
        self.assertEqual((until["by"], until["processes"], until["at"]), ("job", answer["processes"], answer["until"]))
        self.assertIsNone(first["job"]["exitCode"])
        self.assertEqual(first["job"]["unseen"], [])
        with open(os.path.join(copy, "report.md"), encoding="utf-8") as file:
            text = file.read()
        self.assertRegex(text, r"^## . martlet: clean, up to \d\d:\d\d:\d\d UTC\n")
        self.assertIn("when the job itself asked for it", text)
        self.assertIn("still ran", text)
        with open(os.path.join(copy, "report.html"), encoding="utf-8") as file:
            self.assertRegex(file.read(), r"<h1>Clean, up to \d\d:\d\d:\d\d UTC</h1>")
        check = subprocess.run([MARTLET, "log", "check", copy], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertEqual(check.returncode, 0, check.stderr)

        self.let("goon")
        self.assertEqual(runner.wait(PATIENCE), 0)
        wait_until(lambda: self.status()["counts"]["closed"] == 1 and not self.status()["counts"]["reportsWaiting"])
        last, = self.reports(1)
        self.assertEqual(last["directory"], kept["directory"])
        self.assertEqual((last["job"]["id"], last["job"]["exitCode"]), (first["job"]["id"], 0))
        self.assertEqual(last["verdict"], "clean", last["reasons"])
        self.assertEqual(self.written(last, self.path("work")), ["after", "before"])
        # Whose copy of the first it is can be told: its log is the beginning of this one's.
        span = last["job"]["span"]
        self.assertIsNone(span["until"])
        self.assertEqual([(e["by"], e["logHead"]) for e in span["earlier"]], [("job", first["log"]["head"])])
        with open(os.path.join(copy, "events.ndjson.zst"), "rb") as file:
            beginning = file.read()
        with open(os.path.join(last["directory"], "events.ndjson.zst"), "rb") as file:
            self.assertTrue(file.read().startswith(beginning))
        with open(os.path.join(last["directory"], "report.md"), encoding="utf-8") as file:
            self.assertIn("1 report was asked for before this one", file.read())
        self.assertEqual(self.status()["counts"]["reportsSoFar"], 1)

    def test_what_an_early_bird_rewrites_is_seen(self):
        """The same program, the same file, the same way: what is deduplicated has its last writing after the question."""
        self.start_agent()
        script = "import subprocess, time\n" \
            "open('release', 'w').write('good')\n" \
            f"subprocess.run({self.asking('--json')!r}, shell=True)\n" \
            "open('release', 'w').write('evil')\n"
        with open(self.path("work", "job.py"), "w") as file:
            file.write(script)
        self.github([f"{sys.executable} job.py"], wait=True)
        self.assertEqual(self.status_of(), 0, self.said())
        wait_until(lambda: self.status()["counts"]["reportsWritten"] == 1)
        report, = self.reports(1)
        release, = [f for f in report["files"] if f["path"] == self.path("work", "release")]
        self.assertGreater(release["lastClosedAt"], report["job"]["span"]["earlier"][0]["at"])

    def test_who_may_ask(self):
        self.start_agent()
        os.chmod(self.path("work"), 0o777)
        as_nobody = "setpriv --reuid 65534 --regid 65534 --clear-groups "
        asking = self.script("nobody.sh", self.asking("--output", self.path("work", "mine"), name="work/nobody"))
        runner = self.github([f"{as_nobody} sh {asking}", self.go_on("goon")])
        # A job's other users are told how it stands, and not what it did.
        self.assertEqual(self.status_of("work/nobody"), 1)
        self.assertIn("only root and the job's own user", self.said("work/nobody"))
        self.assertFalse(os.path.exists(self.path("work", "mine")))
        job, = self.status()["jobs"]

        def report(*words, user=()):
            return subprocess.run(
                [*user, MARTLET, "agent", "report", "--socket", self.path("agent.sock"), *words], cwd="/",
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=PATIENCE)

        # Nobody in no job, not even root, has a job by asking.
        done = report()
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr.decode(), "process [0-9]+ is in no job")
        stranger = as_nobody.split()
        for words in ([], ["--job", job["id"]]):
            done = report(*words, user=stranger)
            self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn("named by root, or with the agent's token", done.stderr.decode())
        done = report("--job", "0" * 32)
        self.assertEqual(done.returncode, 1)
        self.assertIn("there is no job", done.stderr.decode())
        with open(self.path("token"), "w") as file:
            file.write(self.token + "\n")
        os.chmod(self.path("token"), 0o644)
        for user, words in (((), []), (stranger, ["--token-file", self.path("token")])):
            done = report("--job", job["id"], "--markdown", *words, user=user)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("up to", done.stdout.decode())
            self.assertIn("agent's token", done.stdout.decode())
        done = report("--job", job["id"], "--fail-on", "findings")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.let("goon")
        self.assertEqual(runner.wait(PATIENCE), 0)
        wait_until(lambda: self.status()["counts"]["reportsWritten"] == 1)
        # Of one that has ended there is one to be had, too.
        done = report("--job", job["id"], "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        answer = json.loads(done.stdout)
        self.assertEqual((answer["verdict"], answer["until"]), ("clean", None))
        last, = self.reports(1)
        self.assertEqual(len(last["job"]["span"]["earlier"]), 4)

    def test_a_connection_that_was_left_to_another_process(self):
        self.start_agent()
        with open(self.path("work", "left.py"), "w") as file:
            file.write(LEFT_BEHIND)
        for case, reason in (("waits", "not the process that connected"), ("ends", "which process asks: No such process")):
            self.github([
                f"{sys.executable} left.py {self.path('agent.sock')} {case}; while [ ! -s {case} ]; do sleep 0.05; done"],
                wait=True)
            with open(self.path("work", case)) as file:
                self.assertIn(reason, json.load(file)["error"])

    def test_who_makes_a_job_for_others_to_join_reads_nothing_of_theirs(self):
        """A build's number can be guessed, and its key be taken first."""
        self.start_agent()
        asking = self.script("asking.sh", self.go_on("goon") + "; cd work; " + self.asking("--output", "stolen", name="work/asked"))
        os.chmod(self.path("work"), 0o777)
        first = subprocess.Popen(
            ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sh", asking], cwd=self.scratch,
            start_new_session=True,
            env={"PATH": os.environ["PATH"], "JENKINS_URL": "https://ci.example/", "BUILD_TAG": "app-43"})
        self.addCleanup(self.end_group, first)
        wait_until(lambda: self.status()["jobs"])
        second = self.jenkins("echo x > private; touch joined; sleep 1000", "app-43")
        wait_until(lambda: os.path.exists(self.path("work", "joined")))
        self.assertEqual(self.status()["counts"]["running"], 1)
        self.let("goon")
        self.assertEqual(self.status_of("work/asked"), 1)
        self.assertIn("only root and the job's own user", self.said("work/asked"))
        self.assertFalse(os.path.exists(self.path("work", "stolen")))
        self.end_group(second)

    def test_asked_often_and_by_many_at_once(self):
        self.start_agent()
        asking = " & ".join(self.asking("--json", name=f"asked-{number}") for number in range(8))
        self.github([f"{asking} & wait", "echo x > last"], wait=True)
        for number in range(8):
            self.assertEqual(self.status_of(f"asked-{number}"), 0, self.said(f"asked-{number}"))
        wait_until(lambda: self.status()["counts"]["reportsWritten"] == 1)
        report, = self.reports(1)
        self.assertEqual(report["verdict"], "clean", report["reasons"])
        self.assertEqual(self.written(report, self.path("work")), ["last"])
        self.assertEqual(sorted(n for n in os.listdir(self.path("out")) if n.startswith(".martlet")), [])

    def test_with_hashes_and_an_agent_that_is_killed_afterwards(self):
        with open(self.path("config"), "w") as file:
            file.write("version: 1\nhashes: true\n")
        self.start_agent("--config", self.path("config"))
        self.github(["echo a > made", self.asking("--json", "--output", self.path("copy")), "sleep 1000"])
        self.assertEqual(self.status_of(), 0, self.said())
        first = self.read(self.path("copy"))
        made, = [f for f in first["files"] if f["path"] == self.path("work", "made")]
        self.assertTrue(made["digest"].startswith("sha256:"), made)
        self.kill_agent()
        self.start_agent("--config", self.path("config"))
        wait_until(lambda: self.status()["counts"]["recovered"] == 1)
        self.stop_agent()
        reports = {r["job"]["id"]: r for r in self.reports(2)}
        # The dead agent's has taken the place of the one that it had made before.
        self.assertEqual([u["reason"] for u in reports[first["job"]["id"]]["job"]["unseen"]], ["died"])

    def test_an_agent_that_begins_within_a_job(self):
        runner = self.github([
            "touch there; " + self.go_on("goon"), self.asking("--json", "--output", self.path("copy")), "true"])
        wait_until(lambda: os.path.exists(self.path("work", "there")))
        self.start_agent("--from-here")
        self.let("goon")
        self.assertEqual(runner.wait(PATIENCE), 0)
        self.assertEqual(self.status_of(), 0, self.said())
        report = self.read(self.path("copy"))
        self.assertEqual(report["verdict"], "clean", report["reasons"])
        self.assertIsNotNone(report["job"]["span"]["from"])
        self.assertEqual((report["job"]["reason"], report["job"]["unseen"]), ("adopted", []))
        with open(self.path("copy", "report.md"), encoding="utf-8") as file:
            self.assertIn("when martlet was started while the job ran", file.read())


if __name__ == "__main__":
    unittest.main()
