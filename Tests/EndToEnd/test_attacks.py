"""What a job tries against the sensor that watches it, and against its evidence."""
import os
import subprocess
import unittest

from harness import MARTLET, PATIENCE, ROOT, needs_root, needs_sensor


@needs_root
@needs_sensor
class Attacks(unittest.TestCase):
    def test_nothing_that_a_job_tries_gets_through_or_is_untold(self):
        """All ways, with a storm of forks that is over soon: by default it lasts for minutes."""
        done = subprocess.run(
            [os.path.join(ROOT, "Attacks", "attacking-job"), "--martlet", MARTLET, "--forks", "300"], capture_output=True, text=True,
            timeout=10 * PATIENCE)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("are as they should be", done.stdout)
