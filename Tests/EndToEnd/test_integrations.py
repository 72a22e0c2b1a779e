"""What deploy/ ships for CI systems, as it is shipped: with stand-ins for these, and the real agent."""
import hashlib
import json
import os
import re
import shutil
import sys
import unittest

import yaml

from harness import MARTLET, ROOT, needs_root, needs_sensor, wait_until
from house import AS_NOBODY, NOBODY, HouseCase
from systems import COMMIT, GitHubHooks, OtherJobs, github, read, shipped, step


@needs_sensor
@needs_root
class Systemd(HouseCase):
    def test_as_a_service(self):
        self.install()
        with open(self.path("systemctl.log")) as file:
            self.assertEqual(
                file.read().splitlines(),
                ["daemon-reload", "enable martlet-agent.service", "reload martlet-agent.service"])
        with open(self.path("etc", "martlet", "agent.yaml"), "a") as file:
            file.write("hashes: true\n")
        # What is there is the administrator's.
        self.install()
        self.assertIn("hashes: true", self.read_in("/etc/martlet/agent.yaml"))
        self.start_service()
        with open(f"/proc/{self.service.pid}/status") as file:
            effective = int(re.search(r"CapEff:\s*(\w+)", file.read())[1], 16)
        self.assertEqual(effective, 1 << 39 | 1 << 38 | 1 << 19 | 1 << 12 | 1 << 5 | 1 << 2)
        runner = self.runner(
            step("write", *AS_NOBODY, "sh", "-c", "umask 077; echo x > private", **github("1")),
            step("connect", *AS_NOBODY, sys.executable, "-c",
                 "import socket; socket.socket().connect_ex(('127.0.0.1', 9))"))
        self.finish(runner)
        report, = self.reports(1, "github", wanted=lambda job: job["run"] == "1")
        self.assertEqual(report["verdict"], "clean", report["reasons"])
        self.assertEqual(report["job"]["repository"], "octo/repo")
        self.assertEqual(report["job"]["commit"], COMMIT)
        self.assertEqual(len(report["network"]), 1)
        # What only its owner can read is hashed all the same.
        private, = [f for f in report["files"] if f["path"] == self.path("work", "private")]
        self.assertEqual(private["digest"], "sha256:" + hashlib.sha256(b"x\n").hexdigest())
        self.assertEqual(os.stat(self.inside("/run/martlet/agent.sock")).st_mode & 0o777, 0o666)
        self.assertEqual(os.stat(self.inside("/run/martlet/token")).st_mode & 0o777, 0o600)
        self.assertEqual(os.stat(report["directory"]).st_mode & 0o777, 0o700)
        self.stop_service()
        self.run_in(shipped("systemd", "install"), "--uninstall")
        for gone in ("/usr/local/bin/martlet", "/etc/systemd/system/martlet-agent.service", "/etc/tmpfiles.d/martlet.conf"):
            self.assertFalse(os.path.exists(self.inside(gone)), gone)
        self.assertTrue(os.path.exists(report["directory"]))
        self.run_in(shipped("systemd", "install"), "--uninstall", "--purge")
        self.assertFalse(os.path.exists(self.inside("/var/lib/martlet")))

    def test_a_job_that_runs_already_is_adopted_with_these_capabilities(self):
        self.install()
        runner = self.runner(step(
            "early", *AS_NOBODY, "sh", "-c", "touch there; while [ ! -e goon ]; do sleep 0.05; done; echo x > adopted",
            **github("2")))
        wait_until(lambda: os.path.exists(self.path("work", "there")))
        self.start_service()
        with open(self.path("work", "goon"), "w"):
            pass
        self.finish(runner)
        report, = self.reports(1, "github", wanted=lambda job: job["command"][-1].startswith(self.scratch))
        self.assertEqual([u["reason"] for u in report["job"]["unseen"]], ["adopted"])
        self.assertEqual(self.written(report), ["adopted"])

    @unittest.skipUnless(os.path.exists("/usr/bin/systemd-analyze"), "systemd is not installed")
    def test_systemd_understands_the_unit(self):
        self.install()
        place = "/etc/systemd/system/martlet-agent.service"
        done = self.run_in("systemd-analyze", "verify", place)
        self.assertEqual(done.stdout + done.stderr, b"")

    @unittest.skipUnless(os.path.exists("/usr/bin/systemd-tmpfiles"), "systemd is not installed")
    def test_old_reports_are_deleted_and_nothing_else(self):
        self.install()
        self.run_in("sh", "-c", "mkdir -p /var/lib/martlet/github-old && cd /var/lib/martlet && "
                    "touch github-old/report.json .lock journal agent.log && mkdir .martlet-running")
        ageing = self.read_in("/etc/tmpfiles.d/martlet.conf").replace("30d", "0")
        with open(self.path("etc", "tmpfiles.d", "martlet.conf"), "w") as file:
            file.write(ageing)
        self.run_in("systemd-tmpfiles", "--clean", "/etc/tmpfiles.d/martlet.conf")
        self.assertEqual(
            sorted(os.listdir(self.inside("/var/lib/martlet"))), [".lock", ".martlet-running", "agent.log", "journal"])


