"""`martlet run --policy`: what a policy stops, and how people are told."""
import json
import os
import shutil
import subprocess

from harness import MARTLET, PATIENCE, ROOT, Case, needs_root, needs_sensor


@needs_root
@needs_sensor
class Policy(Case):
    def run_under(self, policy, *command):
        with open(self.path("martlet.yaml"), "w") as file:
            file.write(policy)
        done = subprocess.run(
            [MARTLET, "run", "--no-live", "--output", "report", "--policy", "martlet.yaml", "--", *command],
            cwd=self.scratch, capture_output=True, text=True, timeout=PATIENCE)
        path = self.path("report/report.json")
        if not os.path.exists(path):
            return done, None
        with open(path) as file:
            return done, json.load(file)

    def test_every_way_out_is_closed(self):
        done = subprocess.run(
            [os.path.join(ROOT, "Attacks", "egress-matrix"), "--martlet", MARTLET], capture_output=True, text=True,
            timeout=10 * PATIENCE)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("ways are closed", done.stdout)

    def test_a_run_suggests_what_is_learnt_from_it(self):
        """And passes under it, whose own suggestion is no wider."""
        command = ["sh", "-c", "echo x > made; : < /dev/null; mkdir -p home/.ssh; echo y > home/.ssh/key; cat home/.ssh/key"]
        done = subprocess.run([MARTLET, "run", "--no-live", "--output", "first", "--", *command], cwd=self.scratch,
                              capture_output=True, text=True, timeout=PATIENCE)
        self.assertIn("\n  suggested  martlet run --policy first/policy.suggested.yaml -- …\n", done.stderr)
        with open(self.path("first/policy.suggested.yaml")) as file:
            suggested = file.read()
        learnt = subprocess.run([MARTLET, "policy", "learn", self.path("first")], capture_output=True, text=True, check=True,
                                timeout=PATIENCE)
        self.assertEqual(suggested, learnt.stdout)
        self.assertIn(f"- {{read: {self.path('home/.ssh/key')}}}", suggested)
        self.assertIn("protect: [sources, pipelines, credentials]", suggested)
        os.unlink(self.path("made"))
        shutil.rmtree(self.path("home"))
        done, report = self.run_under(suggested, *command)
        self.assertEqual((done.returncode, report["denials"], report["verdict"]), (0, [], "clean"), done.stderr)
        with open(self.path("report/policy.suggested.yaml")) as file:
            self.assertEqual(file.read(), suggested)

    def test_what_a_policy_stopped_may_be_in_what_is_suggested_and_that_is_said(self):
        _, report = self.run_under("version: 1\nnetwork: {default: deny}\n", "python3", "-c",
                                   "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('127.0.0.1', 9))")
        self.assertEqual(report["verdict"], "blocked")
        with open(self.path("report/policy.suggested.yaml")) as file:
            self.assertIn("# the run was stopped by a policy", file.read())

    def test_an_image_does_not_run(self):
        target = self.path("evil")
        with open(target, "w") as file:
            file.write(f"#!/bin/sh\necho ran > {self.path('ran')}\n")
        os.chmod(target, 0o755)
        done, report = self.run_under(f"version: 1\nexec: {{deny: [{{path: {target}}}]}}\n", "sh", "-c", f"{target}; true")
        self.assertFalse(os.path.exists(self.path("ran")), done.stderr)
        self.assertEqual(report["verdict"], "blocked", report["reasons"])
        denial, = report["denials"]
        self.assertEqual((denial["section"], denial["operation"], denial["rule"]), ("exec", "exec", 1))
        self.assertEqual(denial["decidedBy"], "martlet.yaml:2")
        self.assertIn("exec", done.stderr)
        self.assertRegex(done.stderr, r"martlet: (denied|killed for) exec .*evil by process \d+: martlet\.yaml:2")
        self.assertEqual(report["policy"]["file"], "martlet.yaml")
        self.assertRegex(report["policy"]["sha256"], "^[0-9a-f]{64}$")
        for name in ("report.md", "report.html"):
            with open(self.path("report/" + name)) as file:
                self.assertIn("martlet.yaml:2", file.read())

    def test_who_is_to_be_killed_for_whom_it_speaks_to_is(self):
        done, report = self.run_under(
            "version: 1\nnetwork: {default: kill}\n", "python3", "-c",
            "import socket, time\n"
            "try: socket.create_connection(('127.0.0.1', 9))\n"
            "except PermissionError: time.sleep(60)\n"
            "open('survived', 'w')")
        self.assertEqual(done.returncode, 128 + 9, done.stderr)
        self.assertFalse(os.path.exists(self.path("survived")))
        denial, = report["denials"]
        self.assertEqual((denial["effect"], denial["operation"]), ("prevented", "connect"))

    def test_what_is_only_observed_is_done_and_told(self):
        done, report = self.run_under(
            "version: 1\nnetwork: {default: observe}\n", "python3", "-c",
            "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(report["verdict"], "clean", report["reasons"])
        self.assertEqual([one["effect"] for one in report["denials"]], ["observed"])

    def test_a_policy_with_a_mistake_starts_nothing(self):
        done, report = self.run_under("version: 1\nnetwrk: {default: deny}\n", "touch", "started")
        self.assertEqual(done.returncode, 125)
        self.assertIn("martlet.yaml:2:1: there is no key 'netwrk'; did you mean 'network'?", done.stderr)
        self.assertFalse(os.path.exists(self.path("started")))

    def test_what_cannot_be_kept_is_not_promised(self):
        doctor = subprocess.run(
            [MARTLET, "doctor", "--json", "--policy", self.policy("version: 1\nexec: {deny: [{memfd: true}]}\n")],
            capture_output=True, text=True, timeout=PATIENCE)
        row, = json.loads(doctor.stdout)["policy"]
        self.assertEqual((row["rule"], row["section"], row["action"]), (1, "exec", "deny"))
        required = "version: 1\nexec: {deny: [{memfd: true}]}\nrequirePrevention: true\n"
        done, _ = self.run_under(required, "touch", "started")
        if row["strength"] == "prevented":
            self.assertEqual(done.returncode, 0, done.stderr)
        else:
            self.assertEqual(done.returncode, 125, done.stderr)
            self.assertIn("requires prevention", done.stderr)
            self.assertFalse(os.path.exists(self.path("started")))

    def policy(self, text):
        with open(self.path("asked.yaml"), "w") as file:
            file.write(text)
        return self.path("asked.yaml")

