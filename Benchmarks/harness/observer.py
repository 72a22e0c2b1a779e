# SPDX-License-Identifier: Apache-2.0
"""A bpftrace script that knows control groups alone, beside jobs that build images: what happened in each."""

import collections
import contextlib
import os
import subprocess
import threading
import time
from pathlib import Path

from harness.measure import Failure

# By what they do, the calls that are counted, whether they succeed or not; those of them that the architecture has.
CALLS = {
    "open": "open openat openat2 creat",
    "close": "close close_range",
    "read": "read pread64 readv getdents64",
    "write": "write pwrite64 writev",
    "stat": "newstat newlstat newfstat newfstatat statx access faccessat faccessat2 readlink readlinkat",
    "map": "mmap",
    "fork": "clone clone3 fork vfork",
    "exec": "execve execveat",
    "wait": "wait4 waitid",
    "signal": "rt_sigaction rt_sigprocmask kill tgkill",
    "dup or pipe": "dup dup2 dup3 pipe pipe2 socketpair",
    "socket": "socket bind listen accept accept4",
    "connect": "connect",
    "send or receive": "sendto sendmsg sendmmsg recvfrom recvmsg recvmmsg",
    "rename": "rename renameat renameat2",
    "link": "link linkat symlink symlinkat",
    "unlink": "unlink unlinkat rmdir",
    "mkdir": "mkdir mkdirat mknod mknodat",
    "attributes": "chmod fchmod fchmodat chown fchown lchown fchownat utimensat",
    "truncate": "truncate ftruncate",
}

# All but the root's: what runs in a container's control group or in a job's, whoever's it is.
BEGIN = """
BEGIN { printf("ready\\n"); }
tracepoint:sched:sched_process_exec /cgroup != 1/ { @begun[cgroup] = 1; printf("exec %lu %d\\n", cgroup, pid); }
tracepoint:sched:sched_process_exit /cgroup != 1 && pid == tid/ { printf("exit %lu %d\\n", cgroup, pid); }
tracepoint:syscalls:sys_enter_mmap /@begun[cgroup] && (int32)args->fd >= 0/ { @calls[cgroup, "map of a file", 1] = count(); }
END { clear(@begun); }
"""


# tracefs is mounted for bpftrace alone where the machine does not have it.
TRACING = ["unshare", "-m", "sh", "-c", 'mount -t tracefs none /sys/kernel/tracing 2>/dev/null; exec bpftrace "$@"', "sh"]
PROBE = "tracepoint:syscalls:sys_exit_"


def script(with_calls):
    there = subprocess.run([*TRACING, "-l", PROBE + "*"], stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    lines = [BEGIN]
    for name, calls in CALLS.items() if with_calls else [("open", CALLS["open"])]:
        probes = ", ".join(PROBE + call for call in calls.split() if PROBE + call in there)
        # The child returns from a fork, too.
        outcomes = [(">" if name == "fork" else ">=", 1), ("<", 0)] if with_calls else [(">=", 1)]
        for comparison, succeeded in outcomes:
            lines.append(
                f'{probes} /@begun[cgroup] && args->ret {comparison} 0/ {{ @calls[cgroup, "{name}", {succeeded}] = count(); }}')
    return "\n".join(lines)


class Observer:
    """Counts while it is entered; `groups` afterwards: by control group `exec` and `exit`, how many, of which `pids`, and in
    `calls` the successful and failed ones by name."""

    def __init__(self, work, with_calls=False):
        self.work, self.with_calls = work, with_calls

    def __enter__(self):
        program, self.observed = self.work / "observer.bt", self.work / "observed"
        program.write_text(script(self.with_calls))
        with self.observed.open("wb") as output, (self.work / "observer.err").open("wb") as errors:
            self.process = subprocess.Popen([*TRACING, "-q", "-B", "line", program], stdout=output, stderr=errors,
                                            env=dict(os.environ, BPFTRACE_PERF_RB_PAGES="4096"))
        for _ in range(600):
            if b"ready" in self.observed.read_bytes():
                return self
            time.sleep(0.1)
        raise Failure("bpftrace did not start: " + (self.work / "observer.err").read_text()[-400:])

    def __exit__(self, *_):
        # What ends with the job has to be told before the observer goes.
        time.sleep(1)
        self.process.terminate()
        self.process.wait()
        self.groups = self.read()

    def read(self):
        """Ends count from the first exec on: before that it is the runtime that forks there."""
        groups = collections.defaultdict(lambda: {"exec": 0, "exit": 0, "pids": set(), "calls": {}})
        for line in self.observed.read_text(errors="replace").splitlines():
            words = line.split()
            if words and words[0] in ("exec", "exit"):
                group = groups[int(words[1])]
                if words[0] == "exec" or group["exec"]:
                    group[words[0]] += 1
                    group["pids"].add(int(words[2]))
            elif line.startswith("@calls["):
                key, count = line[len("@calls["):].split("]: ")
                number, name, succeeded = key.split(", ")
                counts = groups[int(number)]["calls"].setdefault(name, [0, 0])
                counts[0 if succeeded == "1" else 1] += int(count)
            elif "Lost" in line:
                raise Failure("the observer itself lost events")
        return dict(groups)


class Owners:
    """Whose a container is, seen from outside: by the group that its processes are in, and a file that the job's own base image has.
    Looks from when it is entered; `found` has the name of the job by the group's number."""

    FILE = "etc/whose"

    def __init__(self, groups):
        self.groups, self.found = groups, {}

    def __enter__(self):
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.look)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()

    def look(self):
        # A step of a real build lasts for seconds.
        while not self.done.wait(0.05):
            for number, pids in self.groups.containers():
                for pid in pids if number not in self.found else ():
                    with contextlib.suppress(OSError):
                        self.found[number] = Path(f"/proc/{pid}/root/{self.FILE}").read_text().strip()
                        break
