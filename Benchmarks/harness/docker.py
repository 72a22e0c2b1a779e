# SPDX-License-Identifier: Apache-2.0
"""A dockerd of the benchmark's own, in control groups whose CPU time can be read."""

import contextlib
import os
import subprocess
import time
from pathlib import Path

from harness.measure import Failure

# Debian's, whatever else is called so on PATH.
DOCKER = "/usr/bin/docker"
CONTAINERS = "containers"


def cgroup2():
    """Where the v2 hierarchy is mounted."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    return Path(next(words[1] for words in mounts if words[2] == "cgroup2"))


class Groups:
    """A control group of the v2 hierarchy, and those in it: what is measured is in one of these, and nothing else is."""

    def __init__(self, name):
        self.name = name
        self.path = cgroup2() / name
        self.path.mkdir()

    def enter(self, child):
        """What a new process has to call to be in a group in this one, and with it all that it starts."""
        (self.path / child).mkdir(exist_ok=True)
        return lambda: (self.path / child / "cgroup.procs").write_text(str(os.getpid()))

    def number(self, child):
        """As kernel programs name it."""
        return (self.path / child).stat().st_ino

    def cpu(self, child=""):
        """CPU time of all that ever ran there, in nanoseconds. A group has it without a controller and keeps that of those
        that were removed from it."""
        path = self.path / child / "cpu.stat"
        if not path.exists():
            return 0
        return 1000 * int(dict(line.split() for line in path.read_text().splitlines())["usage_usec"])

    def wait_until_empty(self, child):
        """Until who was there has ended and closed all files: that has it left cgroup.procs for long."""
        for _ in range(600):
            if "populated 0" in (self.path / child / "cgroup.events").read_text():
                return
            time.sleep(0.1)
        raise Failure(f"{child}: something in it does not end")

    def containers(self):
        """Number and the processes of each group of a container."""
        for directory, groups, _ in os.walk(self.path / CONTAINERS):
            with contextlib.suppress(OSError):
                if not groups:
                    yield os.stat(directory).st_ino, Path(directory, "cgroup.procs").read_text().split()

    def remove(self):
        """In every hierarchy: a runtime makes its containers' groups in all that there are."""
        mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
        for mount in (words[1] for words in mounts if words[2] in ("cgroup", "cgroup2")):
            for directory, *_ in os.walk(f"{mount}/{self.name}", topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(directory)


class Daemon:
    def __init__(self, work, groups):
        self.work, self.groups = work, groups
        self.environment = dict(os.environ, DOCKER_HOST=f"unix://{work}/docker.sock", HOME=str(work), DOCKER_BUILDKIT="0")
        self.process = None

    def docker(self, *words, **keywords):
        return subprocess.run([DOCKER, *words], env=self.environment, check=True, stdout=subprocess.PIPE, **keywords).stdout

    def start(self):
        log = self.work / "dockerd.log"
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                ["dockerd", "--data-root", self.work / "data", "--exec-root", self.work / "run", "--pidfile",
                 self.work / "docker.pid", "-H", self.environment["DOCKER_HOST"], "--iptables=false", "--bridge=none",
                 "--exec-opt", "native.cgroupdriver=cgroupfs", "--cgroup-parent", f"/{self.groups.name}/{CONTAINERS}"],
                stdout=output, stderr=output, start_new_session=True, preexec_fn=self.groups.enter("daemon"))
        for _ in range(300):
            if subprocess.run([DOCKER, "version"], env=self.environment, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL).returncode == 0:
                return
            time.sleep(0.1)
        raise Failure("dockerd did not start: " + log.read_text()[-2000:])

    def end(self):
        if self.process:
            self.process.terminate()
            self.process.wait()
            # What a container's network was; dockerd leaves it mounted.
            if os.path.ismount(self.work / "run" / "netns" / "default"):
                subprocess.run(["umount", self.work / "run" / "netns" / "default"], check=True)

    def import_root(self, root, image):
        with subprocess.Popen(["tar", "-C", root, "-c", "."], stdout=subprocess.PIPE) as archive:
            self.docker("import", "-", image, stdin=archive.stdout)
        if archive.returncode:
            raise Failure(f"{root} could not be read")

    def import_archive(self, path, image):
        with open(path, "rb") as archive:
            self.docker("import", "-", image, stdin=archive)

    def build(self, image, dockerfile, files):
        """An image of the benchmark's own, outside of any job."""
        context = self.work / f"context-of-{image}"
        context.mkdir()
        for name, text in {**files, "Dockerfile": dockerfile}.items():
            (context / name).write_text(text)
        self.docker("build", "-q", "-t", image, context)

    def forget(self):
        """All that builds have left, so that the next one finds what the one before it found."""
        self.docker("image", "prune", "-f")
        self.docker("builder", "prune", "-f", "-a")
