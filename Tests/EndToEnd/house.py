"""A machine within the machine: places that are its own, so that what deploy/ ships runs as it is shipped.

The files of deploy/ name /usr/local/bin/martlet, /run/martlet, /var/lib/martlet. In a mount namespace these are the
test's own; processes, kernel and network are the machine's.
"""
import configparser
import contextlib
import glob
import json
import os
import shutil
import signal
import socket
import subprocess

from agent import SECRET
from harness import MARTLET, PATIENCE, ROOT, Case, wait_until

DEPLOY = os.path.join(ROOT, "deploy")
NOBODY = 65534
AS_NOBODY = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--inh-caps=-all"]

# What a test puts into these folders is there beside what the machine has there.
FURNISH = """
set -e
cp -a /etc "$1/etc"
mount --bind "$1/etc" /etc
for place in /usr/local/bin /usr/local/lib /opt; do
  mkdir -p "$1/own$place" "$1/machine$place"
  mount --bind "$place" "$1/machine$place"
  for file in "$1/machine$place"/*; do ln -s "$file" "$1/own$place/"; done
  mount --bind "$1/own$place" "$place"
done
rm -rf /usr/local/bin/martlet /usr/local/lib/martlet /opt/martlet
for place in /run /var/lib; do mount -t tmpfs -o mode=755 house "$place"; done
echo furnished
# Until the test has ended, however it does.
exec cat >/dev/null
"""


