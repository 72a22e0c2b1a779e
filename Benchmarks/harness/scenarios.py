# SPDX-License-Identifier: Apache-2.0
"""The workloads. Sizes are those that docs/benchmarks.md quotes; a scale below 1 is for smoke tests."""

import os
import shutil
import subprocess
from pathlib import Path

from harness.measure import Failure, environment


class Storm:
    """One verb of the storm program over a directory on tmpfs."""

    placement = "one"

    def __init__(self, name, about, arguments, files=0):
        self.name = name
        self.about = about
        self._arguments = arguments
        self._files = files

    def scaled(self, scale):
        """Files to prepare at this scale."""
        return max(1, round(self._files * scale)) if self._files else 0

    def prepare(self, storm, work, scale):
        self.storm = storm
        self.tree = Path(work) / f"tree-{self.name}"
        if self._files:
            done = subprocess.run([str(storm), "prepare", str(self.tree), str(self.scaled(scale)), "100"])
            if done.returncode:
                raise Failure(f"{self.name}: cannot make {self._files} files in {work}")
        else:
            self.tree.mkdir(exist_ok=True)
        self._scale = scale

    def command(self):
        return [str(self.storm), *map(str, self._arguments(self.tree, self._scale, self.scaled(self._scale)))]

    directory = None

    def before(self):
        """Put everything as it was, before each run."""

    def finish(self):
        shutil.rmtree(self.tree, ignore_errors=True)


def count(base, scale, least=1):
    return max(least, round(base * scale))


STORMS = [
    Storm("spawn", "5,000 processes started and waited for", lambda tree, s, f: ["spawn", count(5000, s)]),
    Storm(
        "open", "300,000 open, read, close over 1,000 files",
        lambda tree, s, f: ["open", tree, 1000, count(300_000, s)], files=1000,
    ),
    Storm("distinct", "200,000 distinct files opened once", lambda tree, s, f: ["distinct", tree, f], files=200_000),
    Storm("connect", "20,000 TCP connections on loopback", lambda tree, s, f: ["connect", count(20_000, s)]),
    Storm(
        "write", "1 GiB in 16 KiB writes over a 64 MiB file",
        lambda tree, s, f: ["write", tree / "file", 64, 16, count(1024, s)],
    ),
    Storm(
        "read", "1 GiB in 16 KiB reads over a 64 MiB file",
        lambda tree, s, f: ["read", tree / "file", 64, 16, count(1024, s)],
    ),
]
# `prepare` must make every file that `open` names, whatever the scale.
STORMS[1].scaled = lambda scale: 1000


class PackageBuild:
    """A Debian source package, built as its maintainer does, on both CPUs."""

    placement = "all"

    def __init__(self, package):
        self.name = "build"
        self.package = package
        self.about = f"dpkg-buildpackage -j2 of {package}"

    def prepare(self, storm, work, scale):
        script = Path(__file__).resolve().parents[2] / "scripts" / "source-package"
        done = subprocess.run([str(script), self.package], stdout=subprocess.PIPE, text=True)
        if done.returncode:
            raise Failure(f"the source of {self.package} could not be had: see above")
        self.source = Path(done.stdout.strip().splitlines()[-1])
        self.tree = Path(work) / "build"
        self.directory = self.tree / "source"

    def command(self):
        # -nc: the tree is fresh. -d: what is missing is found by the build itself.
        return ["dpkg-buildpackage", "-us", "-uc", "-b", "-nc", "-j2"]

    def before(self):
        shutil.rmtree(self.tree, ignore_errors=True)
        self.tree.mkdir()
        shutil.copytree(self.source, self.directory, symlinks=True)

    def finish(self):
        shutil.rmtree(self.tree, ignore_errors=True)


class Nothing:
    """`true`: what a run costs that does nothing."""

    name = "true"
    about = "martlet run -- true, start to exit"
    placement = "all"
    directory = None

    def prepare(self, storm, work, scale):
        pass

    def command(self):
        return [shutil.which("true", path=environment()["PATH"]) or "/bin/true"]

    def before(self):
        pass

    def finish(self):
        pass


def all_scenarios(package):
    return [*STORMS, PackageBuild(package), Nothing()]


def cpus_for(placement):
    """`one`: the last CPU that we may use, away from where interrupts usually go. `all`: all of them, named."""
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[-1:] if placement == "one" else allowed
