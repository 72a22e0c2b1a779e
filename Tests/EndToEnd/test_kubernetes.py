"""The DaemonSet of deploy/kubernetes: its container's command with its rights and its view of the machine."""
import os
import shutil
import subprocess
import sys
import unittest

import yaml

from harness import MARTLET, Case, needs_root, needs_sensor, wait_until
from house import AS_NOBODY, DEPLOY, HouseCase
from pods import Containerd, PodContainer, cgroup2, root_directory

FOLDER = os.path.join(DEPLOY, "kubernetes")

# What a container runtime makes of the pod, as far as it matters to what is seen: a cgroup namespace, in which the
# runtime's own mount shows the container's group alone, the host's hierarchy where the manifest mounts it, a root that
# is read-only. Arguments: the group, the host's hierarchy, where that goes to, the command.
POD = """
set -e
echo $$ >"$1/cgroup.procs"
exec unshare --cgroup --mount sh -c '
  set -e
  mount --bind -o ro "$1" "$2"
  umount --recursive --lazy /sys/fs/cgroup
  mount -t cgroup2 -o ro cgroup /sys/fs/cgroup
  mount -o remount,bind,ro /
  shift 2
  exec "$@"' pod "$2" "$3" "${@:4}"
"""


def documents(name):
    with open(os.path.join(FOLDER, name), encoding="utf-8") as file:
        return list(yaml.safe_load_all(file))


def daemon_set():
    found, = [d for d in documents("daemonset.yaml") if d["kind"] == "DaemonSet"]
    return found


class Manifests(Case):
    def test_what_they_name_is_there(self):
        pod = daemon_set()["spec"]["template"]["spec"]
        container, = pod["containers"]
        self.assertEqual({m["name"] for m in container["volumeMounts"]}, {v["name"] for v in pod["volumes"]})
        kustomization, = documents("kustomization.yaml")
        for name in kustomization["resources"] + kustomization["configMapGenerator"][0]["files"]:
            self.assertTrue(os.path.exists(os.path.join(FOLDER, name)), name)
        self.assertEqual(kustomization["images"][0]["name"], container["image"])
        configuration = next(v for v in pod["volumes"] if v["name"] == "configuration")
        self.assertEqual(configuration["configMap"]["name"], kustomization["configMapGenerator"][0]["name"])
        subprocess.run(
            [MARTLET, "agent", "rules", "--config", os.path.join(FOLDER, "agent.yaml")], check=True, stdout=subprocess.PIPE)

    def test_no_more_rights_than_needed(self):
        pod = daemon_set()["spec"]["template"]["spec"]
        context = pod["containers"][0]["securityContext"]
        self.assertFalse(context["privileged"] or context["allowPrivilegeEscalation"])
        self.assertTrue(context["readOnlyRootFilesystem"])
        self.assertEqual(context["capabilities"]["drop"], ["ALL"])
        self.assertFalse(pod["automountServiceAccountToken"])
        self.assertFalse({"hostNetwork", "hostIPC"} & set(pod))

    def test_the_schema_of_kubernetes(self):
        try:
            import kubernetes_validate
        except ImportError:
            self.skipTest("the package kubernetes-validate has the schemas, and is not installed")
        for name in ("namespace.yaml", "daemonset.yaml"):
            for document in documents(name):
                kubernetes_validate.validate(document, "1.30", strict=True)