class HouseCase(Case):
    """A test with a house. Paths in it are the machine's, except for those that are its own."""

    def setUp(self):
        super().setUp()
        os.chmod(self.scratch, 0o755)
        self.holder = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", FURNISH, "sh", self.scratch],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        self.addCleanup(self.holder.stdin.close)
        self.addCleanup(self.end_group, self.holder)
        self.assertEqual(self.holder.stdout.readline(), b"furnished\n")
        self.work = self.path("work")
        os.mkdir(self.work)
        os.chown(self.work, NOBODY, NOBODY)

    # MARK: - Processes in it

    def words_in(self, words, cwd=None, environment=None):
        """The argument vector that runs `words` in the house, with nothing of our environment but what is named."""
        chosen = {"PATH": "/usr/local/bin:" + os.environ["PATH"], **(environment or {})}
        return ["nsenter", f"--mount=/proc/{self.holder.pid}/ns/mnt", "--", "env", "-i", "-C", cwd or self.work,
                *[f"{name}={value}" for name, value in chosen.items()], *words]

    def run_in(self, *words, check=True, environment=None, cwd=None, **keywords):
        keywords.setdefault("stdin", subprocess.DEVNULL)
        keywords.setdefault("timeout", PATIENCE)
        done = subprocess.run(
            self.words_in(words, cwd, environment), stdout=subprocess.PIPE, stderr=subprocess.PIPE, **keywords)
        if check:
            self.assertEqual(done.returncode, 0, (words, done.stdout, done.stderr))
        return done

    def start_in(self, *words, environment=None, cwd=None, **keywords):
        """Starts a process with a session of its own; whatever it leaves there ends with the test."""
        keywords.setdefault("stdin", subprocess.DEVNULL)
        keywords.setdefault("stdout", subprocess.PIPE)
        keywords.setdefault("stderr", subprocess.STDOUT)
        process = subprocess.Popen(self.words_in(words, cwd, environment), start_new_session=True, **keywords)
        self.addCleanup(self.end_group, process)
        return process

    def finish(self, process, status=0):
        """What a process of `start_in` has said, when it has ended as it should."""
        said = process.communicate(timeout=PATIENCE)[0].decode()
        self.assertEqual(process.returncode, status, said)
        return said

    def put(self, name, text):
        """A program of that name, first in PATH."""
        place = os.path.join("own/usr/local/bin", name)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path(place))
        return self.script(place, text)

    # MARK: - Files in it

    def inside(self, path):
        """Where we see a file of the house."""
        return f"/proc/{self.holder.pid}/root{path}"

    def read_in(self, path):
        with open(self.inside(path), encoding="utf-8") as file:
            return file.read()

    def reports(self, count, provider, output="/var/lib/martlet", wanted=lambda job: True, seconds=PATIENCE):
        """The reports of `count` closed jobs, in the order of their beginning. Others may run jobs meanwhile."""
        found = []

        def arrived():
            found.clear()
            for path in glob.glob(self.inside(f"{output}/{provider}-*/report.json")):
                with open(path, "rb") as file:
                    report = json.load(file)
                if wanted(report["job"]):
                    found.append({**report, "directory": os.path.dirname(path)})
            return len(found) >= count

        wait_until(arrived, seconds)
        self.assertEqual(len(found), count, [r["job"] for r in found])
        return sorted(found, key=lambda report: report["job"]["startedAt"])

    def written(self, report):
        """Names of the files in the jobs' folder that were written."""
        return sorted(
            os.path.relpath(f["path"], self.work) for f in report["files"]
            if f["written"] and f["path"].startswith(self.work + "/"))

    def assert_no_secret(self, *texts):
        """Nor in any report."""
        for text in texts:
            self.assertNotIn(SECRET, text)
        for path in glob.glob(self.inside("/var/lib/martlet*/*/*")):
            with open(path, "rb") as file:
                self.assertNotIn(SECRET.encode(), file.read(), path)
            if path.endswith(".zst"):
                done = subprocess.run([MARTLET, "log", "cat", path], stdout=subprocess.PIPE, check=True)
                self.assertNotIn(SECRET.encode(), done.stdout, path)

    # MARK: - martlet in it

    def install(self, configuration=None):
        """As docs/integrations/systemd.md says, with a systemctl that notes what it is asked for."""
        self.put("systemctl", f'#!/bin/sh\necho "$*" >>{self.path("systemctl.log")}\n')
        if configuration:
            os.makedirs(self.path("etc", "martlet"), exist_ok=True)
            with open(self.path("etc", "martlet", "agent.yaml"), "w") as file:
                file.write(configuration)
        self.run_in(os.path.join(DEPLOY, "systemd", "install"), MARTLET)

    def unit(self):
        """The settings of the unit's service; of several with a name the last."""
        parser = configparser.RawConfigParser(strict=False)
        parser.optionxform = str
        parser.read(self.path("etc", "systemd", "system", "martlet-agent.service"))
        return parser["Service"]

    def start_service(self, wait=True):
        """Starts the unit's command as systemd does: its folders, its capabilities, until it says that it is ready."""
        service = self.unit()
        for folder in (f"/var/lib/{service['StateDirectory']}", f"/run/{service['RuntimeDirectory']}"):
            self.run_in("mkdir", "-p", "-m", "755", folder)
        notify, sandbox = self.sandbox()
        with notify:
            self.service = self.start_in(
                *sandbox, *service["ExecStart"].split(), environment={"NOTIFY_SOCKET": self.path("notify.sock")}, cwd="/",
                stdout=subprocess.DEVNULL)
            self.assertEqual(notify.recv(100), b"READY=1")
        return self.service

    def sandbox(self):
        """What systemd listens at, anew, and the words that give a command what the unit leaves it of root's capabilities."""
        capabilities = ",".join(
            "+" + name.removeprefix("CAP_").lower() for name in self.unit()["CapabilityBoundingSet"].split())
        name = self.path("notify.sock")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notify.bind(name)
        notify.settimeout(PATIENCE)
        return notify, ["setpriv", "--no-new-privs", "--inh-caps=-all", f"--bounding-set=-all,{capabilities}"]

    def stop_service(self):
        self.service.send_signal(signal.SIGTERM)
        self.assertEqual(self.service.wait(PATIENCE), 0)

    def may_sudo(self, rule):
        """Lets nobody do something as root."""
        with open(self.path("etc", "sudoers.d", "martlet"), "w") as file:
            file.write(rule + "\n")
        os.chmod(self.path("etc", "sudoers.d", "martlet"), 0o440)

    def shell_named(self, name):
        """A shell that is a program of that name."""
        if not os.path.exists(self.path(name)):
            shutil.copy("/bin/dash" if os.path.exists("/bin/dash") else "/bin/sh", self.path(name))
        return self.path(name)

    def runner(self, *lines, user=()):
        """A job of GitHub as its runner has it: Runner.Listener, and below it Runner.Worker, which runs `lines`."""
        self.jobs = getattr(self, "jobs", 0) + 1
        job = self.script(f"job-{self.jobs}.sh", "\n".join([*lines, ":"]) + "\n")
        # With more to do the listener waits for its worker, and does not become it.
        return self.start_in(
            *user, self.shell_named("Runner.Listener"), "-c", '"$1" "$2"; exit $?', "listener",
            self.shell_named("Runner.Worker"), job,
            environment={"RUNNER_TRACKING_ID": "github_x", "ACTIONS_RUNTIME_TOKEN": SECRET})
