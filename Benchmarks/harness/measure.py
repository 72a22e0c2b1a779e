# SPDX-License-Identifier: Apache-2.0
"""Starting programs, and what they cost."""

import json
import os
import platform
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


class Failure(Exception):
    """A run that cannot count: the message says which and why."""


@dataclass
class Sample:
    """One run of one workload. Nanoseconds of CPU time, user and system together."""

    workload: int
    sensor: int = 0
    wall: int = 0
    details: dict = field(default_factory=dict)

    @property
    def total(self):
        return self.workload + self.sensor


@dataclass
class Ended:
    status: int
    cpu: int
    wall: int
    output: str
    errors: str


def environment():
    """What a workload may see of ours: enough to run, and the same for every mode."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    return {**kept, "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def pinned(cpus, command):
    """`command` on these CPUs alone; all that it starts inherits that."""
    return ["taskset", "-c", ",".join(map(str, cpus)), *command]


def run(command, work, limit=1800, directory=None, stdin=subprocess.DEVNULL):
    """Run to the end; CPU time is that of the process and of all descendants that were waited for."""
    outputs = [Path(work) / "stdout", Path(work) / "stderr"]
    with open(outputs[0], "wb") as out, open(outputs[1], "wb") as err:
        begin = time.monotonic_ns()
        child = subprocess.Popen(
            command, stdin=stdin, stdout=out, stderr=err, cwd=directory, env=environment(), start_new_session=True
        )
        previous = signal.signal(signal.SIGALRM, lambda *_: os.killpg(child.pid, signal.SIGKILL))
        signal.alarm(limit)
        try:
            _, status, usage = os.wait4(child.pid, 0)
        except BaseException:
            os.killpg(child.pid, signal.SIGTERM)
            raise
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, previous)
        wall = time.monotonic_ns() - begin
        child.returncode = os.waitstatus_to_exitcode(status)
    cpu = round((usage.ru_utime + usage.ru_stime) * 1e9)
    texts = [path.read_text(errors="replace") for path in outputs]
    return Ended(child.returncode, cpu, wall, *texts)


def checked(ended, command):
    if ended.status != 0:
        tail = (ended.errors or ended.output).strip().splitlines()[-12:]
        raise Failure(f"{' '.join(map(str, command))} ended with {ended.status}:\n  " + "\n  ".join(tail))
    return ended


def measured(storm, work, command):
    """The command that runs `command` and leaves what it cost in the file returned."""
    output = Path(work) / "measured.json"
    output.unlink(missing_ok=True)
    return output, [str(storm), "measure", str(output), *map(str, command)]


def read_measured(output):
    try:
        figures = json.loads(output.read_text())
    except (OSError, ValueError) as error:
        raise Failure(f"the workload left no figures: {error}") from error
    if figures["status"] != 0:
        raise Failure(f"the workload ended with wait status {figures['status']:#x}")
    return figures


def process_cpu(pid):
    """CPU time of a running process without its children, nanoseconds, in clock ticks' resolution."""
    try:
        schedule = [Path(entry, "schedstat").read_text() for entry in Path(f"/proc/{pid}/task").iterdir()]
        return sum(int(text.split()[0]) for text in schedule)
    except (OSError, ValueError, IndexError):
        pass
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * 1_000_000_000 // TICKS
    except OSError:
        return 0


def threads_cpu(pid):
    """CPU time of a running process' threads by their names, nanoseconds; nothing of no process."""
    times = {}
    for entry in Path(f"/proc/{pid}/task").iterdir() if pid else []:
        name = Path(entry, "comm").read_text().strip()
        times[name] = times.get(name, 0) + int(Path(entry, "schedstat").read_text().split()[0])
    return times


def ring_bytes_mapped(pid):
    """Resident bytes of BPF maps in a process: its view of the rings, which are no memory of its own."""
    total = 0
    inside = False
    try:
        for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
            first = line.split(None, 1)[0]
            if "-" in first and not first.endswith(":"):
                inside = "bpf-map" in line or "bpf_ringbuf" in line
            elif inside and first == "Rss:":
                total += int(line.split()[1]) * 1024
    except OSError:
        return None
    return total


def resident_bytes(pid):
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


def machine():
    model = next(
        (line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
         if line.startswith("model name")), "unknown")
    return {
        "kernel": platform.release(), "processor": model, "cpus": len(os.sched_getaffinity(0)),
        "loadAverage": os.getloadavg()[0], "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def say(text):
    """Progress goes to standard error: standard output is the table's."""
    print(text, file=sys.stderr, flush=True)
