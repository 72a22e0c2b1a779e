# SPDX-License-Identifier: Apache-2.0
"""How a workload is run: bare, under martlet, or under what people have anyway."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from harness.measure import (
    Failure, Sample, checked, measured, pinned, process_cpu, read_measured, run,
)


class Bare:
    name = "bare"

    def __init__(self, storm):
        self.storm = storm

    def missing(self):
        """Why this mode cannot run here, or None."""
        return None

    def run(self, command, work, cpus, directory):
        output, line = measured(self.storm, work, command)
        line = pinned(cpus, line)
        ended = checked(run(line, work, directory=directory), line)
        figures = read_measured(output)
        return Sample(figures["user"] + figures["system"], 0, figures["wall"], {"wholeWall": ended.wall})


class Martlet(Bare):
    """`martlet run`, with what it says of itself checked against what the kernel says of it.

    The sensor's share is its CPU time from "attached" to the last record logged, from the report. Where a
    report has no such figures the whole of martlet counts, loading and reporting included: an upper bound.
    """

    name = "martlet"

    def __init__(self, storm, martlet, options=()):
        super().__init__(storm)
        self.martlet = martlet
        self.options = list(options)

    def missing(self):
        if os.geteuid() != 0:
            return "needs root"
        return None if os.access(self.martlet, os.X_OK) else f"{self.martlet} is not built: make release"

    def command(self, report, command):
        return [str(self.martlet), "run", "--output", str(report), *self.options, "--", *map(str, command)]

    def run(self, command, work, cpus, directory):
        report = Path(work) / "report"
        shutil.rmtree(report, ignore_errors=True)
        output, inner = measured(self.storm, work, command)
        line = pinned(cpus, self.command(report, inner))
        ended = checked(run(line, work, directory=directory), line)
        figures = read_measured(output)
        workload = figures["user"] + figures["system"]
        details = read_report(report)
        details["wholeWall"] = ended.wall
        whole = max(0, ended.cpu - workload)
        cost = details.get("cost")
        if cost is None:
            details["costIsUpperBound"] = True
            return Sample(workload, whole, figures["wall"], details)
        own = cost["userNanoseconds"] + cost["systemNanoseconds"]
        if own > whole * 1.02 + 5_000_000:
            raise Failure(f"martlet says it used {own} ns between attached and last record, the kernel {whole} in all")
        return Sample(workload, own, figures["wall"], details)


def full_report(report):
    try:
        return json.loads((Path(report) / "report.json").read_text())
    except (OSError, ValueError) as error:
        raise Failure(f"{report}/report.json: {error}") from error


def read_report(report):
    """What a run's report says about losses and cost."""
    try:
        sensor = full_report(report)["sensor"]
        completeness = sensor["completeness"]
        lost = completeness["lost"]
        return {
            "lost": lost["critical"] + lost["bulk"],
            "completeness": completeness,
            "cost": sensor.get("cost"),
        }
    except (KeyError, TypeError) as error:
        raise Failure(f"{report}/report.json: {type(error).__name__}: {error}") from error


class Strace(Bare):
    """Every exec, exit, open and connect of the tree, written to a file."""

    name = "strace"

    def missing(self):
        return None if shutil.which("strace") else "not installed"

    def run(self, command, work, cpus, directory):
        output, inner = measured(self.storm, work, command)
        calls = "execve,execveat,exit_group,open,openat,openat2,connect"
        line = pinned(cpus, ["strace", "-f", "-qq", "-o", f"{work}/strace.log", "-e", f"trace={calls}", *inner])
        ended = checked(run(line, work, directory=directory), line)
        figures = read_measured(output)
        workload = figures["user"] + figures["system"]
        return Sample(workload, max(0, ended.cpu - workload), figures["wall"], {})


# In a mount namespace of its own: the tracing file systems need not be mounted on the host, nor do they stay.
TRACING = (
    "mount -t debugfs none /sys/kernel/debug 2>/dev/null; "
    "mount -t tracefs none /sys/kernel/debug/tracing 2>/dev/null; exec bpftrace \"$1\""
)


def start_bpftrace(script, work, cpus):
    """A bpftrace that says "ready" when it is, writing to WORK/bpftrace.log; the process and its log."""
    log, program = Path(work) / "bpftrace.log", Path(work) / "script.bt"
    program.write_text(script)
    line = pinned(cpus, ["unshare", "-m", "sh", "-c", TRACING, "sh", str(program)])
    with open(log, "wb") as out, open(f"{work}/bpftrace.err", "wb") as err:
        peer = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True)
    deadline = time.monotonic() + 60
    while b"ready" not in log.read_bytes()[:4096]:
        if peer.poll() is not None or time.monotonic() > deadline:
            end_bpftrace(peer)
            raise Failure("bpftrace did not start: " + Path(f"{work}/bpftrace.err").read_text()[-400:])
        time.sleep(0.05)
    return peer, log


def end_bpftrace(peer):
    if peer.poll() is None:
        peer.send_signal(signal.SIGINT)
    try:
        peer.wait(30)
    except subprocess.TimeoutExpired:
        peer.kill()
        peer.wait()


