"""martlet run is killed at random moments: nothing of it stays behind in the kernel, and no process but the command."""
import ctypes
import os
import platform
import random
import signal
import struct
import subprocess
import time
import unittest

from harness import MARTLET, Case, needs_root, needs_sensor, wait_until

MOMENTS = 50
# Between the first and the last moment lies all of a start, and some of a run.
STARTS = 1.5

PR_SET_CHILD_SUBREAPER = 36
# linux/bpf.h: the commands that give the next id, and which key in fdinfo has the id of what is held.
KINDS = {"program": (11, "prog_id"), "map": (12, "map_id"), "link": (31, "link_id")}
CALL = {"x86_64": 321, "aarch64": 280}.get(platform.machine())
libc = ctypes.CDLL(None, use_errno=True)


def kernel_objects():
    """The ids of all programs, maps and links of the machine."""
    found = set()
    for kind, (command, _) in KINDS.items():
        number = 0
        while True:
            attributes = ctypes.create_string_buffer(struct.pack("II", number, 0), 128)
            if libc.syscall(CALL, command, attributes, 128) < 0:
                break
            number = struct.unpack_from("II", attributes.raw)[1]
            found.add((kind, number))
    return found


def held_by_others():
    """What living processes hold by a descriptor: other sensors of the machine may come and go meanwhile."""
    held = set()
    keys = {key: kind for kind, (_, key) in KINDS.items()}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            descriptors = os.listdir(f"/proc/{pid}/fdinfo")
        except OSError:
            continue
        for descriptor in descriptors:
            try:
                with open(f"/proc/{pid}/fdinfo/{descriptor}") as file:
                    lines = file.read().splitlines()
            except OSError:
                continue
            for line in lines:
                key, _, value = line.partition(":")
                if key in keys:
                    held.add((keys[key], int(value)))
    return held


def attributes_of(thing):
    """Name and type of what stayed, for the message of a failure."""
    kind, number = thing
    words = {"program": "prog", "map": "map", "link": "link"}[kind]
    try:
        told = subprocess.run(["bpftool", words, "show", "id", str(number)], stdout=subprocess.PIPE)
    except FileNotFoundError:
        return str(thing)
    return told.stdout.decode().strip() or str(thing)


def pins():
    found = []
    for directory, _, files in os.walk("/sys/fs/bpf"):
        found += [os.path.join(directory, name) for name in files]
    return sorted(found)


def counts_runs():
    with open("/proc/sys/kernel/bpf_stats_enabled") as file:
        return file.read()


def children():
    """Own processes, adopted ones included: pid and executable."""
    found = {}
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        pids = file.read().split()
    for pid in pids:
        try:
            found[int(pid)] = os.readlink(f"/proc/{pid}/exe")
        except OSError:
            found[int(pid)] = ""  # a zombie
    return found


@needs_sensor
@needs_root
@unittest.skipUnless(CALL, "no number of bpf(2) for this architecture")
class Killed(Case):
    def setUp(self):
        super().setUp()
        # What martlet leaves behind becomes ours, and is found.
        libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self.addCleanup(libc.prctl, PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)

    def command(self, name):
        return ["sh", "-c", f"touch {name}; exec sleep 1000"]

    def end_children(self):
        for pid in children():
            try:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            except (ProcessLookupError, ChildProcessError):
                pass

    def launch(self, name, options):
        return subprocess.Popen(
            self.words(*self.command(name), options=options), cwd=self.scratch, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def how_long_a_start_takes(self):
        process = self.launch("started", ["--program-stats"])
        begun = time.monotonic()
        wait_until(lambda: os.path.exists(self.path("started")))
        time_taken = time.monotonic() - begun
        process.kill()
        process.wait()
        self.end_children()
        return time_taken

    def check_nothing_stayed(self, before, moment):
        # The kernel frees programs and maps when nobody can be using them any more, some time later.
        def stayed():
            return kernel_objects() - before - held_by_others()

        end = time.monotonic() + 20
        left = stayed()
        while left and time.monotonic() < end:
            time.sleep(0.05)
            left &= stayed()
        self.assertFalse(left, f"killed after {moment:.3f} s: {[attributes_of(thing) for thing in left]}")

    def test_at_random_moments(self):
        before_pins, before_sysctl = pins(), counts_runs()
        span = STARTS * self.how_long_a_start_takes()
        seed = random.randrange(1 << 32)
        moments = random.Random(seed)
        running = 0
        for number in range(MOMENTS):
            before = kernel_objects()
            moment = moments.uniform(0, span)
            name = f"ran-{number}"
            # Statistics on request as well: they are the one thing that is switched on for the whole machine.
            process = self.launch(name, ["--program-stats"] if number % 2 else [])
            time.sleep(moment)
            process.kill()
            self.assertEqual(process.wait(), -signal.SIGKILL)
            running += os.path.exists(self.path(name))
            with self.subTest(seed=seed, number=number):
                self.check_nothing_stayed(before, moment)
                # The command may live on; a process that martlet made and did not let go must not.
                wait_until(lambda: MARTLET not in children().values(), 5)
            self.end_children()
        self.assertEqual(pins(), before_pins)
        self.assertEqual(counts_runs(), before_sysctl)
        # Moments on both sides, or this has shown little.
        self.assertTrue(0 < running < MOMENTS, f"{running} of {MOMENTS} had let the command go")

    def test_what_a_run_has_in_the_kernel_is_found(self):
        """The test of the test: there is something to find, and only its holder excuses it."""
        before = kernel_objects()
        process = self.launch("alive", [])
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        wait_until(lambda: os.path.exists(self.path("alive")))
        new = kernel_objects() - before
        self.assertTrue({kind for kind, _ in new} >= {"program", "map", "link"}, new)
        held = held_by_others()
        self.assertGreater(len({thing for thing in new & held if thing[0] == "map"}), 5, new)
        self.assertGreater(len({thing for thing in new & held if thing[0] == "link"}), 5, new)
        process.kill()
        process.wait()
        self.check_nothing_stayed(before, 0)
        self.end_children()


if __name__ == "__main__":
    unittest.main()
