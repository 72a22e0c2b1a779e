"""Containers of pods: a real containerd, with what its CRI plugin would write and the cgroups that a kubelet names."""
import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import unittest

from harness import wait_until

UID = "0f2c4f1e-7f53-4c0e-9d0a-2f6f8a6b1c%02d"

# Its plugins for file systems look at the machine's, which is none of the test's business.
CONFIGURATION = """
version = 2
root = "{0}/root"
state = "{0}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs"]
[grpc]
  address = "{0}/containerd.sock"
"""


class Containerd:
    """A containerd of our own, with directories of its own."""

    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix="martlet-containerd-")
        self.address = f"{self.directory}/containerd.sock"
        with open(f"{self.directory}/config.toml", "w") as file:
            file.write(CONFIGURATION.format(self.directory))
        self.log = open(f"{self.directory}/log", "wb")
        self.process = subprocess.Popen(
            ["containerd", "--config", f"{self.directory}/config.toml"], stdin=subprocess.DEVNULL, stdout=self.log,
            stderr=self.log, start_new_session=True)
        try:
            wait_until(lambda: self.process.poll() is not None or self.ctr("version", check=False).returncode == 0)
        except AssertionError:
            pass
        if self.process.poll() is not None or self.ctr("version", check=False).returncode != 0:
            with open(f"{self.directory}/log", errors="replace") as log:
                reason = log.read()[-2000:]
            self.end()
            raise unittest.SkipTest(f"containerd does not run here: {reason}")

    def ctr(self, *words, check=True, **keywords):
        return subprocess.run(
            ["ctr", "--address", self.address, "--namespace", "k8s.io", *words], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=check, **keywords)

    def start(self, *words):
        return subprocess.Popen(
            ["ctr", "--address", self.address, "--namespace", "k8s.io", *words], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT, start_new_session=True)

    def end(self):
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
        shutil.rmtree(self.directory, ignore_errors=True)


def root_directory(path):
    """Makes a root directory with busybox in it."""
    for name in ("bin", "tmp", "proc", "sys", "dev", "etc"):
        os.makedirs(os.path.join(path, name))
    shutil.copy("/bin/busybox", os.path.join(path, "bin"))
    for name in ("sh", "sleep", "touch"):
        os.symlink("busybox", os.path.join(path, "bin", name))
    return path


class PodContainer:
    """A container of a pod, running a command."""

    numbers = itertools.count(1)

    def __init__(self, containerd, root, pod, name, uid, command, environment=(), namespace="ci", annotations=None):
        self.containerd = containerd
        self.identifier = f"{os.getpid():032x}{next(self.numbers):032x}"
        self.pod_group = f"/kubepods/burstable/pod{UID % uid}"
        self.cgroup = f"{self.pod_group}/{self.identifier}"
        labels = {
            "container-type": "container", "container-name": name, "image-name": f"registry.example/{name}:1",
            "sandbox-id": f"{uid:064x}", "sandbox-name": pod, "sandbox-namespace": namespace, **(annotations or {})}
        words = ["run", "--rm", "--cgroup", self.cgroup]
        for key, value in labels.items():
            words += ["--annotation", f"io.kubernetes.cri.{key}={value}"]
        for value in environment:
            words += ["--env", value]
        self.process = containerd.start(*words, "--rootfs", root, self.identifier, *command)

    def end(self):
        self.containerd.ctr("task", "kill", "--signal", "SIGKILL", self.identifier, check=False)
        try:
            self.process.wait(30)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        # Others may be in the pod, and other pods below what is above.
        for hierarchy in {"/sys/fs/cgroup", cgroup2(), *("/sys/fs/cgroup/" + name for name in os.listdir("/sys/fs/cgroup"))}:
            for group in (self.pod_group, "/kubepods/burstable", "/kubepods"):
                with contextlib.suppress(OSError):
                    os.rmdir(hierarchy + group)


def cgroup2():
    """Where the machine's hierarchy is mounted."""
    with open("/proc/self/mountinfo") as file:
        for line in file:
            left, right = line.split(" - ")
            if right.startswith("cgroup2 ") and os.stat(left.split()[4]).st_ino == 1:
                return left.split()[4]
    return None