@needs_sensor
@needs_root
class Pod(HouseCase):
    def setUp(self):
        super().setUp()
        self.hierarchy = cgroup2()
        if not self.hierarchy:
            self.skipTest("no cgroup v2 hierarchy is mounted")
        self.group = os.path.join(self.hierarchy, f"martlet-test-{os.getpid()}")
        os.mkdir(self.group)
        self.addCleanup(os.rmdir, self.group)
        os.mkdir(self.path("host-cgroup"))

    def end_group(self, process):
        super().end_group(process)
        # A group with a process that has just ended cannot be removed yet.
        if getattr(self, "group", None) and os.path.exists(self.group):
            def is_empty():
                with open(os.path.join(self.group, "cgroup.procs")) as file:
                    return not file.read()
            wait_until(is_empty)

    def in_pod(self, *words, **keywords):
        return self.start_in(
            "bash", "-c", POD, "pod", self.group, self.hierarchy, self.path("host-cgroup"), *words, cwd="/", **keywords)

    def start_daemon(self):
        """The DaemonSet's container, when its probe says that it is ready."""
        pod = daemon_set()["spec"]["template"]["spec"]
        container, = pod["containers"]
        os.makedirs(self.path("etc", "martlet"))
        with open(os.path.join(FOLDER, "agent.yaml")) as source, open(self.path("etc", "martlet", "agent.yaml"), "w") as file:
            file.write(source.read())
        self.run_in("mkdir", "/var/lib/martlet", "/run/martlet")
        capabilities = ",".join("+" + name.lower() for name in container["securityContext"]["capabilities"]["add"])
        agent = self.in_pod(
            "setpriv", "--no-new-privs", "--inh-caps=-all", f"--bounding-set=-all,{capabilities}", MARTLET,
            *container["args"])
        probe = container["readinessProbe"]["exec"]["command"]
        self.assertEqual(probe[0], "/martlet")

        def ready():
            self.assertIsNone(agent.poll(), "the agent has ended")
            return self.run_in(MARTLET, *probe[1:], check=False).returncode == 0

        wait_until(ready)
        return agent

    def test_sees_the_machine_from_its_container(self):
        agent = self.start_daemon()
        runner = self.runner(
            "export GITHUB_REPOSITORY=octo/pod GITHUB_RUN_ID=31",
            " ".join(["env", *AS_NOBODY, "sh", "-c", "'echo x > made'"]),
            " ".join(["env", *AS_NOBODY, sys.executable, "-c",
                      "\"import socket; socket.socket().connect_ex(('127.0.0.1', 9))\""]))
        self.finish(runner)
        report, = self.reports(1, "github", wanted=lambda job: job["repository"] == "octo/pod")
        self.assertEqual(report["verdict"], "clean", report["reasons"])
        self.assertEqual(self.written(report), ["made"])
        # Of a process outside of the container's group.
        self.assertEqual(len(report["network"]), 1)
        agent.terminate()
        self.assertEqual(agent.wait(60), 0)

    @unittest.skipUnless(shutil.which("containerd") and shutil.which("ctr"), "needs Debian's containerd")
    def test_knows_the_pods_of_jobs(self):
        """With the rights, the mounts and the view of the hierarchy that it has, and no socket of a runtime."""
        containerd = Containerd()
        self.addCleanup(containerd.end)
        agent = self.start_daemon()
        root = root_directory(self.path("rootfs"))
        container = PodContainer(
            containerd, root, "runner-abc", "build", 7, ["/bin/sh", "-c", "sleep 0.2; true"],
            environment=["GITLAB_CI=true", "CI_JOB_ID=4712", "CI_PROJECT_PATH=group/project"])
        self.addCleanup(container.end)
        report, = self.reports(1, "gitlab", wanted=lambda job: job["variables"].get("CI_JOB_ID") == "4712", seconds=90)
        row, = report["job"]["containers"]
        self.assertEqual((row["id"], row["name"], row["cgroup"]), (container.identifier, "build", container.cgroup))
        self.assertEqual(row["pod"]["name"], "runner-abc")
        agent.terminate()
        self.assertEqual(agent.wait(60), 0)

    def test_without_the_hosts_hierarchy_it_does_not_start(self):
        agent = self.in_pod(
            "sh", "-c", 'umount "$1"; shift; exec "$@"', "pod", self.path("host-cgroup"), MARTLET, "agent", "start",
            "--foreground", "--output", "/var/lib/martlet")
        self.assertIn("Of the cgroup v2 hierarchy only a part is mounted here", self.finish(agent, status=125))


if __name__ == "__main__":
    unittest.main()
