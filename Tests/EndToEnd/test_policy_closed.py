"""onSensorError: closed: what a policy denies stays denied when martlet is gone, until nobody is left whom it denies it to."""
import os
import subprocess
import sys
import time
import unittest

from agent import AgentCase
from harness import MARTLET, PATIENCE, Case, needs_root, needs_sensor, wait_until
from test_agent_policy import Listener

BPFFS = "/sys/fs/bpf"
PINS = BPFFS + "/martlet"

POLICY = """version: 1
network: {default: deny, allow: [{address: 127.0.0.2}]}
onSensorError: closed
"""

# Sends to an allowed and to a denied address, again and again, while its file is there; says what came of it.
LOOP = """
import os, socket, sys
port, place = int(sys.argv[1]), sys.argv[2]
def send(address):
    try:
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', (address, port))
    except OSError:
        return 0
    return 1
for turn in range(100000):
    if os.path.exists(place + "/stop"):
        break
    sent = [send("127.0.0.2"), send("127.0.0.3")]
    os.closerange(3, 50)
    with open(place + "/turns", "w") as file:
        print(turn, *sent, file=file)
    import time; time.sleep(0.01)
"""


class ClosedCase(Case):
    def setUp(self):
        super().setUp()
        self.assertFalse(os.path.exists(PINS) and os.listdir(PINS), "something is pinned before the test")
        if not os.path.ismount(BPFFS):
            # martlet mounts one.
            self.addCleanup(subprocess.run, ["umount", BPFFS], stderr=subprocess.DEVNULL)
        self.addCleanup(subprocess.run, [MARTLET, "agent", "release", "--force"], stdout=subprocess.DEVNULL)
        self.allowed = Listener("127.0.0.2")
        self.denied = Listener("127.0.0.3", self.allowed.port)
        for listener in (self.allowed, self.denied):
            self.addCleanup(listener.socket.close)
        self.loop = self.script("loop.py", LOOP)
        os.makedirs(self.path("loop"), exist_ok=True)
        self.addCleanup(self.stop)

    def command(self):
        return [sys.executable, self.loop, str(self.allowed.port), self.path("loop")]

    def stop(self):
        with open(self.path("loop", "stop"), "w"):
            pass

    def passes(self):
        """The job goes on: what is allowed arrives, and nothing else."""
        self.allowed.received()
        got = []

        def arrived():
            got.extend(self.allowed.received())
            return len(got) >= 10
        wait_until(arrived)
        self.assertEqual(self.denied.received(), [])

    def release(self, *options):
        return subprocess.run([MARTLET, "agent", "release", *options], capture_output=True, text=True, timeout=PATIENCE)

    def nothing_is_left(self):
        self.assertFalse(os.path.exists(PINS), PINS)
        # And nobody is denied anything any more.
        subprocess.run([sys.executable, "-c", "import socket\n"
                        f"socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'y', ('127.0.0.3', {self.denied.port}))"],
                       check=True)
        self.assertEqual(self.denied.received(), ["y"])


