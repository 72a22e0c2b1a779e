"""Policies of an agent's jobs: the machine's, those of rules, a repository's own, and what a user asks for."""
import json
import os
import re
import socket
import sys
import unittest

from harness import needs_root, needs_sensor, wait_until
from house import AS_NOBODY, NOBODY, HouseCase

# That nobody may execute, too.
PYTHON = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable

NODE = """version: 1
network:
  default: deny
  allow:
    - {address: 127.0.0.2}
    - {address: 127.0.0.4}
exec: {deny: [{path: "**/evil"}]}
"""

# Sends a word to each of these addresses by UDP, and says what became of it.
SEND = """
import socket, sys
for address in sys.argv[2:]:
    try:
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(sys.argv[1].encode(), (address, %d))
        print(address, "sent")
    except OSError as error:
        print(address, error.strerror)
"""


class Listener:
    """Counts what reaches an address, outside all jobs."""

    def __init__(self, address, port=0):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((address, port))
        self.socket.setblocking(False)
        self.port = self.socket.getsockname()[1]

    def received(self):
        found = []
        while True:
            try:
                found.append(self.socket.recv(100).decode())
            except BlockingIOError:
                return found


@needs_sensor
@needs_root
class Policies(HouseCase):
    def setUp(self):
        super().setUp()
        self.allowed = Listener("127.0.0.2")
        self.denied = Listener("127.0.0.3", self.allowed.port)
        self.other = Listener("127.0.0.4", self.allowed.port)
        for listener in (self.allowed, self.denied, self.other):
            self.addCleanup(listener.socket.close)
        self.send = self.script("send.py", SEND % self.allowed.port)

    def configure(self, configuration=None, node=NODE, **files):
        """Installs the agent with a policy of the machine and further files in /etc/martlet."""
        self.install(configuration or "version: 1\n")
        for name, text in {"policy": node, **files}.items():
            if text is None:
                continue
            with open(self.path("etc", "martlet", name + ".yaml"), "w") as file:
                file.write(text)

    def sending(self, word, *addresses):
        return f"{PYTHON} {self.send} {word} {' '.join(addresses)}"

    def status(self):
        return json.loads(self.run_in("martlet", "agent", "status", "--json").stdout)

    def job(self, provider="github"):
        """The report of the only job of this test."""
        report, = self.reports(1, provider, wanted=lambda job: self.scratch in " ".join(job["command"] or []))
        return report

    def start_agent(self):
        """As a service, with what it says in a file."""
        self.said = open(self.path("agent.log"), "w+")
        self.addCleanup(self.said.close)
        start = self.start_in

        def with_log(*words, **keywords):
            keywords["stderr"] = self.said
            return start(*words, **keywords)

        self.start_in = with_log
        try:
            self.start_service()
        finally:
            self.start_in = start

    def log(self):
        self.said.seek(0)
        return self.said.read()

    def test_the_machines_holds_for_every_job_from_its_first_instruction(self):
        self.configure()
        self.start_agent()
        evil = self.script("evil", f"#!/bin/sh\necho ran > {self.path('ran')}\n")
        # The runner becomes the sender: nothing is between what recognises the job and what it does.
        told = self.finish(self.runner(
            self.sending("first", "127.0.0.2", "127.0.0.3"), f"{evil} || true"))
        self.assertIn("127.0.0.2 sent", told)
        self.assertIn("127.0.0.3 Operation not permitted", told)
        self.assertEqual((self.allowed.received(), self.denied.received()), (["first"], []))
        self.assertFalse(os.path.exists(self.path("ran")))
        report = self.job()
        self.assertEqual(report["verdict"], "blocked", report["reasons"])
        self.assertEqual(report["policy"]["file"], "policy.yaml")
        denied = {(denial["section"], denial["decidedBy"]) for denial in report["denials"]}
        self.assertEqual(denied, {("network", "network default"), ("exec", "policy.yaml:7")})
        self.assertRegex(self.log(), rf"job {report['job']['id'][:8] if 'id' in report['job'] else '[0-9a-f]{8}'} of github: "
                                     r"denied \S+ 127\.0\.0\.3:\d+ by process \d+: the default of its section network")
        # Nobody else is under it.
        self.run_in(PYTHON, self.send, "outside", "127.0.0.3")
        self.assertEqual(self.denied.received(), ["outside"])

    def test_a_rules_policy_narrows_it_and_status_says_which(self):
        self.configure(
            "version: 1\npolicies: [{rules: github, file: /etc/martlet/github.yaml}]\n",
            github="version: 1\nnetwork: {default: deny, allow: [{address: 127.0.0.3}, {address: 127.0.0.4}]}\n")
        self.start_agent()
        status = self.status()
        self.assertEqual([policy["file"] for policy in status["policies"]], ["policy.yaml", "github.yaml"])
        self.assertEqual(status["policies"][1]["rules"], ["github"])
        self.assertIn("run", status["policies"][0]["rules"])
        runner = self.runner(
            self.sending("job", "127.0.0.2", "127.0.0.3", "127.0.0.4"), "touch there; while [ ! -e goon ]; do sleep 0.05; done")
        wait_until(lambda: os.path.exists(self.path("work", "there")))
        job, = [job for job in self.status()["jobs"] if job["rule"] == "github"]
        self.assertEqual(job["policy"]["sha256"], status["policies"][1]["sha256"])
        self.assertIn(job["policy"]["sha256"][:12], self.run_in("martlet", "agent", "status").stdout.decode())
        with open(self.path("work", "goon"), "w"):
            pass
        told = self.finish(runner)
        self.assertEqual(re.findall(r"(127\S+) sent", told), ["127.0.0.4"])
        self.assertEqual((self.allowed.received(), self.denied.received(), self.other.received()), ([], [], ["job"]))
        self.assertEqual(self.job()["policy"]["sha256"], job["policy"]["sha256"])

    def test_a_repositorys_own_can_only_narrow(self):
        self.configure("version: 1\nrepositoryPolicies: true\n")
        self.start_agent()
        own = self.path("work", "martlet.yaml")
        environment = f"GITHUB_WORKSPACE={self.work}"
        narrow = "version: 1\\nnetwork: {default: deny, allow: [{address: 127.0.0.3}, {address: 127.0.0.4}]}\\n"
        wide = "version: 1\\n"
        wait = "for n in $(seq 200); do grep -q narrows {0} && break; sleep 0.05; done".format(self.path("in-force"))
        # As a checkout writes it; a later step that writes another gains nothing.
        runner = self.runner(
            f"{environment} sh -c 'printf \"{narrow}\" > martlet.yaml'",
            f"{environment} sh -c 'touch checked-out; {wait}; {self.sending('second', '127.0.0.2', '127.0.0.3', '127.0.0.4')}'",
            f"{environment} sh -c 'printf \"{wide}\" > martlet.yaml'",
            f"{environment} sh -c 'sleep 1; {self.sending('third', '127.0.0.2', '127.0.0.3', '127.0.0.4')}'")
        wait_until(lambda: os.path.exists(self.path("work", "checked-out")))

        def notes():
            return [note for job in self.status()["jobs"] if job["policy"] for note in job["policy"]["notes"]]

        wait_until(lambda: any("martlet.yaml narrows it" in note for note in notes()))
        with open(self.path("in-force"), "w") as file:
            file.write("narrows")
        told = self.finish(runner)
        self.assertEqual(re.findall(r"(127\S+) sent", told), ["127.0.0.4", "127.0.0.4"], told)
        self.assertEqual((self.allowed.received(), self.denied.received()), ([], []))
        self.assertEqual(self.other.received(), ["second", "third"])
        self.assertTrue(os.path.exists(own))
        report = self.job()
        self.assertEqual(report["policy"]["file"], "martlet.yaml")
        self.assertTrue(any("martlet.yaml narrows it" in note for note in report["policy"]["notes"]), report["policy"])

    def test_a_repositorys_own_that_is_wrong_is_refused_loudly(self):
        self.configure("version: 1\nrepositoryPolicies: true\n")
        self.start_agent()
        secret = self.path("secret.yaml")
        with open(secret, "w") as file:
            file.write("version: 1\ntoken-of-root: x\n")
        os.chmod(secret, 0o600)
        place = self.path("work", "martlet.yaml")
        for prepare, wrong in (
                (lambda: self.script("work/martlet.yaml", "version: 1\nnetwrk: {}\n"), "martlet.yaml:2:1: there is no key 'netwrk'"),
                (lambda: os.symlink(secret, place), "is a symbolic link"),
                (lambda: os.link(secret, place), "does not belong to the job's user"),
                (lambda: os.mkfifo(place), "is no file")):
            prepare()
            if not wrong.startswith("does not") and not os.path.islink(place):
                os.chown(place, NOBODY, NOBODY)
            runner = self.runner(
                f"GITHUB_WORKSPACE={self.work} sh -c 'sleep 0.7; {self.sending('x', '127.0.0.2', '127.0.0.3')}'", user=AS_NOBODY)
            told = self.finish(runner)
            self.assertEqual(re.findall(r"(127\S+) sent", told), ["127.0.0.2"])
            found = self.reports(self.jobs, "github", wanted=lambda job: self.scratch in " ".join(job["command"] or []))
            report = found[-1]
            notes = " ".join(report["policy"]["notes"])
            self.assertIn(wrong, notes)
            self.assertEqual(report["policy"]["file"], "policy.yaml")
            self.assertIn(wrong, self.log())
            self.assertNotIn("token-of-root", notes + self.log())
            with open(os.path.join(report["directory"], "report.md")) as file:
                self.assertIn("is not in force", file.read())
            os.unlink(place)

    def test_paths_in_the_jobs_directory(self):
        self.configure(node="version: 1\nfiles: {deny: [{write: kept/*}]}\nexec: {deny: [{writtenDuringJob: true}]}\n")
        self.start_agent()
        os.mkdir(self.path("work", "kept"))
        written = self.path("work", "made")
        runner = self.runner(
            f"GITHUB_WORKSPACE={self.work} sh -c 'sleep 1; echo x > kept/a || true'",
            f"cp /bin/true {written}; {written} || true")
        self.finish(runner)
        report = self.job()
        self.assertEqual({denial["section"] for denial in report["denials"]}, {"files", "exec"}, report["denials"])
        self.assertIn(f"{self.work}, is in force since", " ".join(report["policy"]["notes"]))

    def test_a_mistake_starts_no_agent(self):
        for name, text, said in (
                ("policy", "version: 1\nnetwrk: {}\n", "/etc/martlet/policy.yaml:2:1: there is no key 'netwrk'"),
                ("other", "version: 1\nexec: {deny: [{path: a/../b}]}\n", "/etc/martlet/other.yaml:2:"),
                ("policy", "version: 1\nonSensorError: maybe\n", "/etc/martlet/policy.yaml:2:")):
            node = text if name == "policy" else NODE
            self.configure("version: 1\npolicies: [{rules: [github, run], file: /etc/martlet/other.yaml}]\n", node=node,
                           other=text if name == "other" else "version: 1\n")
            done = self.run_in("martlet", "agent", "start", "--config", "/etc/martlet/agent.yaml", check=False)
            self.assertEqual(done.returncode, 125, done.stderr)
            self.assertIn(said, done.stderr.decode())
        os.chmod(self.path("etc", "martlet", "policy.yaml"), 0o666)
        done = self.run_in("martlet", "agent", "start", "--config", "/etc/martlet/agent.yaml", check=False)
        self.assertEqual(done.returncode, 125)
        self.assertIn("can be written by others than root", done.stderr.decode())

    def test_commands_of_users(self):
        self.configure()
        self.start_agent()
        own = self.script("own.yaml", "version: 1\nnetwork: {default: deny, allow: [{address: 127.0.0.2}, {address: 127.0.0.3}]}\n"
                          "files: {deny: [{write: kept}]}\n", mode=0o644)
        command = [PYTHON, self.send, "user", "127.0.0.2", "127.0.0.3", "127.0.0.4"]
        for options, sent in (([], ["127.0.0.2", "127.0.0.4"]), (["--policy", own], ["127.0.0.2"])):
            done = self.run_in(*AS_NOBODY, "martlet", "run", *options, "--", *command)
            self.assertEqual(re.findall(r"(127\S+) sent", done.stdout.decode()), sent, done.stderr)
        self.assertEqual(self.denied.received(), [])
        done = self.run_in(*AS_NOBODY, "martlet", "run", "--policy", own, "-o", "last", "--", "sh", "-c", "echo x > kept || true",
                           check=False)
        with open(self.path("work", "last", "report.json")) as file:
            report = json.load(file)
        self.assertEqual([denial["section"] for denial in report["denials"]], ["files"], done.stderr)
        self.assertEqual(report["policy"]["notes"], [])
        wrong = self.script("wrong.yaml", "version: 1\nnetwrk: {}\n", mode=0o644)
        done = self.run_in(*AS_NOBODY, "martlet", "run", "--policy", wrong, "--", "touch", "ran", check=False)
        self.assertEqual(done.returncode, 125)
        self.assertIn("wrong.yaml:2:1: there is no key", done.stderr.decode())
        self.assertFalse(os.path.exists(self.path("work", "ran")))


if __name__ == "__main__":
    unittest.main()
