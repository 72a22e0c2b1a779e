"""What an agent gives up above a ceiling that nobody could keep, and what it says of that."""
import unittest

from agent import AgentCase
from harness import needs_root, needs_sensor, wait_until


@needs_root
@needs_sensor
class Ceilings(AgentCase):
    def start_with(self, limits):
        self.script("agent.yaml", f"version: 1\nlimits: {limits}\n", mode=0o644)
        self.start_agent("--config", self.path("agent.yaml"))

    def shed_of(self, repository):
        status = self.status()
        shed = [s["what"] for job in status["jobs"] if job["repository"] == repository for s in job["shed"]]
        self.assertLessEqual(set(shed), {entry["what"] for entry in status["ceilings"]["givenUp"]})
        return shed

    def busy(self):
        """A job that opens files to read and to write until there is a file `over`, and ends with a program of its own."""
        over = self.path("over")
        return self.github([
            f"while ! test -e {over}; do cat /etc/hostname /etc/passwd >{self.path('work', 'made')}; done; /bin/true at-the-end"],
            repository="octo/busy")

    def over(self, job):
        with open(self.path("over"), "w"):
            pass
        self.assertEqual(job.wait(60), 0)
        report, = self.reports(1, wanted=lambda job: job["repository"] == "octo/busy")
        return report

    def test_of_cpu_time(self):
        self.start_with("{cpu: 1}")
        job = self.busy()
        # Others' jobs may be found first.
        wait_until(lambda: self.shed_of("octo/busy") == ["reads", "files"])
        left = self.status()["counts"]["leftOut"]
        wait_until(lambda: self.status()["counts"]["leftOut"] > left)
        self.assertIn("gave up files to keep below its ceiling", self.agent("status").stdout.decode())
        report = self.over(job)
        self.assertEqual(report["verdict"], "incomplete")
        shed = report["job"]["shed"]
        self.assertEqual([(s["what"], s["cause"], s["until"]) for s in shed], [("reads", "cpu", None), ("files", "cpu", None)])
        self.assertGreater(min(s["events"] for s in shed), 0)
        self.assertLess(shed[0]["from"], shed[1]["from"])
        completeness = report["sensor"]["completeness"]
        self.assertEqual(completeness["shed"], sum(s["events"] for s in shed))
        self.assertFalse(completeness["complete"])
        # Nothing was lost by it, and no process.
        self.assertEqual(completeness["received"], completeness["sent"])
        self.assertEqual(completeness["lost"], {"critical": 0, "bulk": 0})
        reasons = str(report["reasons"])
        self.assertIn("files that were opened to be read to keep below its ceiling of CPU time, from ", reasons)
        self.assertIn(["/bin/true", "at-the-end"], [p["arguments"] for p in report["processes"]])
        self.stop_agent()

    def test_of_memory(self):
        self.start_with("{agentMemory: 1M}")
        job = self.busy()
        wait_until(lambda: self.shed_of("octo/busy") == ["keeping"])
        wait_until(lambda: self.status()["ceilings"]["exhausted"])
        self.assertGreater(self.status()["ceilings"]["memoryBytesTaken"], 1 << 20)
        report = self.over(job)
        self.assertEqual(report["verdict"], "incomplete")
        self.assertEqual([(s["what"], s["cause"]) for s in report["job"]["shed"]], [("keeping", "memory")])
        self.assertIn("only the event log has the rest", str(report["reasons"]))
        self.assertIn(b"at-the-end", self.everything_written())
        self.stop_agent()

    def test_without_ceilings_nothing_is_measured(self):
        self.start_agent()
        self.assertEqual(self.status()["ceilings"], {
            "cpuPercent": None, "cpuPercentTaken": None, "memoryBytes": None, "memoryBytesTaken": None, "exhausted": False,
            "givenUp": []})
        self.stop_agent()


if __name__ == "__main__":
    unittest.main()
