"""Requests over TLS of an agent's jobs: each has its own, and what it uses; probes are shared."""
import json
import os
import platform
import shutil
import subprocess
import sys

from agent import AgentCase
from harness import PATIENCE, needs_root, needs_sensor, wait_until
from house import AS_NOBODY, HouseCase
from served import ServedCase

LIBRARIES = "/usr/lib/%s-linux-gnu" % platform.machine()
# A function's first instruction is one that the kernel lets no probe be on.
UNPROBED = """
__asm__(".text\\n.globl SSL_write\\n.type SSL_write, %function\\nSSL_write:\\n"
#ifdef __aarch64__
        "ldxr x0, [x0]\\nret\\n"
#else
        ".byte 0x06\\nret\\n"
#endif
        ".size SSL_write, . - SSL_write\\n");
#include <unistd.h>
int main(void) { while (access("probed", F_OK)) usleep(20000); return 0; }
"""
# Asks, waits, and asks again, on a connection each.
ASKER = """
import os, ssl, sys, time, urllib.request
url, name = sys.argv[1:]
context = ssl._create_unverified_context()
def ask(path):
    urllib.request.urlopen(url + path, context=context).read()
ask(f"/{name}/1")
open(f"{name}-there", "w").close()
while not os.path.exists(f"{name}-go"):
    time.sleep(0.02)
ask(f"/{name}/2")
"""


def asked(report):
    """(path, how often) of all that is told, and whether each is told with its connection."""
    rows, counting = [], report["sensor"]["requests"]
    for flow in report["network"]:
        rows += [(r["path"], r["count"], True) for r in flow.get("requests", {}).get("distinct", [])]
    return sorted(rows + [(r["path"], r["count"], False) for r in counting["withoutConnection"]["distinct"]])


def files(report):
    return {os.path.basename(file["path"]): file for file in report["sensor"]["requests"]["files"]}


