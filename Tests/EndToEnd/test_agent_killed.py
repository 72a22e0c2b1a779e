"""martlet agent that is killed at any moment, and started again: reports say what nobody saw, and lack nothing else."""
import datetime
import json
import os
import random
import subprocess
import sys
import time
import unittest

from agent import AgentCase
from harness import MARTLET, PATIENCE, needs_root, needs_sensor, wait_until

# A process and two names every few milliseconds, and when each of these rounds began and ended.
BUILD = """
import json, os, subprocess, sys, time
number, until, rounds = sys.argv[1], float(sys.argv[2]), []
offset = time.clock_gettime_ns(time.CLOCK_REALTIME) - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
end = time.monotonic() + until
while time.monotonic() < end or not os.path.exists(f"{number}-restarted"):
    name = f"{number}-{len(rounds):05}"
    begun = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    with open(name + ".new", "w") as file:
        file.write("x")
    os.rename(name + ".new", name)
    subprocess.run(["/bin/true", name])
    rounds.append((begun + offset, time.clock_gettime_ns(time.CLOCK_BOOTTIME) + offset))
    time.sleep(0.005)
with open(f"../{number}.json", "w") as file:
    json.dump(rounds, file)
"""
# Nanoseconds to which reports give times.
MILLISECOND = 1_000_000


def nanoseconds(text):
    return round(datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000) * MILLISECOND


@needs_sensor
@needs_root
class Killed(AgentCase):
    MOMENTS = 20

    def test_at_any_moment(self):
        seed = random.randrange(1 << 30)
        chance = random.Random(seed)
        build = self.path("build.py")
        with open(build, "w") as file:
            file.write(BUILD)
        self.start_agent()
        unseen = []
        for number in range(self.MOMENTS):
            runner = self.github([f"{sys.executable} {build} {number} 0.3"], run=str(number))
            moment = chance.uniform(0.02, 1.3)
            time.sleep(moment)
            self.kill_agent()
            time.sleep(chance.uniform(0, 0.1))
            self.start_agent()
            time.sleep(0.05)
            with open(self.path("work", f"{number}-restarted"), "w"):
                pass
            self.assertEqual(runner.wait(PATIENCE), 0)
            wait_until(self.is_idle)
            with self.subTest(number=number, moment=moment, seed=seed):
                unseen.append(self.check(number))
        print(f"\n    {self.MOMENTS} kills: {min(unseen):.2f} to {max(unseen):.2f} s that nobody saw", file=sys.stderr)

    def is_idle(self):
        counts = self.status()["counts"]
        return counts["running"] + counts["reportsWaiting"] == 0

    def check(self, number):
        """Every round that reports claim to have seen is in them; seconds that they say nobody saw."""
        with open(self.path(f"{number}.json")) as file:
            rounds = json.load(file)
        reports = self.of_run(number)
        self.assertTrue(reports)
        last, first = None, None
        for report in reports:
            self.assertEqual(report["verdict"], "incomplete")
            begin, end = 0, 1 << 63
            for entry in report["job"]["unseen"]:
                self.assertIn(entry["reason"], ("died", "adopted"))
                self.assertLess(entry["from"], entry["until"])
                if entry["reason"] == "died":
                    end = last = nanoseconds(entry["from"])
                else:
                    # What lies on the border is on neither side.
                    begin = first = nanoseconds(entry["until"]) + MILLISECOND
            executed = {p["arguments"][-1] for p in report["processes"] if p["arguments"]}
            renamed = {os.path.basename(c["target"]) for c in report["changes"] if c["kind"] == "rename"}
            logged = self.logged(report)
            for index, (begun, ended) in enumerate(rounds):
                if begin <= begun and ended <= end:
                    name = f"{number}-{index:05}"
                    self.assertIn(name, executed)
                    self.assertIn(name, renamed)
                    self.assertLessEqual({name, name + ".new"}, logged)
        self.assertIsNotNone(first, "a job that still runs is adopted")
        # One of which the first agent had not heard yet was not seen from its start.
        return (first - (last or rounds[0][0])) / 1e9

    def of_run(self, number):
        """Those of one job, by the names in them: an adopted one does not know the step that it was found in."""
        found = []
        for directory in os.listdir(self.path("out")):
            path = self.path("out", directory, "report.json")
            if not os.path.exists(path):
                continue
            with open(path) as file:
                report = json.load(file)
            report["directory"] = os.path.dirname(path)
            if f'{self.path("work")}/{number}-' in json.dumps(report["changes"]):
                found.append(report)
        return found

    @staticmethod
    def logged(report):
        log = subprocess.run([MARTLET, "log", "cat", report["directory"]], stdout=subprocess.PIPE, check=True)
        names = set()
        for line in log.stdout.splitlines():
            event = json.loads(line)
            if event.get("activity_name") == "exec":
                names.add(event["process"]["args"][-1])
            elif event.get("activity_name") == "open":
                names.add(os.path.basename(event["file"].get("path", "")))
        return names


if __name__ == "__main__":
    unittest.main()
