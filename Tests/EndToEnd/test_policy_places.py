"""Rules of an agent's policies that are for some steps of a job, or for containers of some images."""
import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import unittest

from agent import AgentCase
from harness import PATIENCE, needs_root, needs_sensor, wait_until
from test_containers import DOCKER, Daemon

POLICY = """version: 1
exec:
  deny:
    - {path: "**/evil", steps: [step_1]}
    - {path: "**/secret", images: ["base:*"]}
    - {path: "**/banned"}
"""


@needs_root
@needs_sensor
class Steps(AgentCase):
    def setUp(self):
        super().setUp()
        with open(self.path("policy.yaml"), "w") as file:
            file.write(POLICY)
        with open(self.path("agent.yaml"), "w") as file:
            file.write(f"version: 1\npolicies: [{{rules: github, file: {self.path('policy.yaml')}}}]\n")
        os.chmod(self.path("policy.yaml"), 0o644)
        self.start_agent("--config", self.path("agent.yaml"))
        for name in ("evil", "secret"):
            with open(self.path(name), "w") as file:
                file.write(f"#!/bin/sh\necho > {self.path('work')}/$1\n")
            os.chmod(self.path(name), 0o755)

    def ran(self):
        return sorted(name for name in os.listdir(self.path("work")) if name.startswith("ran-"))

    def denied(self, report):
        """Rules, and the steps and containers of the processes that they stopped."""
        processes = {process["id"]: process for process in report["processes"]}
        return sorted({(denial["rule"], processes[denial["process"]]["step"], processes[denial["process"]]["container"])
                       for denial in report["denials"]}, key=str)

    def test_a_step_is_what_its_runner_calls_it(self):
        evil = self.path("evil")
        self.github([
            # What a step says of itself later changes nothing.
            f"{evil} ran-0; GITHUB_ACTION=step_1 /bin/sh -c \"{evil} ran-0-renamed\"; exit 0",
            f"{evil} ran-1; GITHUB_ACTION=step_0 /bin/sh -c \"{evil} ran-1-renamed\"; exit 0",
            f"{evil} ran-2; {self.path('secret')} ran-secret; exit 0",
            f"exec env GITHUB_ACTION=step_1 /bin/sh -c \"{evil} ran-3\"; exit 0",
        ], stderr=subprocess.DEVNULL).wait(60)
        self.assertEqual(self.ran(), ["ran-0", "ran-0-renamed", "ran-2", "ran-3", "ran-secret"])
        report, = self.reports(1)
        self.assertEqual(report["verdict"], "blocked", report["reasons"])
        self.assertEqual(self.denied(report), [(1, 2, None)])
        self.stop_agent()

    @unittest.skipUnless(shutil.which("dockerd") and os.path.exists(DOCKER), "needs Debian's docker.io")
    def test_containers_are_under_their_jobs_policy_and_rules_for_their_images(self):
        daemon = Daemon()
        self.addCleanup(daemon.end)
        names = ("fine", "secret", "evil", "banned")
        context = self.path("context")
        os.mkdir(context)
        for name in names:
            with open(os.path.join(context, name), "w") as file:
                file.write("#!/bin/sh\ntouch $1\n")
            os.chmod(os.path.join(context, name), 0o755)
        with open(os.path.join(context, "Dockerfile"), "w") as file:
            file.write("FROM base\nCOPY fine secret evil banned /tools/\n")
        daemon.docker("build", "-t", "base", context)
        for name in names:
            with open(os.path.join(context, f"Dockerfile.{name}"), "w") as file:
                file.write(f"FROM base\nRUN /tools/{name} /tmp/x\n")
        daemon.docker("tag", "base", "other:1")
        work = self.path("work")

        def run(image, name):
            return (f"{DOCKER} run --rm --network none -v {work}:/w {image} /bin/sh -c "
                    f"\"/tools/{name} /w/ran-{image.split(':')[0]}-{name}\"")

        def build(name, kit):
            return (f"DOCKER_BUILDKIT={kit} {DOCKER} build --network none --no-cache -f {context}/Dockerfile.{name} {context} "
                    f"> /dev/null 2>&1 && touch ran-build{kit}-{name}")

        lines = [run(image, name) for image in ("base", "other:1") for name in names]
        lines += [build(name, kit) for kit in (0, 1) for name in ("fine", "secret", "banned")]
        exports = "".join(f"export {key}={daemon.environment[key]}; " for key in ("DOCKER_HOST", "HOME"))
        # One step for runs and one for builds.
        self.github([exports + "; ".join(lines[:8]), exports + "; ".join(lines[8:])], stderr=subprocess.DEVNULL).wait(240)
        report, = self.reports(1, seconds=60)
        # Of a build's step nobody knows the image: what is denied to some is denied to it.
        self.assertEqual(self.ran(), sorted([
            "ran-base-fine", "ran-base-evil", "ran-other-fine", "ran-other-secret", "ran-other-evil", "ran-build0-fine",
            "ran-build1-fine"]), report["denials"])
        containers = report["job"]["containers"]
        self.assertEqual(len([c for c in containers if c["foundBy"] == "created"]), 8, containers)
        stopped = {containers[container - 1]["image"] or containers[container - 1]["foundBy"]: set()
                   for _, _, container in self.denied(report) if container}
        for rule, _, container in self.denied(report):
            if container:
                stopped[containers[container - 1]["image"] or containers[container - 1]["foundBy"]].add(rule)
        self.assertEqual(stopped, {"base": {2, 3}, "other:1": {3}, "build": {2, 3}, "command": {2, 3}})
        self.stop_agent()

    @unittest.skipUnless(shutil.which("dockerd") and os.path.exists(DOCKER), "needs Debian's docker.io")
    def test_the_first_program_of_a_container_is_judged_before_it_runs(self):
        daemon = Daemon()
        self.addCleanup(daemon.end)
        daemon.docker("tag", "base", "other:1")
        work, tools = self.path("work"), self.path("tools")
        os.mkdir(tools)
        for name in ("fine", "secret", "evil", "banned"):
            with open(os.path.join(tools, name), "w") as file:
                file.write("#!/bin/sh\ntouch $1\n")
            os.chmod(os.path.join(tools, name), 0o755)
        # By what it holds, whatever it is called.
        shutil.copy("/bin/busybox", os.path.join(tools, "known"))
        with open(os.path.join(tools, "known"), "ab") as file:
            file.write(b"known")
        with open(os.path.join(tools, "known"), "rb") as file:
            digest = hashlib.sha256(file.read()).hexdigest()
        with open(self.path("policy.yaml"), "w") as file:
            file.write(POLICY + f"    - {{sha256: {digest}}}\n")
        self.stop_agent()
        self.start_agent("--config", self.path("agent.yaml"))

        def run(image, *command):
            return f"{DOCKER} run --rm --network none -v {work}:/w -v {tools}:/tools {image} {' '.join(command)}"

        lines = [run(image, f"/tools/{name}", f"/w/ran-{image.split(':')[0]}-{name}")
                 for image in ("base", "other:1") for name in ("fine", "secret", "evil", "banned")]
        lines += [run("base", "/tools/known", "touch", "/w/ran-known")]
        exports = "".join(f"export {key}={daemon.environment[key]}; " for key in ("DOCKER_HOST", "HOME"))
        # The second is the step that may not run what is evil.
        self.github([exports + "; ".join(lines), exports + run("base", "/tools/evil", "/w/ran-step-1")],
                    stderr=subprocess.DEVNULL).wait(240)
        report, = self.reports(1, seconds=60)
        self.assertEqual(report["verdict"], "blocked", report["reasons"])
        self.assertEqual(self.ran(), ["ran-base-evil", "ran-base-fine", "ran-other-evil", "ran-other-fine",
                                      "ran-other-secret"], report["denials"])
        rules = sorted((denial["rule"], denial["effect"], os.path.basename(denial["path"])) for denial in report["denials"])
        self.assertEqual(rules, [(1, "killed", "evil"), (2, "killed", "secret"), (3, "killed", "banned"),
                                 (3, "killed", "banned"), (4, "killed", "known")])
        self.stop_agent()

    @unittest.skipUnless(shutil.which("dockerd") and os.path.exists(DOCKER), "needs Debian's docker.io")
    def test_what_is_executed_in_containers_waits_until_it_is_known_under_which_policy(self):
        daemon = Daemon()
        self.addCleanup(daemon.end)
        context = self.path("context")
        os.mkdir(context)
        with open(os.path.join(context, "Dockerfile"), "w") as file:
            file.write("FROM base\nRUN touch /tmp/x\n")
        exports = "".join(f"export {key}={daemon.environment[key]}; " for key in ("DOCKER_HOST", "HOME"))
        build = f"{exports} DOCKER_BUILDKIT=1 {DOCKER} build --network none --no-cache {context}"
        # Somebody who is in no job, while one may have asked: it waits, and no longer than that.
        gate = self.path("gate")
        os.mkfifo(gate)
        job = self.github([f"{build}; read line < {gate}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: self.status()["containers"]["attributed"] == 1)
        daemon.docker("run", "--rm", "--network", "none", "base", "touch", "/tmp/foreign", timeout=PATIENCE)
        with open(gate, "w") as file:
            file.write("\n")
        self.assertEqual(job.wait(PATIENCE), 0)
        report, = self.reports(1)
        self.assertEqual(report["verdict"], "clean", report["reasons"])
        # Where nobody lets it go on, it has not begun: the next agent does.
        os.kill(self.agent_pid, signal.SIGSTOP)
        job = self.github([build], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: stopped_in_containers(), PATIENCE)
        self.kill_agent()
        self.assertIsNone(job.poll())
        self.start_agent("--config", self.path("agent.yaml"))
        self.assertEqual(job.wait(PATIENCE), 0)
        self.assertEqual(stopped_in_containers(), [])
        self.stop_agent()


def stopped_in_containers():
    """Processes that are stopped and in the cgroup of a step of a build."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            with open(f"/proc/{pid}/stat") as stat, open(f"/proc/{pid}/cgroup") as cgroup:
                if ") T " in stat.read() and "/buildkit/" in cgroup.read():
                    found.append(int(pid))
    return found


if __name__ == "__main__":
    unittest.main()
