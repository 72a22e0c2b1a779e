"""Signals to martlet without a terminal, as a CI runner sends them."""
import os
import signal
import subprocess
import sys
import time
import unittest

from harness import Case, python, read_line, wait_until

# Says "ready", counts each signal, and ends half a second after the last one it was told to expect.
COUNTER = """
import os, signal, sys, time
wanted, seen = [int(w) for w in sys.argv[1:]], []
signal.pthread_sigmask(signal.SIG_BLOCK, set(wanted))
print('ready', os.getpid(), flush=True)
seen.append(signal.sigtimedwait(set(wanted), 60).si_signo)
while (more := signal.sigtimedwait(set(wanted), 0.5)): seen.append(more.si_signo)
print(*sorted(seen), flush=True)
sys.exit(40 + len(seen))
"""


def state(pid):
    """The letter that ps shows; None if it is gone."""
    try:
        with open("/proc/%d/stat" % pid) as file:
            return file.read().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return None


class Forwarding(Case):
    def counter(self, *numbers, **keywords):
        process = self.start(*python(COUNTER), *[str(int(n)) for n in numbers], **keywords)
        self.child = int(read_line(process).split()[1])
        return process

    def test_each_signal_reaches_the_command_once(self):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2,
                       signal.SIGWINCH, signal.SIGALRM, signal.SIGABRT, signal.SIGRTMIN + 3):
            process = self.counter(number)
            process.send_signal(number)
            self.assertEqual(read_line(process), str(int(number)))
            self.assertEqual(process.wait(), 41)

    def test_the_same_signal_again_is_forwarded_again(self):
        process = self.counter(signal.SIGTERM)
        for _ in range(3):
            process.send_signal(signal.SIGTERM)
            time.sleep(0.1)
        self.assertEqual(read_line(process), "15 15 15")

    def test_termination_ends_the_command_and_then_martlet(self):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            process = self.start("sh", "-c", "echo ready; exec sleep 600")
            read_line(process)
            process.send_signal(number)
            self.assertEqual(process.wait(), 128 + number)

    def test_martlet_waits_for_a_command_that_ignores_it(self):
        process = self.start("sh", "-c", "trap '' TERM; echo ready; read line; exit 5", stdin=subprocess.PIPE)
        read_line(process)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        self.assertIsNone(process.poll())
        process.stdin.write(b"end\n")
        process.stdin.flush()
        self.assertEqual(process.wait(), 5)

    def test_killing_the_group_reaches_the_command(self):
        process = self.counter(signal.SIGTERM, start_new_session=True)
        self.assertEqual(os.getpgid(self.child), process.pid)
        os.killpg(process.pid, signal.SIGKILL)
        self.assertEqual(process.wait(), -signal.SIGKILL)
        wait_until(lambda: state(self.child) in (None, "Z"))

    def test_a_dying_martlet_does_not_kill_the_command(self):
        process = self.counter(signal.SIGUSR1)
        process.kill()
        process.wait()
        os.kill(self.child, signal.SIGUSR1)
        self.assertEqual(read_line(process), str(int(signal.SIGUSR1)))

    def test_what_the_job_sends_to_its_group_comes_once(self):
        # As `trap 'kill 0' EXIT` in a script does.
        code = COUNTER.replace("seen.append(signal.sigtimedwait", "os.kill(0, wanted[0]); seen.append(signal.sigtimedwait", 1)
        process = self.start(*python(code), str(int(signal.SIGTERM)), start_new_session=True)
        read_line(process)
        self.assertEqual(read_line(process), "15")
        self.assertEqual(process.wait(), 41)

    def test_stop_and_continue_without_a_terminal(self):
        process = self.counter(signal.SIGUSR1, start_new_session=True)
        os.kill(self.child, signal.SIGSTOP)
        time.sleep(0.2)
        self.assertNotEqual(state(process.pid), "T", "nobody would continue martlet")
        os.kill(self.child, signal.SIGCONT)
        process.send_signal(signal.SIGUSR1)
        self.assertEqual(process.wait(), 41)

    def test_a_stop_sent_to_martlet_stops_the_command(self):
        process = self.counter(signal.SIGUSR1, start_new_session=True)

        # Not SIGTSTP, which is dropped in an orphaned process group.
        os.kill(self.child, signal.SIGSTOP)
        wait_until(lambda: state(self.child) == "T")
        process.send_signal(signal.SIGCONT)
        wait_until(lambda: state(self.child) != "T")
        process.send_signal(signal.SIGUSR1)
        self.assertEqual(process.wait(), 41)


class Ignored(Case):
    def test_nohup_stays(self):
        process = self.start(
            "sh", "-c", "echo ready; sleep 1; exit 6",
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
        read_line(process)
        process.send_signal(signal.SIGHUP)
        self.assertEqual(process.wait(), 6)

    def test_a_closed_standard_error_is_survived(self):
        read, write = os.pipe()
        os.close(read)
        done = subprocess.run(
            self.words("sh", "-c", "exit 4"), cwd=self.scratch, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=write)
        os.close(write)
        self.assertEqual(done.returncode, 4)


if __name__ == "__main__":
    unittest.main()
