"""Real tools, and very many harmless deeds, under policies: nothing is denied that should not be."""
import json
import os
import subprocess
import sys

from harness import MARTLET, PATIENCE, ROOT, Case, needs_root, needs_sensor


@needs_root
@needs_sensor
class Learned(Case):
    def bench(self, name, *arguments):
        return subprocess.run([sys.executable, os.path.join(ROOT, "Benchmarks", name), "--martlet", MARTLET, *arguments],
                              capture_output=True, text=True, timeout=30 * PATIENCE)

    def test_tools_pass_under_what_was_learnt_from_them(self):
        """Each once, once with other addresses and newer versions, and once more with a deed that is denied."""
        done = self.bench("learned-policies", "--runs", "1", "--extras", "1")
        print(done.stdout, end="", file=sys.stderr)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertRegex(done.stdout, r"(?m)^✓  (apt|pip|git): 1 of 1 runs passed, 1 of 1 .*; 1 of 1 deeds more were denied")
        self.assertNotIn("✗", done.stdout)

    def test_twenty_thousand_harmless_deeds(self):
        done = self.bench("benign", "--count", "10000", "--alone")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        facts = json.loads(done.stdout)
        self.assertEqual((facts["connects"], facts["opens"], facts["refused"], facts["lost"]), (10000, 10000, 0, 0))
        self.assertGreater(facts["rules"], 4000)