@needs_sensor
@needs_root
class AgentRequests(ServedCase, AgentCase):
    def setUp(self):
        super().setUp()
        self.script("asker.py", ASKER)
        self.config = self.script("agent.yaml", "version: 1\nrequests: true\n")

    def start(self, *options):
        self.start_agent("--config", self.config, *options)

    def asker(self, name, before=""):
        return f"{before}{sys.executable} {self.path('asker.py')} {self.url} {name}"

    def there(self, name):
        wait_until(lambda: os.path.exists(self.path("work", f"{name}-there")))

    def let_go(self, name):
        open(self.path("work", name), "w").close()

    def by_run(self, count):
        return {int(report["job"]["run"]): report for report in self.reports(count)}

    def test_two_jobs_at_once(self):
        self.unreadable("work/shared")
        self.unreadable("work/of-two")
        self.start()
        runners = []
        for number, other in ((1, ""), (2, "./of-two && ")):
            runners.append(self.github([f"{other}./shared; " + self.asker(f"job-{number}")], run=str(number)))
        for number in (1, 2):
            self.there(f"job-{number}")
        told = self.status()["requests"]
        self.assertGreaterEqual(told["filesRead"], 2)
        self.assertEqual(told["files"] - told["filesRead"], 2, told)
        self.assertEqual(told["filesBeyond"], 0)
        for number, runner in ((1, runners[0]), (2, runners[1])):
            self.let_go(f"job-{number}-go")
            self.assertEqual(runner.wait(PATIENCE), 0)
        # One after them, of which nothing is left in the others'.
        self.github([f"curl -sko /dev/null {self.url}/job-3/1"], run="3", wait=True)
        reports = self.by_run(3)
        for number in (1, 2, 3):
            report = reports[number]
            self.assertEqual(report["verdict"], "clean", report["reasons"])
            rounds = (1, 2) if number < 3 else (1,)
            self.assertEqual(asked(report), [(f"/job-{number}/{round}", 1, True) for round in rounds])
            library = files(report)["libssl.so.3"]
            self.assertLess(library["readSince"], library["usedSince"])
            self.assertNotIn("notRead", library)
            self.assertEqual(
                {name for name, file in files(report).items() if "notRead" in file},
                [set(), {"shared"}, {"shared", "of-two"}, set()][number])
            for name in ("report.html", "report.md"):
                with open(os.path.join(report["directory"], name)) as file:
                    text = file.read()
                self.assertIn(f"/job-{number}/1", text)
                self.assertEqual("OpenSSL without its symbols" in text, number < 3)
                self.assertFalse([n for n in (1, 2, 3) if n != number and f"/job-{n}/" in text])
        # What no job uses is let go, and what the machine has stays.
        wait_until(lambda: self.status()["requests"]["files"] == told["filesRead"])

    def test_what_could_not_be_probed_is_told_to_each_that_uses_it(self):
        source = self.script("unprobed.c", UNPROBED)
        subprocess.run(["cc", "-O0", "-o", self.path("work", "unprobed"), source], check=True)
        self.start()
        files_before = self.status()["requests"]["files"]
        first = self.github(["./unprobed & while [ ! -e first-go ]; do sleep 0.05; done; wait"], run="1")
        wait_until(lambda: self.status()["requests"]["files"] > files_before)
        self.let_go("probed")
        self.github(["./unprobed"], run="2", wait=True)
        self.github(["true"], run="3", wait=True)
        self.let_go("first-go")
        self.assertEqual(first.wait(PATIENCE), 0)
        reports = self.by_run(3)
        for number in (1, 2):
            report = reports[number]
            self.assertEqual(report["verdict"], "incomplete", report["reasons"])
            self.assertIn("could not be attached to", files(report)["unprobed"]["notRead"])
            self.assertIn("requests of", json.dumps(report["reasons"]))
        self.assertEqual(reports[3]["verdict"], "clean", reports[3]["reasons"])
        self.assertEqual(reports[3]["sensor"]["requests"]["files"], [])

    def test_one_file_through_two_overlays(self):
        """As two containers of an image have it: it is probed once."""
        for place in ("lower", "none", "at-1", "at-2"):
            os.mkdir(self.path(place))
        for name in ("libssl.so.3", "libcrypto.so.3"):
            shutil.copy(os.path.join(LIBRARIES, name), self.path("lower"))
        self.start()
        before = self.status()["requests"]["files"]
        runners = []
        for number in (1, 2):
            mounted = (
                f"mount -t overlay -o lowerdir={self.path('lower')}:{self.path('none')} none {self.path(f'at-{number}')} && "
                f"LD_LIBRARY_PATH={self.path(f'at-{number}')} " + self.asker(f"job-{number}"))
            runners.append(self.github([f'unshare --mount --propagation private sh -c "{mounted}"'], run=str(number)))
        for number in (1, 2):
            self.there(f"job-{number}")
        self.assertEqual(self.status()["requests"]["files"], before + 2)
        for number, runner in ((1, runners[0]), (2, runners[1])):
            self.let_go(f"job-{number}-go")
            self.assertEqual(runner.wait(PATIENCE), 0)
        for number, report in self.by_run(2).items():
            # The first may be asked before the library is read, which is told.
            self.assertIn((f"/job-{number}/2", 1, True), asked(report))
            self.assertFalse([row for row in asked(report) if row[1:] != (1, True)], report["sensor"]["requests"])
            self.assertEqual(files(report)["libssl.so.3"]["path"], self.path(f"at-{number}", "libssl.so.3"))
        wait_until(lambda: self.status()["requests"]["files"] == before)

    def test_a_file_with_another_name_is_probed_once(self):
        os.mkdir(self.path("lib"))
        for name in ("libssl.so.3", "libcrypto.so.3"):
            shutil.copy(os.path.join(LIBRARIES, name), self.path("lib"))
        self.start()
        before = self.status()["requests"]["files"]
        environment = f"LD_LIBRARY_PATH={self.path('lib')} "
        # Its change time is another then, and what was looked at within a second is not looked at again.
        between = f"sleep 1.1 && ln {self.path('lib', 'libssl.so.3')} {self.path('lib', 'another')} && "
        self.github([self.asker("one", environment), between + self.asker("two", environment)], run="1")
        for name in ("one", "two"):
            self.there(name)
            self.assertEqual(self.status()["requests"]["files"], before + 2)
            self.let_go(f"{name}-go")
        report = self.by_run(1)[1]
        self.assertLessEqual({("/one/2", 1, True), ("/two/2", 1, True)}, set(asked(report)))
        self.assertFalse([row for row in asked(report) if row[1:] != (1, True)], report["sensor"]["requests"])

    def test_what_was_mapped_before_the_agent(self):
        os.mkdir(self.path("lib"))
        for name in ("libssl.so.3", "libcrypto.so.3"):
            shutil.copy(os.path.join(LIBRARIES, name), self.path("lib"))
        runner = self.github([self.asker("early", f"LD_LIBRARY_PATH={self.path('lib')} ")], run="1")
        self.there("early")
        self.start()
        wait_until(lambda: self.status()["jobs"])
        # The prober has looked at what its processes have mapped.
        wait_until(lambda: self.status()["requests"]["files"] >= 2)
        self.let_go("early-go")
        self.assertEqual(runner.wait(PATIENCE), 0)
        report, = self.reports(1)
        self.assertEqual(report["verdict"], "incomplete")
        self.assertEqual(asked(report), [("/early/2", 1, True)])
        library = files(report)["libssl.so.3"]
        self.assertEqual(library["path"], self.path("lib", "libssl.so.3"))
        self.assertLess(library["usedSince"], library["readSince"])

    def test_an_agent_that_was_killed(self):
        self.start()
        runner = self.github([self.asker("job")], run="1")
        self.there("job")
        # The log's frame with the connection's end is written within a second.
        wait_until(lambda: b'"tcp_close"' in self.everything_written())
        self.kill_agent()
        self.start()
        wait_until(lambda: self.status()["jobs"])
        self.let_go("job-go")
        self.assertEqual(runner.wait(PATIENCE), 0)
        reports = sorted(self.reports(2), key=lambda report: report["job"]["startedAt"])
        self.assertEqual([asked(report) for report in reports], [[("/job/1", 1, True)], [("/job/2", 1, True)]])
        self.assertEqual([report["verdict"] for report in reports], ["incomplete"] * 2)
        self.assertEqual([report["job"]["unseen"][0]["reason"] for report in reports], ["died", "adopted"])
        self.assertNotIn("files", reports[0]["sensor"]["requests"])
        with open(os.path.join(reports[0]["directory"], "report.md")) as file:
            self.assertIn("read is not known", file.read())
        self.assertIn("libssl.so.3", files(reports[1]))

    def test_an_agent_that_was_replaced(self):
        self.start()
        first = self.github([self.asker("first")], run="1")
        self.there("first")
        self.start("--replace")
        second = self.github([self.asker("second")], run="2")
        self.there("second")
        for name, runner in (("first", first), ("second", second)):
            self.let_go(f"{name}-go")
            self.assertEqual(runner.wait(PATIENCE), 0)
        for number, report in self.by_run(2).items():
            name = ("first", "second")[number - 1]
            self.assertEqual(report["verdict"], "clean", report["reasons"])
            self.assertEqual(asked(report), [(f"/{name}/1", 1, True), (f"/{name}/2", 1, True)])

    def test_filters(self):
        self.config = self.script(
            "agent.yaml", "version: 1\nrequests: true\nfilters:\n"
            "  - {rules: github, excludeEvents: network}\n  - {rules: jenkins, excludePaths: [/usr, /lib]}\n")
        self.start()
        self.github([f"curl -sko /dev/null {self.url}/a"], run="1", wait=True)
        self.assertEqual(self.jenkins(f"curl -sko /dev/null {self.url}/b", "build-1").wait(PATIENCE), 0)
        report, = self.reports(1, "github")
        self.assertNotIn("requests", report["sensor"])
        # That its library was opened is left out; it is read all the same.
        report, = self.reports(1, "jenkins", seconds=2 * PATIENCE)
        self.assertEqual(asked(report), [("/b", 1, True)])
        self.assertNotIn("usedSince", files(report)["libssl.so.3"])
        with open(os.path.join(report["directory"], "report.md")) as file:
            self.assertIn("A filter leaves out that files are opened", file.read())