@needs_root
@needs_sensor
class Run(ClosedCase):
    def run_under(self, policy, *command):
        with open(self.path("martlet.yaml"), "w") as file:
            file.write(policy)
        process = self.start(*command, options=["--no-live", "--policy", "martlet.yaml"])
        # What is left of it would keep our pipes open.
        self.addCleanup(self.stop)
        return process

    def test_killed(self):
        process = self.run_under(POLICY, *self.command())
        self.passes()
        self.assertEqual(os.stat(PINS).st_mode & 0o777, 0o700)
        process.kill()
        process.wait()
        self.passes()
        done = self.release()
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("kept; 1 processes under it live", done.stdout)
        # The next martlet finds it, and leaves it.
        self.run_martlet("true", options=["--no-live"])
        self.passes()
        self.stop()
        wait_until(lambda: "released" in self.release().stdout)
        self.nothing_is_left()

    def test_nothing_stays_of_a_job_that_ends(self):
        done = self.run_under(POLICY, "true")
        self.assertEqual(done.wait(PATIENCE), 0, done.stderr)
        self.nothing_is_left()

    def test_what_outlives_the_command_stays_denied(self):
        process = self.run_under(POLICY, "sh", "-c", " ".join(self.command()) + " > /dev/null 2>&1 &")
        self.assertEqual(process.wait(PATIENCE), 0)
        self.passes()
        self.stop()
        wait_until(lambda: not os.path.exists(PINS) or "released" in self.release().stdout)
        self.nothing_is_left()

    def test_open_leaves_nothing(self):
        process = self.run_under(POLICY.replace("closed", "open"), *self.command())
        self.passes()
        self.assertFalse(os.path.exists(PINS))
        process.kill()
        process.wait()
        wait_until(lambda: self.denied.received())

    def test_force(self):
        process = self.run_under(POLICY, *self.command())
        self.passes()
        self.assertEqual(self.release("--force").returncode, 0)
        self.passes()
        process.kill()
        process.wait()
        self.assertIn("released", self.release("--force").stdout)
        wait_until(lambda: self.denied.received())


@needs_root
@needs_sensor
class Agent(ClosedCase, AgentCase):
    def test_killed_and_started_again(self):
        policy = self.script("policy.yaml", POLICY, mode=0o644)
        configuration = self.script(
            "agent.yaml", f"version: 1\npolicies: [{{rules: github, file: {policy}}}]\n", mode=0o644)
        self.start_agent("--config", configuration)
        runner = self.github([f"exec {' '.join(self.command())}"])
        self.passes()
        pinned, = self.status()["pinned"]
        self.assertTrue(pinned["ownerLives"])
        # Frames are written about once a second.
        time.sleep(1.2)
        self.kill_agent()
        self.passes()
        self.start_agent("--config", configuration)
        self.passes()
        left = [entry for entry in self.status()["pinned"] if not entry["ownerLives"]]
        self.assertEqual([entry["owner"] for entry in left], [pinned["owner"]])
        self.assertGreaterEqual(left[0]["processes"], 2)
        # The first report says that the agent died, the second that it came late.
        self.stop()
        runner.wait(PATIENCE)
        wait_until(lambda: len(self.status()["pinned"]) == 1)
        first, second = sorted(self.reports(2, "github"), key=lambda report: report["job"]["startedAt"])
        self.assertEqual([u["reason"] for u in first["job"]["unseen"]], ["died"])
        self.assertEqual(first["policy"]["file"], "policy.yaml")
        self.assertEqual((first["verdict"], second["verdict"]), ("incomplete", "incomplete"))
        self.stop_agent()
        self.nothing_is_left()

    def test_replaced(self):
        policy = self.script("policy.yaml", POLICY, mode=0o644)
        configuration = self.script(
            "agent.yaml", f"version: 1\npolicies: [{{rules: github, file: {policy}}}]\n", mode=0o644)
        self.start_agent("--config", configuration)
        runner = self.github([f"exec {' '.join(self.command())}"])
        self.passes()
        old = self.agent_pid
        self.start_agent("--config", configuration, "--replace")
        self.assertEqual([other["pid"] for other in self.status()["draining"]], [old])
        self.passes()
        self.assertEqual(sorted(entry["owner"] for entry in self.status()["pinned"]), sorted([old, self.agent_pid]))
        # Under the same policy, by the new one.
        once = self.script(
            "once.py", "import socket, sys\n"
            "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.3', int(sys.argv[1])))\n")
        self.github([f"{sys.executable} {once} {self.allowed.port} || echo x > refused"], run="2", wait=True)
        self.assertTrue(os.path.exists(self.path("work", "refused")))
        # Killed, the old one leaves what it denied.
        os.kill(old, 9)
        self.passes()
        wait_until(lambda: not self.status()["draining"])
        self.passes()
        self.stop()
        runner.wait(PATIENCE)
        wait_until(lambda: len(self.status()["pinned"]) == 1)
        self.stop_agent()
        self.nothing_is_left()


if __name__ == "__main__":
    unittest.main()