@needs_sensor
@needs_root
class GitHubRunner(GitHubHooks, HouseCase):
    def test_hooks(self):
        self.install()
        self.start_service()
        said = self.finish(self.job(step("compile", "sh", "-c", "echo x > made", **github("11"))))
        self.assertIn("martlet: this job is watched", said)
        with open(self.path("summary")) as file:
            summary = file.read()
        self.assertRegex(summary, r"^## . martlet: clean, up to \d\d:\d\d:\d\d UTC\n")
        self.assertIn("made", summary)
        self.assertRegex(summary.replace("\n", " "), r"keeps the report to the job's end: run `11`, attempt `1`, job `build`")
        report, = self.reports(1, "github", wanted=lambda job: job["run"] == "11" and job["span"]["until"] is None)
        self.assertEqual(report["verdict"], "clean", report["reasons"])
        self.assertEqual(self.written(report), ["made"])
        self.assertIn("compile", [s["name"] for s in report["job"]["steps"]])
        self.assertEqual([e["by"] for e in report["job"]["span"]["earlier"]], ["job"])
        self.assert_no_secret(said, summary)

    def test_the_job_fails_if_its_agent_has_ended(self):
        self.install()
        self.start_service()
        job = self.job(step("compile", "sh", "-c", "touch there; while [ ! -e goon ]; do sleep 0.05; done"))
        wait_until(lambda: os.path.exists(self.path("work", "there")))
        self.service.kill()
        self.service.wait()
        with open(self.path("work", "goon"), "w"):
            pass
        self.assertIn("::error::martlet: there is no report", self.finish(job, status=1))


