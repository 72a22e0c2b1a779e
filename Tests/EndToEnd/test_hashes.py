"""What files hash to: `run --hashes` and the agent's `hashes`, against Python's own SHA-256."""
import hashlib
import json
import os
import shutil
import subprocess

from agent import AgentCase
from harness import MARTLET, Case, needs_root, needs_sensor


def digest(path):
    with open(path, "rb") as file:
        return "sha256:" + hashlib.sha256(file.read()).hexdigest()


def images(report):
    """Every execution of a report."""
    return [image for process in report["processes"] for image in process["executions"]]


@needs_root
@needs_sensor
class Hashes(Case):
    COMMAND = ("sh", "-c", "./tool > made; ./tool > removed; rm removed; mv made moved; exec ./tool")

    def setUp(self):
        super().setUp()
        shutil.copy("/bin/echo", self.path("tool"))
        # Longer ago than a tick: what a name leads to is then known to be what was executed.
        then = os.stat(self.path("tool")).st_ctime_ns
        while os.stat(self.scratch).st_ctime_ns < then + 100_000_000:
            os.utime(self.scratch)

    def doctor(self):
        done = subprocess.run([MARTLET, "doctor", "--json"], stdout=subprocess.PIPE)
        return next(f for f in json.loads(done.stdout)["functions"] if f["family"] == "hashes")

    def test_are_those_of_the_files(self):
        function = self.doctor()
        self.assertTrue(function["onRequest"])
        self.assertEqual(function["option"], "--hashes")
        self.assertTrue(function["standIn"])
        by = "kernel" if function["hooks"] else "userSpace"
        done = self.run_martlet(*self.COMMAND, options=("--hashes",))
        self.assertEqual(done.returncode, 0, done.stderr)
        report = self.report()
        self.assertEqual(report["verdict"], "clean", report["reasons"])
        tools = [i for i in images(report) if i["executable"] == os.path.realpath(self.path("tool"))]
        self.assertEqual(len(tools), 3)
        for image in tools:
            self.assertEqual(image["digest"], digest(self.path("tool")), image)
            self.assertEqual(image["digestBy"], by)
            self.assertTrue(image["digestAt"])
        for image in images(report):
            self.assertIn(image["digest"], (digest(image["executable"]), None))
            self.assertNotEqual(image.get("digestAbsent"), "notHashed")
        files = {os.path.basename(f["path"]): f for f in report["files"]}
        self.assertEqual(files["moved"]["digest"], digest(self.path("moved")))
        # Its name has changed since its last close, which its change time tells.
        self.assertIn("digestIsAsClosed", files["moved"])
        self.assertNotIn("digest", files["removed"])
        hashes = report["sensor"]["hashes"]
        self.assertEqual("notByKernel" in hashes, by == "userSpace")
        self.assertGreater(hashes["byKernel"] + hashes["byUserSpace"], 1)

        log = subprocess.run(
            [MARTLET, "log", "cat", self.path("martlet-report", "events.ndjson.zst")], stdout=subprocess.PIPE).stdout
        lines = [json.loads(line) for line in log.splitlines() if b'"activity_name":"digest"' in line]
        told = {line["file"]["hashes"][0]["value"] for line in lines if "hashes" in line["file"]}
        self.assertIn(digest(self.path("tool"))[7:], told)
        self.assertIn(digest(self.path("moved"))[7:], told)
        with open(self.path("martlet-report", "report.html")) as file:
            self.assertIn(digest(self.path("tool"))[7:], file.read())
        with open(self.path("martlet-report", "report.md")) as file:
            self.assertIn(digest(self.path("tool"))[7:19], file.read())

    def test_are_not_taken_unless_asked_for(self):
        self.assertEqual(self.run_martlet(*self.COMMAND).returncode, 0)
        report = self.report()
        self.assertNotIn("hashes", report["sensor"])
        self.assertNotIn("hashes", [h["family"] for h in report["sensor"]["hooks"]])
        self.assertTrue(all("digest" not in f for f in report["files"] + images(report)))

    def test_a_file_that_is_still_written_has_none(self):
        done = self.run_martlet(
            "sh", "-c", "(exec >held; echo one; sleep 300) >/dev/null 2>&1 & echo $! > pid; while ! [ -s held ]; do :; done",
            options=("--hashes",))
        with open(self.path("pid")) as file:
            os.kill(int(file.read()), 9)
        self.assertEqual(done.returncode, 0, done.stderr)
        held = next(f for f in self.report()["files"] if f["path"].endswith("/held"))
        self.assertEqual((held["digest"], held["digestAbsent"]), (None, "open"))


@needs_root
@needs_sensor
class AgentHashes(AgentCase):
    def test_a_job_has_them_if_the_configuration_says_so(self):
        with open(self.path("agent.yaml"), "w") as file:
            file.write("version: 1\nhashes: true\n")
        self.start_agent("--config", self.path("agent.yaml"))
        self.github(["echo text > made", "sleep 0.3"], wait=True)
        report, = self.reports(1, "github")
        made = next(f for f in report["files"] if f["path"].endswith("/made"))
        self.assertEqual(made["digest"], digest(self.path("work", "made")))
        known = [i for i in images(report) if i["digest"]]
        self.assertTrue(known)
        for image in known:
            self.assertEqual(image["digest"], digest(image["executable"]))
        self.assertEqual(report["verdict"], "clean", report["reasons"])
        self.stop_agent()
