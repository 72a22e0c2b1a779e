"""The report's directory where somebody hostile works: planted links, rename races, earlier reports, owners."""
import json
import os
import re
import stat
import subprocess
import threading
import unittest

from harness import MARTLET, PATIENCE, Case, needs_root, needs_sensor

FILES = {"report.html", "report.md", "report.json", "events.ndjson.zst", "policy.suggested.yaml"}


def contents(path):
    with open(path, "rb") as file:
        return file.read()


def tree(path):
    """Every name below a path with its kind and, of a regular file, its contents."""
    found = {}
    for base, directories, files in os.walk(path):
        for name in directories + files:
            full = os.path.join(base, name)
            mode = os.lstat(full).st_mode
            found[os.path.relpath(full, path)] = (stat.S_IFMT(mode), contents(full) if stat.S_ISREG(mode) else None)
    return found


@needs_root
@needs_sensor
class Output(Case):
    def assert_report(self, path):
        self.assertTrue(stat.S_ISDIR(os.lstat(path).st_mode), path)
        self.assertEqual(set(os.listdir(path)), FILES)
        with open(os.path.join(path, "report.json")) as file:
            self.assertEqual(json.load(file)["schema"], "martlet.report/v1")

    def leftovers(self):
        return [n for n in os.listdir(self.scratch) if n.startswith(".martlet-")]

    def test_files_and_modes(self):
        done = self.run_martlet("true", options=("--output", "out"))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assert_report(self.path("out"))
        self.assertEqual(os.lstat(self.path("out")).st_mode & 0o7777, 0o700)
        for name in FILES:
            status = os.lstat(self.path("out", name))
            self.assertEqual((status.st_mode, status.st_nlink), (stat.S_IFREG | 0o600, 1))
        self.assertEqual(self.leftovers(), [])

    def test_an_earlier_report_is_replaced(self):
        self.run_martlet("true")
        first = os.stat(self.path("martlet-report")).st_ino
        done = self.run_martlet("true")
        self.assert_report(self.path("martlet-report"))
        self.assertNotEqual(os.stat(self.path("martlet-report")).st_ino, first)
        self.assertEqual(os.listdir(self.scratch), ["martlet-report"], done.stderr)

    def test_what_is_no_report_stays(self):
        def plant_link():
            os.mkdir(self.path("elsewhere"))
            os.symlink("elsewhere", self.path("martlet-report"))

        def plant_dangling():
            os.symlink("/nowhere/at/all", self.path("martlet-report"))

        def plant_file():
            with open(self.path("martlet-report"), "w") as file:
                file.write("mine")

        def plant_directory():
            os.mkdir(self.path("martlet-report"))
            with open(self.path("martlet-report", "thesis.txt"), "w") as file:
                file.write("mine")

        def plant_mixture():
            plant_directory()
            with open(self.path("martlet-report", "report.json"), "w") as file:
                file.write("{}")

        def plant_links_within():
            os.mkdir(self.path("martlet-report"))
            for name in FILES:
                os.symlink("/etc/passwd", self.path("martlet-report", name))

        for plant in (plant_link, plant_dangling, plant_file, plant_directory, plant_mixture, plant_links_within):
            with self.subTest(plant.__name__):
                plant()
                before = tree(self.scratch)
                passwd = contents("/etc/passwd")
                done = self.run_martlet("true")
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertIn(b"martlet-report.1", done.stderr)
                self.assert_report(self.path("martlet-report.1"))
                after = {k: v for k, v in tree(self.scratch).items() if not k.startswith("martlet-report.1")}
                self.assertEqual(after, before)
                self.assertEqual(contents("/etc/passwd"), passwd)
                subprocess.run("rm -rf martlet-report martlet-report.1 elsewhere", shell=True, cwd=self.scratch)

    def test_the_job_plants_links_while_it_runs(self):
        os.mkdir(self.path("target"))
        command = ("ln -s target martlet-report; for d in .martlet-*; do"
                   " mv $d moved; ln -s target $d; done; rm -f target/*; ls -a > seen")
        done = self.run_martlet("sh", "-c", command)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(os.listdir(self.path("target")), [])
        self.assert_report(self.path("martlet-report.1"))

    def test_the_job_moves_the_report_away(self):
        command = "mkdir away; mv .martlet-* away/taken; mkdir martlet-report"
        done = self.run_martlet("sh", "-c", command)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assert_report(self.path("martlet-report"))

    def test_the_job_removes_the_report(self):
        # The job is root here: it can. What martlet still holds open is enough.
        done = self.run_martlet("sh", "-c", "rm -rf .martlet-*; echo gone")
        self.assertEqual((done.returncode, done.stdout), (0, b"gone\n"), done.stderr)
        self.assert_report(self.path("martlet-report"))
        self.assertEqual(subprocess.run([MARTLET, "log", "check", self.path("martlet-report")]).returncode, 0)

    def test_the_job_plants_within_the_report(self):
        # Again as root, who can: nothing planted is published or followed. Who opens a file there is refused, or killed.
        command = "cd .martlet-*; ln -s /etc/passwd report.json; rm events.ndjson.zst; mkdir report.md; touch extra; exit 0"
        passwd = contents("/etc/passwd")
        done = self.run_martlet("sh", "-c", command)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assert_report(self.path("martlet-report"))
        with open(self.path("martlet-report", "report.json"), "rb") as file:
            report = json.load(file)
        self.assertEqual(report["verdict"], "blocked")
        self.assertEqual({one["decidedBy"] for one in report["denials"]}, {"self-protection"})
        self.assertEqual(contents("/etc/passwd"), passwd)
        self.assertEqual(subprocess.run([MARTLET, "log", "check", self.path("martlet-report")]).returncode, 0)

    def test_the_job_replaces_the_parent(self):
        os.mkdir(self.path("work"))
        os.mkdir(self.path("target"))
        done = self.run_martlet("sh", "-c", "mv work held; ln -s target work", options=("--output", "work/out"))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(os.listdir(self.path("target")), [])
        # Where the kernel can refuse it, what the report lies below keeps its name.
        self.assert_report(self.path("held" if os.path.isdir(self.path("held")) else "work", "out"))

    def test_a_rename_race(self):
        """Someone swaps the hidden directory, the report's name and links as fast as they can."""
        os.mkdir(self.path("target"))
        with open(self.path("target", "report.json"), "w") as file:
            file.write("precious")
        stop = threading.Event()

        def race():
            number = 0
            while not stop.is_set():
                for name in os.listdir(self.scratch):
                    if name.startswith(".martlet-") or name.startswith("martlet-report"):
                        number += 1
                        try:
                            os.rename(self.path(name), self.path("stolen-%d" % number))
                            os.symlink("target", self.path(name))
                        except OSError:
                            pass

        thread = threading.Thread(target=race)
        thread.start()
        try:
            done = self.run_martlet("sleep", "0.2")
        finally:
            stop.set()
            thread.join()
        self.assertIn(done.returncode, (0, 125), done.stderr)
        self.assertEqual(tree(self.path("target")), {"report.json": (stat.S_IFREG, b"precious")})
        whole = [n for n in os.listdir(self.scratch)
                 if os.path.isdir(self.path(n)) and not os.path.islink(self.path(n))
                 and set(os.listdir(self.path(n))) == FILES]
        self.assertTrue(whole or done.returncode == 125, done.stderr)

    def test_the_caller_of_sudo_gets_the_report(self):
        os.chmod(self.scratch, 0o777)
        environment = dict(os.environ, SUDO_UID="65534", SUDO_GID="65534", SUDO_USER="nobody")
        done = self.run_martlet("sh", "-c", "ls .martlet-*; echo x > .martlet-*/report.json; id -u", env=environment)
        self.assertEqual(done.stdout, b"65534\n", "the job must not see into the report: %r" % done.stderr)
        for name in [".", *FILES]:
            status = os.lstat(self.path("martlet-report", name))
            self.assertEqual((status.st_uid, status.st_gid), (65534, 65534), name)
        again = self.run_martlet("true", env=environment)
        self.assertEqual(again.returncode, 0, again.stderr)
        self.assertEqual(os.listdir(self.scratch), ["martlet-report"])

    def test_odd_names(self):
        for wrong in (".", "..", "/", "", "no/such/parent/out", "out/.."):
            done = self.run_martlet("touch", "ran", options=("--output", wrong))
            self.assertEqual(done.returncode, 125, wrong)
        self.assertEqual(os.listdir(self.scratch), [])
        self.assertEqual(self.run_martlet("true", options=("--output", "a b//")).returncode, 0)
        self.assert_report(self.path("a b"))

    def test_nothing_is_left_when_the_command_cannot_run(self):
        self.assertEqual(self.run_martlet("no-such-command").returncode, 127)
        self.assertEqual(os.listdir(self.scratch), [])

    def test_a_full_disk_is_told(self):
        mount = self.path("small")
        os.mkdir(mount)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", mount], capture_output=True).returncode:
            self.skipTest("cannot mount a small file system")
        try:
            done = self.run_martlet("true", options=("--output", "small/out"))
            self.assertEqual(done.returncode, 125)
            self.assertIn(b"report", done.stderr)
            self.assertIn(b"No space left", done.stderr)
            failed = self.run_martlet("sh", "-c", "exit 7", options=("--output", "small/out"))
            self.assertEqual(failed.returncode, 7)
        finally:
            subprocess.run(["umount", mount])


if __name__ == "__main__":
    unittest.main()