@needs_sensor
@needs_root
class GitHubAction(HouseCase):
    """The action's scripts as the runner calls them: by node, inputs and states in the environment."""

    def setUp(self):
        super().setUp()
        os.mkdir(self.path("temp"))
        os.chown(self.path("temp"), NOBODY, NOBODY)
        self.binary = self.path("work", "martlet")
        # As a workflow has it: a file of the job's.
        shutil.copy(MARTLET, self.binary)
        with open(self.binary, "rb") as file:
            self.digest = hashlib.sha256(file.read()).hexdigest()
        self.addCleanup(self.end_agent)

    def end_agent(self):
        """It has left the tree that has started it."""
        done = self.run_in("/opt/martlet/martlet", "agent", "stop", "--token-file", "/run/martlet/action-token", check=False)
        return done.returncode

    def action(self, script, **inputs):
        """A line of the worker's script that runs one of the action's scripts, with the defaults of its action.yml."""
        given = {name: data["default"] for name, data in yaml.safe_load(read("github-action", "action.yml"))["inputs"].items()}
        given.update({name.replace("_", "-"): value for name, value in inputs.items()})
        variables = github("21", RUNNER_TEMP=self.path("temp"), GITHUB_WORKSPACE=self.work, **{
            f"GITHUB_{name}": self.path("temp", name.lower()) for name in ("STATE", "OUTPUT", "STEP_SUMMARY")})
        variables.update({f"INPUT_{name.upper()}": value for name, value in given.items()})
        # What a script has put into the file GITHUB_STATE comes back to the same action as STATE_NAME.
        state = f'$(sed -n "s/^/STATE_/p" {self.path("temp", "state")} 2>/dev/null)'
        return f'env {state} ' + step("martlet", "node", shipped("github-action", script), **variables)[len("env "):]

    def job(self, *steps, user=(), **inputs):
        """The action first; at the end, whatever happened, its end."""
        inputs = {"binary": "./martlet", **inputs}
        return self.runner(
            "status=0", self.action("main.js", **inputs) + " || status=1",
            f"if [ $status = 0 ]; then set -e; {'; '.join(steps) or ':'}; set +e; fi",
            self.action("post.js", **inputs) + " || status=1", "exit $status", user=user)

    def handed_over(self):
        with open(self.path("temp", "martlet-report", "report.json"), "rb") as file:
            return json.load(file)

    def summary(self):
        try:
            with open(self.path("temp", "step_summary")) as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def test_watches_a_job(self):
        self.watch()

    def test_watches_a_job_of_a_user_who_may_sudo(self):
        self.may_sudo("nobody ALL=(ALL) NOPASSWD: ALL")
        self.watch(user=AS_NOBODY)
        self.assertEqual(os.stat(self.path("temp", "martlet-report", "report.json")).st_uid, NOBODY)

    def watch(self, user=()):
        compile = step("compile", "sh", "-c", "echo x > made", **github("21"))
        said = self.finish(self.job(compile, user=user, sha256=self.digest, fail_on="incomplete,findings"))
        self.assertRegex(said, r"martlet: watching this job, with .*/martlet \(SHA-256 " + self.digest)
        report = self.handed_over()
        self.assertEqual(self.written(report), ["made"])
        job = report["job"]
        self.assertEqual((job["provider"], job["repository"], job["ref"], job["commit"], job["workflow"], job["job"], job["run"]),
                         ("github", "octo/repo", "refs/heads/main", COMMIT, "CI", "build", "21"))
        self.assertIn("compile", [s["name"] for s in job["steps"]])
        self.assertEqual(report["verdict"], "clean", report["reasons"])
        self.assertEqual(job["unseen"], [])
        self.assertIsNotNone(job["span"]["from"])
        self.assertEqual(job["span"]["until"]["by"], "job")
        self.assertRegex(said, f"clean up to {job['span']['until']['at']}; log head {report['log']['head']}")
        self.assertEqual(
            sorted(os.listdir(self.path("temp", "martlet-report"))),
            ["events.ndjson.zst", "policy.suggested.yaml", "report.html", "report.json", "report.md"])
        self.assertIn("made", self.summary())
        self.assertIn("when martlet was started while the job ran", self.summary())
        with open(self.path("temp", "output")) as file:
            self.assertIn(f"report={self.path('temp', 'martlet-report')}\n", file.read())
        # What ran as root is not what the job could change.
        self.assertEqual(os.stat(self.inside("/opt/martlet/martlet")).st_uid, 0)
        self.assertFalse(os.path.exists(self.inside("/run/martlet/agent.sock")))
        self.assert_no_secret(said, self.summary())

    def test_a_report_for_the_steps_behind_it_does_not_end_the_watch(self):
        report = self.action("report.js")
        upload = step("upload", "sh", "-c", f"cp -r {self.path('temp', 'martlet-report')} uploaded", **github("21"))
        said = self.finish(self.job(step("compile", "sh", "-c", "echo x > made", **github("21")), report, upload))
        with open(self.path("work", "uploaded", "report.json"), "rb") as file:
            uploaded = json.load(file)
        self.assertEqual((uploaded["verdict"], self.written(uploaded)), ("clean", ["made"]))
        self.assertEqual(said.count("log head"), 2)
        with open(self.path("temp", "output")) as file:
            self.assertEqual(file.read().count("verdict=clean\n"), 2)
        # What came after it is in the report of the job's last step, which tells of the first.
        last = self.handed_over()
        self.assertIn("uploaded/report.json", self.written(last))
        self.assertEqual([e["logHead"] for e in last["job"]["span"]["earlier"]], [uploaded["log"]["head"]])

    def test_a_step_that_asks_early_hides_nothing(self):
        script = self.script("early.sh", "/opt/martlet/martlet agent report >/dev/null; echo x > evil\n")
        self.finish(self.job(step("early", "sh", script, **github("21")), user=()))
        last = self.handed_over()
        self.assertIn("evil", self.written(last))
        self.assertIn("asked for before this one", self.summary())

    def test_the_page_names_all_inputs(self):
        with open(os.path.join(ROOT, "docs", "integrations", "github-action.md"), encoding="utf-8") as file:
            page = file.read()
        for name, data in yaml.safe_load(read("github-action", "action.yml"))["inputs"].items():
            self.assertIn(f"| `{name}` | " + (f"`{data['default']}` |" if data["default"] else "|"), page)

    def test_only_the_binary_that_was_meant_is_run(self):
        said = self.finish(self.job(sha256="0" * 64), status=1)
        self.assertIn("::error::martlet: ", said)
        self.assertIn(self.digest, said)
        self.assertFalse(os.path.exists(self.inside("/opt/martlet/martlet")))

    def test_inputs_are_checked(self):
        for inputs in ({"fail_on": "everything"}, {"sha256": "abc"}, {"summary": "yes"}, {"timeout": "1; true"},
                       {"binary": "no-such-program"}, {"binary": "./no-such-file"}):
            done = self.finish(self.runner(self.action("main.js", **{"binary": "./martlet", **inputs}) + " || exit 7"), status=7)
            self.assertIn("::error::martlet: ", done)
        self.assertFalse(os.path.exists(self.inside("/opt/martlet/martlet")))

    def test_an_agent_that_a_step_kills_fails_the_job(self):
        # Frames are written about once a second. Who does it may be killed for it, too late.
        finding = ("pid=$(/opt/martlet/martlet agent status --json | sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/'); sleep 1.5; "
                   "sh -c \"kill -9 $pid\" || :")
        script = self.script("kill.sh", finding)
        said = self.finish(
            self.job(step("compile", "sh", "-c", "echo x > made", **github("21")), step("kill", "sh", script, **github("21")),
                     fail_on="incomplete"), status=1)
        self.assertIn("::warning::martlet: the agent was ended before the job was", said)
        self.assertIn("::error::martlet: the job is incomplete", said)
        report = self.handed_over()
        self.assertIn("died", [u["reason"] for u in report["job"]["unseen"]])
        self.assertIn("made", self.written(report))
        self.assertIn("The agent ended unexpectedly", self.summary())

    def test_where_an_agent_runs_already_it_is_left_alone(self):
        self.install()
        self.start_service()
        said = self.finish(self.job(step("compile", "sh", "-c", "echo x > made", **github("21"))))
        self.assertIn("an agent runs on this machine already", said)
        self.assertIsNone(self.service.poll())
        report, = self.reports(1, "github", wanted=lambda job: job["run"] == "21")
        self.assertEqual(report["verdict"], "clean", report["reasons"])
        self.assertIn("made", self.written(report))