class OpenCounter:
    """An independent count of the successful opens of every process called "storm"."""

    script = """
BEGIN { printf("ready\\n"); @opens = (uint64)0; }
tracepoint:syscalls:sys_exit_open, tracepoint:syscalls:sys_exit_openat, tracepoint:syscalls:sys_exit_openat2
/comm == "storm" && args->ret >= 0/ { @opens++; }
END { printf("counted %d\\n", @opens); clear(@opens); }
"""

    @classmethod
    def start(cls, work):
        """None where there is no bpftrace."""
        if not shutil.which("bpftrace"):
            return None
        counter = cls()
        counter.peer, counter.log = start_bpftrace(cls.script, work, sorted(os.sched_getaffinity(0)))
        return counter

    def stop(self):
        end_bpftrace(self.peer)
        words = self.log.read_text().split()
        if "counted" not in words:
            raise Failure("bpftrace did not say what it counted")
        return int(words[words.index("counted") + 1])


class Bpftrace(Bare):
    """A script that prints every exec, exit, open and connect of the host, into a file."""

    name = "bpftrace"
    script = """
BEGIN { printf("ready\\n"); }
tracepoint:sched:sched_process_exec { printf("exec %d %s\\n", pid, str(args->filename)); }
tracepoint:sched:sched_process_exit { printf("exit %d\\n", pid); }
tracepoint:syscalls:sys_enter_openat { printf("open %d %s\\n", pid, str(args->filename)); }
tracepoint:syscalls:sys_enter_connect { printf("connect %d\\n", pid); }
"""

    def missing(self):
        if os.geteuid() != 0:
            return "needs root"
        return None if shutil.which("bpftrace") else "not installed"

    def run(self, command, work, cpus, directory):
        peer, log = start_bpftrace(self.script, work, cpus)
        try:
            before = process_cpu(peer.pid)
            sample = super().run(command, work, cpus, directory)
            settle(lambda: log.stat().st_size)
            sample.sensor = process_cpu(peer.pid) - before
        finally:
            end_bpftrace(peer)
        lost = Path(f"{work}/bpftrace.err").read_text() + log.read_bytes()[-4096:].decode(errors="replace")
        sample.details["reportsLoss"] = "Lost" in lost
        return sample


class Auditd(Bare):
    """auditd with rules for exec, open and connect, where nothing else uses the audit system."""

    name = "auditd"
    rules = ["-S", "execve,execveat", "-S", "open,openat,creat", "-S", "connect"]

    def missing(self):
        if os.geteuid() != 0:
            return "needs root"
        if not shutil.which("auditctl") or not shutil.which("auditd"):
            return "not installed"
        state = subprocess.run(["auditctl", "-s"], capture_output=True, text=True)
        rules = subprocess.run(["auditctl", "-l"], capture_output=True, text=True)
        if state.returncode or "pid 0" not in state.stdout or "No rules" not in rules.stdout:
            return "the audit system is in use or refused: left alone"
        return None

    def run(self, command, work, cpus, directory):
        settings = Path(work) / "audit"
        settings.mkdir(exist_ok=True)
        settings.chmod(0o750)
        log = settings / "audit.log"
        (settings / "auditd.conf").write_text(
            f"log_file = {log}\nlog_format = RAW\nflush = INCREMENTAL_ASYNC\nfreq = 50\nmax_log_file = 2048\n"
            "max_log_file_action = IGNORE\nspace_left = 75\nspace_left_action = IGNORE\nadmin_space_left = 50\n"
            "admin_space_left_action = IGNORE\ndisk_full_action = SUSPEND\ndisk_error_action = SUSPEND\n"
            "log_group = root\npriority_boost = 4\nwrite_logs = yes\nlocal_events = yes\n"
        )
        (settings / "auditd.conf").chmod(0o640)
        (settings / "plugins.d").mkdir(exist_ok=True)
        line = pinned(cpus, ["auditd", "-n", "-c", str(settings)])
        with open(f"{work}/auditd.err", "wb") as err:
            peer = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=err, stderr=err, start_new_session=True)
            try:
                control("-b", "65536")
                control("-e", "1")
                control("-a", "always,exit", "-F", "arch=b64", *self.rules, "-k", "martlet-bench")
                if peer.poll() is not None:
                    raise Failure("auditd did not start: " + Path(f"{work}/auditd.err").read_text()[-400:])
                thread = kernel_thread("kauditd")
                before = process_cpu(peer.pid) + process_cpu(thread)
                sample = super().run(command, work, cpus, directory)
                settle(lambda: log.stat().st_size if log.exists() else 0)
                sample.sensor = process_cpu(peer.pid) + process_cpu(thread) - before
            finally:
                subprocess.run(["auditctl", "-D", "-k", "martlet-bench"], capture_output=True)
                subprocess.run(["auditctl", "-e", "0"], capture_output=True)
                peer.terminate()
                peer.wait(30)
                subprocess.run(["auditctl", "-b", "64"], capture_output=True)
        return sample


def control(*arguments):
    done = subprocess.run(["auditctl", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise Failure(f"auditctl {' '.join(arguments)}: {done.stderr.strip()}")


def kernel_thread(name):
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if (entry / "comm").read_text().strip() == name and not (entry / "cmdline").read_bytes():
                    return int(entry.name)
            except OSError:
                continue
    return 0


def settle(size, quiet=0.3, limit=20):
    """Wait until a peer has written what it still held: its log has not grown for `quiet` seconds."""
    end = time.monotonic() + limit
    last, since = size(), time.monotonic()
    while time.monotonic() < end and time.monotonic() - since < quiet:
        time.sleep(0.05)
        if size() != last:
            last, since = size(), time.monotonic()


PEERS = {"auditd": Auditd, "bpftrace": Bpftrace, "strace": Strace}
