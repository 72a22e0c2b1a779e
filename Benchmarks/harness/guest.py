# SPDX-License-Identifier: Apache-2.0
"""`Benchmarks/containers cost` in a guest whose clock is an instruction counter: what is used there is executed instructions."""

import json
import shutil
import subprocess
from pathlib import Path

from harness.docker import DOCKER
from harness.measure import Failure, say

# A runtime cannot leave an initramfs (pivot_root(2)): the same tree is the root once more, as a mount above it. dockerd and its
# images are on a tmpfs, so that no disk is measured. What the kernel does in the background after a boot is waited for; the
# clock of an idle guest jumps.
SCRIPT = """set -eu
[ "${{1-}}" = inside ] || {{ mount --rbind / /mnt; cd /mnt; mount --move . /; exec chroot . sh {place}/guest.sh inside; }}
cd /root
mkdir -p /var/tmp
mount -t tmpfs -o size={megabytes}m,mode=1777 work /var/tmp
sleep 5
status=0
{python} {place}/Benchmarks/containers cost {words} || status=$?
[ ! -s /tmp/figures ] || {{ echo; echo "{mark}$(tr -d '\\n' </tmp/figures)"; }}
exit $status
"""


class Guest:
    """What is staged for it is in its memory: the programs of Debian's docker.io, Python, and what was prepared outside."""

    BASE, MIRROR = "base.tar", "mirror"
    MEMORY = 4096
    MARK = "FIGURES "
    PROGRAMS = ["/usr/sbin/dockerd", "/usr/bin/containerd", "/usr/bin/containerd-shim-runc-v2", "/usr/sbin/runc", DOCKER,
                "/bin/bash"]

    def __init__(self, chosen, root, work):
        self.chosen, self.root, self.work = chosen, root, work
        # Debian's, whichever runs this.
        self.python = Path("/usr/bin/python3").resolve(strict=True)
        asked = subprocess.run([self.python, "-c", "import sysconfig; print(sysconfig.get_path('stdlib'))"], check=True,
                               stdout=subprocess.PIPE, text=True)
        self.library = Path(asked.stdout.strip())

    def stage(self):
        """Everything but programs, which Kernels/run takes along with their libraries."""
        tree = self.work / "tree"
        tree.mkdir(mode=0o755)
        (tree / "etc").mkdir()
        (tree / "etc/resolv.conf").touch()
        shutil.copytree(self.library, tree / self.library.relative_to("/"), ignore=shutil.ignore_patterns(
            "__pycache__", "test", "idlelib", "tkinter", "config-*", "*-packages", "ensurepip", "lib2to3", "*.so"))
        place = tree / "martlet"
        shutil.copytree(self.root / "Benchmarks/harness", place / "Benchmarks/harness",
                        ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("containers", "thresholds.json"):
            shutil.copy(self.root / "Benchmarks" / name, place / "Benchmarks")
        shutil.move(self.work / "prepared", tree / "prepared")
        words = ["--prepared", "/prepared", "--json", "/tmp/figures", "--martlet", str(self.chosen.martlet.resolve()),
                 "--base", self.chosen.base, "--pairs", str(self.chosen.pairs), "--builders", ",".join(self.chosen.builders)]
        if self.chosen.hooks:
            words += ["--hooks", ",".join(self.chosen.hooks)]
        (place / "guest.sh").write_text(SCRIPT.format(
            place="/martlet", megabytes=self.MEMORY * 5 // 8, python=self.python, words=" ".join(words), mark=self.MARK))
        return tree

    def run(self):
        """Exit status as of the benchmark in the guest; its figures are where ours would be."""
        extensions = [path for name in ("_json", "_contextvars") for path in self.library.glob(f"lib-dynload/{name}.*.so")]
        brought = [*self.PROGRAMS, self.python, self.chosen.martlet.resolve(), *extensions]
        # AppArmor would have dockerd load a profile with a program that is not there.
        command = [self.root / "Kernels/run", "--icount", "--memory", str(self.MEMORY), "--timeout", str(self.chosen.timeout),
                   "--append", "nokaslr norandmaps apparmor=0", "--root", self.stage(),
                   *(word for file in brought for word in ("--bin", file)), self.chosen.kernel, "--", "sh", "/martlet/guest.sh"]
        figures = None
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, errors="replace") as guest:
            for line in guest.stdout:
                if line.startswith(self.MARK):
                    figures = json.loads(line.removeprefix(self.MARK))
                elif line.strip() and not line.startswith("figures: "):
                    print(line.rstrip(), flush=True)
        if figures is None:
            raise Failure(f"the guest ended with {guest.returncode} and left no figures")
        self.chosen.json.parent.mkdir(parents=True, exist_ok=True)
        self.chosen.json.write_text(json.dumps(figures, indent=1) + "\n")
        say(f"figures: {self.chosen.json}")
        return guest.returncode