@needs_sensor
@needs_root
class OtherSystems(OtherJobs, HouseCase):
    """GitLab's shell executor, Jenkins and Buildkite, side by side on one machine."""

    def test_side_by_side(self):
        configuration = read("gitlab-runner", "agent.yaml")
        self.assertIn("uid: 998", configuration)
        self.install(configuration.replace("uid: 998", f"uid: {NOBODY}"))
        self.start_service()
        self.buildkite_agent()
        started = [self.gitlab(), self.jenkins(), self.buildkite("0192-b")]
        for process in started:
            self.finish(process)
        self.check_gitlab()
        self.check_jenkins()
        self.check_buildkite()
        self.assert_no_secret()

    def check_gitlab(self):
        report, = self.reports(1, "gitlab", wanted=lambda job: job["repository"] == "group/project")
        job = report["job"]
        self.assertEqual(report["verdict"], "clean", report["reasons"])
        self.assertEqual((job["rule"], job["job"], job["run"], job["workflow"], job["commit"], job["ref"]),
                         ("gitlab-shell", "compile", "7", "nightly", COMMIT, "main"))
        self.assertEqual(job["variables"]["CI_JOB_ID"], "77")
        self.assertEqual(self.written(report), ["by-a-program", "by-the-shell"])

    def check_jenkins(self):
        report, = self.reports(1, "jenkins", wanted=lambda job: job["variables"].get("BUILD_TAG") == "jenkins-folder-app-5")
        job = report["job"]
        self.assertEqual(report["verdict"], "clean", report["reasons"])
        self.assertEqual((job["job"], job["run"], job["commit"], job["ref"]), ("folder/app", "5", COMMIT, "main"))
        self.assertTrue(job["repository"].endswith("@git.example/app.git"), job["repository"])
        self.assertIn("Compile", [s["name"] for s in job["steps"]])
        self.assertIn("from-jenkins", self.written(report))

    def check_buildkite(self):
        report, = self.reports(1, "buildkite", wanted=lambda job: (
            job["variables"].get("BUILDKITE_JOB_ID") == "0192-b" and job["span"]["until"] is None))
        job = report["job"]
        self.assertEqual(report["verdict"], "clean", report["reasons"])
        self.assertEqual(
            (job["repository"], job["job"], job["run"], job["attempt"], job["workflow"], job["commit"], job["ref"]),
            ("git@git.example:org/app.git", "compile", "9", "0", "app", COMMIT, "main"))
        # The hooks and the command are its children.
        self.assertEqual([s["number"] for s in job["steps"]], [1, 2, 3])
        self.assertEqual(self.written(report), ["annotation", "from-buildkite"])
        with open(self.path("work", "annotation")) as file:
            self.assertRegex(file.read(), r"(?s)^annotate --context martlet-0192-b --style success\n## . martlet: clean, up to .*from-buildkite.*keeps the report to the job's end\.\n$")


@needs_sensor
@needs_root
class Unwatched(GitHubHooks, OtherJobs, HouseCase):
    def test_no_job_runs_without_an_agent(self):
        self.install()
        self.buildkite_agent()
        github_job = self.job(step("compile", "sh", "-c", "echo x > from-github"))
        buildkite_job = self.buildkite("0192-d")
        self.assertIn("::error::martlet: no agent is ready", self.finish(github_job, status=1))
        self.assertIn("no job runs there without one", self.finish(buildkite_job, status=1))
        self.assertEqual(os.listdir(self.path("work")), [])


if __name__ == "__main__":
    unittest.main()
