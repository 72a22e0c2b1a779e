"""Containers as a kubelet has them started: a real containerd with the annotations that its CRI plugin writes, and the
cgroups that a kubelet names."""
import os
import shutil
import signal
import subprocess
import unittest

from agent import AgentCase
from harness import MARTLET, needs_root, needs_sensor, wait_until
from pods import UID, Containerd, PodContainer, cgroup2, root_directory


@needs_root
@needs_sensor
@unittest.skipUnless(shutil.which("containerd") and shutil.which("ctr"), "needs Debian's containerd")
class Pods(AgentCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if not cgroup2():
            raise unittest.SkipTest("no cgroup v2 hierarchy is mounted")
        cls.containerd = Containerd()
        cls.addClassCleanup(cls.containerd.end)

    def setUp(self):
        super().setUp()
        self.root = root_directory(self.path("rootfs"))

    def inside(self, name, text):
        """A program of the containers' root directory."""
        path = os.path.join(self.root, name)
        # Whole at once: another container may be reading the last one.
        with open(path + ".new", "w") as file:
            file.write(text)
        os.chmod(path + ".new", 0o755)
        os.rename(path + ".new", path)

    def container(self, pod, name, *command, uid=1, **options):
        """Starts a container of a pod; returns its id."""
        container = PodContainer(self.containerd, self.root, pod, name, uid, command, **options)
        self.addCleanup(container.end)
        return container.identifier

    def gate(self, name="gate"):
        """A line for a shell that waits until `open_gate` is called."""
        return f"while ! test -e /tmp/{name}; do sleep 0.05; done"

    def open_gate(self, name="gate"):
        with open(os.path.join(self.root, "tmp", name), "w"):
            pass

    def claims(self, report):
        lines = subprocess.run(
            [MARTLET, "log", "cat", os.path.join(report["directory"], "events.ndjson.zst")], stdout=subprocess.PIPE,
            check=True).stdout.decode().splitlines()
        return [line for line in lines if '"activity_name":"claim"' in line]

    def running(self):
        """How many jobs run in pods."""
        return sum(any(c["pod"] for c in job["containers"]) for job in self.status()["jobs"])

    def pod_reports(self, count, provider):
        return self.reports(count, provider, seconds=90, wanted=lambda job: any(c["pod"] for c in job["containers"]))

    # MARK: - Whose they are

    def test_containers_of_several_pods_are_one_job_by_its_key(self):
        self.start_agent()
        variables = ["GITLAB_CI=true", "CI_JOB_ID=4711", "CI_PROJECT_PATH=group/project"]
        identifiers = [
            self.container("runner-abc-project-1", "build", "/bin/sh", "-c", "sleep 0.21; true",
                           environment=variables),
            self.container("runner-abc-project-1", "helper", "/bin/sh", "-c", "sleep 0.22; true",
                           environment=variables),
            self.container("service-of-it", "svc-0", "/bin/sh", "-c", "sleep 0.23; true", uid=2,
                           environment=variables, annotations={"sandbox-uid": UID % 2}),
        ]
        # Of nobody: the same node runs others.
        self.container("database", "db", "/bin/sh", "-c", "sleep 0.24; true", uid=3)
        report, = self.pod_reports(1, "gitlab")
        self.assertEqual(report["verdict"], "clean", report["reasons"])
        containers = {c["id"]: c for c in report["job"]["containers"]}
        self.assertEqual(set(containers), set(identifiers))
        for identifier, (pod, name, uid) in zip(identifiers, [
                ("runner-abc-project-1", "build", 1), ("runner-abc-project-1", "helper", 1), ("service-of-it", "svc-0", 2)]):
            row = containers[identifier]
            self.assertEqual(
                row["pod"], {"name": pod, "namespace": "ci", "uid": UID % uid, "serviceAccount": None}, row)
            self.assertEqual((row["name"], row["image"]), (name, f"registry.example/{name}:1"))
            self.assertEqual((row["runtime"], row["foundBy"], row["unseenRuntime"]), ("containerd", "cgroup", None))
            self.assertEqual(row["cgroup"], f"/kubepods/burstable/pod{UID % uid}/{identifier}")
            line = "sleep " + {"build": "0.21", "helper": "0.22", "svc-0": "0.23"}[name]
            self.assertIn((row["number"], line),
                          [(p["container"], " ".join(p["arguments"])) for p in report["processes"]])
        self.assertNotIn("0.24", str(report["processes"]))
        claims = "\n".join(self.claims(report))
        self.assertIn(f'"container_id":"{identifiers[2]}","pod":{{"name":"service-of-it","namespace":"ci","uid":'
                      f'"{UID % 2}","container":"svc-0","image":"registry.example/svc-0:1"}}', claims)
        self.stop_agent()

    def runner_pod(self, name, hooks=True, uid=1):
        """The pod of a runner of GitHub's, whose worker calls the hooks if there are some, and waits for the gate."""
        self.inside("bin/Runner.Worker", "#!/bin/sh\n" + (
            "/bin/sh /bin/index.js prepare_job\n" if hooks else "") + self.gate() + "\n:\n")
        self.inside("bin/index.js", "sleep 0.1\n")
        return self.container(
            name, "runner", "/bin/sh", "-c", "/bin/Runner.Worker", uid=uid,
            environment=["ACTIONS_RUNNER_CONTAINER_HOOKS=/bin/index.js"])

    def test_what_a_runner_has_made_as_pods_is_its_jobs(self):
        self.start_agent()
        runner = self.runner_pod("set-abcde-runner-x1y2z")
        wait_until(lambda: self.running() == 1)
        workflow = self.container(
            "set-abcde-runner-x1y2z-workflow", "job", "/bin/sh", "-c", "touch /tmp/begun; " + self.gate("over"), uid=2)
        self.container("set-abcde-runner-other-workflow", "job", "/bin/sh", "-c", "touch /tmp/foreign; sleep 0.5", uid=3)
        self.container("set-abcde-runner-x1y2z-workflow", "job", "/bin/sh", "-c", "touch /tmp/foreign; sleep 0.5", uid=4,
                       namespace="another")
        wait_until(lambda: os.path.exists(os.path.join(self.root, "tmp", "begun")))
        # As the hooks have a step executed, by the API server and the kubelet.
        self.containerd.ctr("task", "exec", "--exec-id", "step", workflow, "/bin/sh", "-c", "touch /tmp/stepped; true")
        self.open_gate("over")
        self.open_gate()
        report, = self.pod_reports(1, "github")
        # On a busy machine the container may be found when its first program runs already, and that is said.
        self.assertLessEqual({u["reason"] for u in report["job"]["unseen"]}, {"adopted"}, report["reasons"])
        if not report["job"]["unseen"]:
            self.assertEqual(report["verdict"], "clean", report["reasons"])
        rows = [(c["id"], c["foundBy"], c["name"], c["pod"]["name"]) for c in report["job"]["containers"]]
        self.assertEqual(rows, [
            (runner, "cgroup", "runner", "set-abcde-runner-x1y2z"),
            (workflow, "pod", "job", "set-abcde-runner-x1y2z-workflow")])
        inside = {(p["container"], " ".join(p["arguments"])) for p in report["processes"]}
        self.assertLessEqual(
            {(1, "/bin/sh /bin/index.js prepare_job"), (2, "/bin/sh -c touch /tmp/stepped; true")}, inside)
        self.assertLessEqual({"begun", "stepped"}, set(self.written(report, "/tmp")))
        self.assertNotIn("foreign", str(report))
        self.stop_agent()

    def test_a_pod_that_may_be_of_two_runners_is_of_neither(self):
        self.start_agent()
        # What the hooks leave of their names is the same.
        name = "r" * 60
        for number, end in enumerate("ab"):
            self.runner_pod(name + end, hooks=False, uid=number + 1)
        wait_until(lambda: self.running() == 2)
        workflow = self.container(name[:54] + "-workflow", "job", "/bin/sh", "-c", "touch /tmp/foreign; sleep 0.2", uid=3)
        wait_until(lambda: (workflow, "several") in [
            (c["id"], c["reason"]) for c in self.status()["unattributedContainers"]])
        self.open_gate()
        for report in self.pod_reports(2, "github"):
            self.assertEqual(report["verdict"], "incomplete")
            self.assertEqual([u["reason"] for u in report["job"]["unseen"]], ["container"])
            self.assertNotIn("foreign", str(report))
        self.stop_agent()

    def test_of_a_job_that_was_there_before_the_agent(self):
        runner = self.runner_pod("set-abcde-runner-x1y2z", hooks=False)
        wait_until(lambda: any(row.endswith("Runner.Worker") for row in self.commands()))
        self.start_agent()
        self.open_gate()
        report, = self.pod_reports(1, "github")
        self.assertEqual([u["reason"] for u in report["job"]["unseen"]], ["adopted"])
        row, = report["job"]["containers"]
        self.assertEqual((row["id"], row["pod"]["name"], row["foundBy"]), (runner, "set-abcde-runner-x1y2z", "cgroup"))
        self.assertEqual({p["container"] for p in report["processes"]}, {1})
        self.stop_agent()

    @staticmethod
    def commands():
        return subprocess.run(["ps", "-eo", "args"], stdout=subprocess.PIPE, check=True).stdout.decode().splitlines()

    def test_a_pod_that_was_made_elsewhere_is_missing(self):
        self.start_agent()
        self.runner_pod("set-abcde-runner-x1y2z")
        wait_until(lambda: self.running() == 1)
        self.open_gate()
        report, = self.pod_reports(1, "github")
        self.assertEqual(report["verdict"], "incomplete")
        self.assertEqual([u["reason"] for u in report["job"]["unseen"]], ["container"])
        self.stop_agent()

    def test_a_runner_that_has_no_pod_made_lacks_none(self):
        self.start_agent()
        self.runner_pod("set-abcde-runner-x1y2z", hooks=False)
        wait_until(lambda: self.running() == 1)
        self.open_gate()
        report, = self.pod_reports(1, "github")
        self.assertEqual((report["verdict"], report["job"]["unseen"]), ("clean", []), report["reasons"])
        self.stop_agent()

    # MARK: - What is not seen

    def test_a_container_that_is_gone_before_anybody_looked_is_missing(self):
        self.start_agent()
        os.kill(self.agent_pid, signal.SIGSTOP)
        try:
            self.open_gate()
            identifier = self.runner_pod("set-abcde-runner-x1y2z", hooks=False)
            group = f"{cgroup2()}/kubepods/burstable/pod{UID % 1}/{identifier}"
            wait_until(lambda: os.path.exists(group))
            wait_until(lambda: not os.path.exists(group))
        finally:
            os.kill(self.agent_pid, signal.SIGCONT)
        report, = self.reports(1, "github")
        self.assertEqual(report["verdict"], "incomplete")
        self.assertEqual([u["reason"] for u in report["job"]["unseen"]], ["container"], report["reasons"])
        self.assertIn("/bin/sh /bin/Runner.Worker", [" ".join(p["arguments"]) for p in report["processes"]])
        self.stop_agent()

    def test_what_has_a_kernel_of_its_own_is_named(self):
        shim = self.path("containerd-shim-kata-v2")
        shutil.copy("/bin/dash" if os.path.exists("/bin/dash") else "/bin/sh", shim)
        identifier = "c0" * 32
        process = subprocess.Popen(
            [shim, "-c", "read line", "-id", identifier, "-namespace", "k8s.io"], stdin=subprocess.PIPE,
            start_new_session=True)
        self.addCleanup(process.stdin.close)
        self.addCleanup(self.end_group, process)
        self.start_agent()
        status = self.status()
        self.assertGreaterEqual(status["containers"]["unseen"], 1)
        self.assertIn({"id": identifier, "runtime": "containerd-shim-kata-v2", "pod": None}, status["unseenContainers"])
        self.assertIn("run by containerd-shim-kata-v2", self.agent("status").stdout.decode())
        self.stop_agent()


if __name__ == "__main__":
    unittest.main()