@needs_sensor
@needs_root
class HouseRequests(ServedCase, HouseCase):
    """With no more of root's capabilities than the unit leaves, and the one that probes take."""

    def test_jobs_and_commands_of_users(self):
        self.install("version: 1\nrequests: true\n")
        notify, sandbox = self.sandbox()
        notify.close()
        done = self.run_in(*sandbox, *self.unit()["ExecStart"].split(), check=False)
        self.assertIn("CAP_SYS_ADMIN", done.stderr.decode())
        self.assertEqual(done.returncode, 125)
        path = self.path("etc", "systemd", "system", "martlet-agent.service")
        with open(path) as file:
            text = file.read()
        with open(path, "w") as file:
            file.write(text.replace("CapabilityBoundingSet=", "CapabilityBoundingSet=CAP_SYS_ADMIN "))
        self.start_service()
        self.finish(self.runner(f"curl -sko /dev/null {self.url}/job"))
        report, = self.reports(1, "github")
        self.assertEqual(report["verdict"], "clean", report["reasons"])
        self.assertEqual(asked(report), [("/job", 1, True)])
        done = self.run_in(*AS_NOBODY, "martlet", "run", "--requests", "--", "curl", "-sk", f"{self.url}/users")
        self.assertIn(b"clean", done.stderr)
        with open(os.path.join(self.work, "martlet-report", "report.json")) as file:
            self.assertEqual(asked(json.load(file)), [("/users", 1, True)])
