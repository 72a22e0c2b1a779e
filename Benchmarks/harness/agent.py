# SPDX-License-Identifier: Apache-2.0
"""An agent to be measured, and the jobs of storms/jobs.c that run beside it."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from harness.asker import ask
from harness.measure import Failure, environment, process_cpu, resident_bytes, ring_bytes_mapped

NUMBER = "MARTLET_BENCH_NUMBER"
KEY = "MARTLET_BENCH_JOB"
# Nanoseconds for which a job that is known by a variable is kept open: a further process may come.
LINGER = 1_000_000_000


def wait_until(what, seconds, text):
    """Polls until `what()` is true; what that was."""
    end = time.monotonic() + seconds
    while not (value := what()):
        if time.monotonic() > end:
            raise Failure(f"waited {seconds} s in vain for {text}")
        time.sleep(0.02)
    return value


class Agent:
    """With rules of its own, so that it sees no job but ours: by a process's name, and by a variable."""

    def __init__(self, martlet, storm, work):
        self.martlet = str(martlet)
        self.work = Path(work)
        self.output = self.work / "out"
        self.socket = self.work / "agent.sock"
        # As long as a name can be.
        self.comm = f"bench-{os.getpid()}"[:15]
        self.runner = self.work / self.comm
        shutil.copy(storm, self.runner)
        self.storm = str(storm)
        self.config = self.work / "agent.json"
        self.config.write_text(json.dumps({
            "version": 1, "output": str(self.output), "socket": str(self.socket), "shippedRules": False,
            "identity": [NUMBER],
            "rules": [
                {"name": "by-name", "provider": "other", "comm": self.comm},
                {"name": "by-variable", "provider": "other", "markers": [KEY], "key": KEY,
                 "linger": f"{LINGER // 1_000_000_000}s"},
            ]}))
        self.pid = None
        # Of all, those that another has taken over from among them.
        self.pids = []

    def command(self, *words):
        line = [self.martlet, "agent", *words]
        done = subprocess.run(line, capture_output=True, text=True, env=environment(), stdin=subprocess.DEVNULL)
        if done.returncode:
            raise Failure(f"{' '.join(line)} ended with {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def start(self, *options):
        """Seconds until it was ready."""
        begin = time.monotonic()
        self.token = self.command("start", "--config", str(self.config), *options).strip()
        taken = time.monotonic() - begin
        self.pid = self.status()["pid"]
        self.pids.append(self.pid)
        return taken

    def status(self):
        return json.loads(ask(str(self.socket)))

    def end(self, number=signal.SIGTERM):
        """Seconds until it was gone."""
        begin = time.monotonic()
        os.kill(self.pid, number)
        wait_until(lambda: not os.path.exists(f"/proc/{self.pid}"), 60, "the agent's end")
        self.pids.remove(self.pid)
        self.pid = None
        return time.monotonic() - begin

    def clean_up(self):
        """Whatever state it is in."""
        for pid in self.pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def settled(self, seconds=120):
        """The status when no job is left and every place is given back."""

        def quiet():
            status = self.status()
            counts = status["counts"]
            busy = counts["running"] + counts["closing"] + counts["reportsWaiting"]
            return None if busy else status

        return wait_until(quiet, seconds, "the agent to be idle")

    def beside_rings(self):
        """Its resident bytes without its view of the rings."""
        return resident_bytes(self.pid) - ring_bytes_mapped(self.pid)

    def reports(self):
        """What was reported of each job, by its number. A job that an agent was killed in has several."""
        found = {}
        for path in self.output.glob("*-*/report.json"):
            report = json.loads(path.read_bytes())
            number = report["job"]["variables"].get(NUMBER)
            if number is None and report["log"]["lines"] == 0:
                # Its agent was killed before it had written anything of the job.
                continue
            number = int(number)
            report["directory"] = path.parent
            found.setdefault(number, []).append(report)
        return found


class Job:
    """One run of `storm job`, as the first process of a CI job."""

    def __init__(self, agent, number, rounds, gate, pause=0):
        self.number = number
        self.is_keyed = number % 2 == 1
        self.output = agent.work / f"did-{number:04}.json"
        variables = {NUMBER: str(number)}
        if self.is_keyed:
            variables[KEY] = f"{agent.comm}-{number}"
        tree = agent.work / "work"
        tree.mkdir(exist_ok=True)
        line = [agent.storm if self.is_keyed else str(agent.runner), "job", str(number), str(tree), str(rounds),
                str(pause), str(self.output), agent.storm]
        self.process = subprocess.Popen(
            line, stdin=gate, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env={**environment(), **variables},
            start_new_session=True)

    def did(self):
        """What it says that it did, when it is done."""
        _, errors = self.process.communicate(timeout=1800)
        if self.process.returncode:
            raise Failure(f"job {self.number} ended with {self.process.returncode}: {errors.decode(errors='replace')}")
        did = json.loads(self.output.read_bytes())
        did["output"] = str(self.output)
        did["linger"] = LINGER if self.is_keyed else 0
        return did

    def end(self):
        """If it has not ended by itself."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


class Beginning:
    """Starts one short job after the other for as long as it lasts, and adds them to `jobs`."""

    def __init__(self, agent, jobs, rounds):
        self.agent, self.jobs, self.rounds = agent, jobs, rounds

    def __enter__(self):
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._begin)
        self._thread.start()

    def __exit__(self, *_):
        self._done.set()
        self._thread.join()

    def _begin(self):
        while not self._done.is_set():
            self.jobs.append(Job(self.agent, len(self.jobs), self.rounds, subprocess.DEVNULL))
            # No more at once than end meanwhile.
            self._done.wait(0.05)


class Gate:
    """Standard input of jobs that begin together: at its end."""

    def __init__(self):
        self.reading, self.writing = os.pipe2(os.O_CLOEXEC)

    def open(self):
        os.close(self.reading)
        os.close(self.writing)


class Watch:
    """Looks at an agent while jobs run: its memory twenty times a second, and how long a status takes."""

    def __init__(self, agent):
        self.agent = agent

    def __enter__(self):
        pid = self.agent.pid
        self.resident = resident_bytes(pid)
        self.rings = ring_bytes_mapped(pid)
        self._cpu = process_cpu(pid)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        self._asker = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("asker.py")), str(self.agent.socket)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment(), start_new_session=True)
        return self

    def __exit__(self, *_):
        self._done.set()
        self._thread.join()
        self.cpu = process_cpu(self.agent.pid) - self._cpu
        output, _ = self._asker.communicate()
        asked = json.loads(output) if self._asker.returncode == 0 else {"seconds": [], "running": 0}
        self.answers, self.running = asked["seconds"], asked["running"]

    @property
    def beside(self):
        """The most that was resident without the view of the rings, which is whole from the start."""
        return self.resident - self.rings

    def _look(self):
        while not self._done.wait(0.05):
            self.resident = max(self.resident, resident_bytes(self.agent.pid) or 0)
