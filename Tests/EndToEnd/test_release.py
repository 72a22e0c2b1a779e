"""The release binary where there is nothing else, and on other Debians.

Skipped for a binary that is not static, as the debug build is. MARTLET_ROOTS lists roots of other systems (made by
scripts/userland), separated by colons.
"""
import json
import os
import shutil
import struct
import subprocess
import unittest

import harness

ROOTS = [root for root in os.environ.get("MARTLET_ROOTS", "").split(":") if root]
PT_INTERP = 3
# Root, binary and folder for the output, then the command.
ENTER = """
mount -t proc proc "$1/proc" && mount --rbind /sys "$1/sys" && mount --bind "$2" "$1/martlet" || exit 99
[ ! -d "$1/out" ] || mount --bind "$3" "$1/out" || exit 99
root=$1
shift 3
exec chroot "$root" "$@"
"""


def is_static(path):
    """Whether an ELF file asks for no program interpreter."""
    with open(path, "rb") as file:
        header = file.read(64)
        offset, = struct.unpack_from("<Q", header, 32)
        size, count = struct.unpack_from("<HH", header, 54)
        file.seek(offset)
        table = file.read(size * count)
    return all(struct.unpack_from("<I", table, index * size)[0] != PT_INTERP for index in range(count))


needs_static = unittest.skipIf(harness.PROBE or not is_static(harness.MARTLET), "needs the release binary")


class Chrooted(harness.Case):
    """Commands in a chroot, with /proc and /sys there for as long as they run."""

    def chroot(self, root, *words):
        place = os.path.join(root, "martlet")
        for directory in ("proc", "sys"):
            os.makedirs(os.path.join(root, directory), exist_ok=True)
        if not os.path.exists(place):
            open(place, "w").close()
        # A mount namespace of its own: nothing stays mounted, whatever happens.
        return subprocess.run(
            ["unshare", "--mount", "sh", "-c", ENTER, "sh", root, harness.MARTLET, self.path("out"), *words],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=harness.PATIENCE * 3,
            env={"PATH": os.environ["PATH"]})

    def ok(self, root, *words):
        result = self.chroot(root, *words)
        self.assertEqual(result.returncode, 0, result.stderr.decode())
        return result.stdout.decode()

    def setUp(self):
        super().setUp()
        os.mkdir(self.path("out"))


@needs_static
class Binary(harness.Case):
    def test_is_one_small_file(self):
        self.assertLessEqual(os.path.getsize(harness.MARTLET), 40 << 20)

    def test_licences_come_with_it(self):
        text = subprocess.run([harness.MARTLET, "--licenses"], stdout=subprocess.PIPE, check=True).stdout.decode()
        folder = os.path.join(harness.ROOT, "LICENSES")
        for path in [os.path.join(harness.ROOT, "LICENSE")] + [os.path.join(folder, n) for n in os.listdir(folder)]:
            with open(path, encoding="utf-8") as file:
                self.assertTrue(file.read() in text, path)


@needs_static
@harness.needs_root
class EmptyRoot(Chrooted):
    """A directory that holds the binary and nothing else."""

    def setUp(self):
        super().setUp()
        self.root = self.path("root")
        os.mkdir(self.root)

    def report_of(self, root, name="martlet-report"):
        with open(os.path.join(root, name, "report.json"), "rb") as file:
            return json.load(file)

    def test_tells_about_itself(self):
        self.assertIn("SUBCOMMANDS", self.ok(self.root, "/martlet", "--help"))
        self.assertIn("GNU LESSER GENERAL PUBLIC LICENSE", self.ok(self.root, "/martlet", "--licenses"))

    def test_runs_a_command(self):
        out = self.ok(self.root, "/martlet", "run", "--", "/martlet", "--version")
        self.assertRegex(out, r"^martlet \d+\.\d+\.\d+\n$")
        report = self.report_of(self.root)
        self.assertEqual(report["verdict"], "clean")
        self.assertEqual(sorted(os.listdir(os.path.join(self.root, "martlet-report"))), [
            "events.ndjson.zst", "policy.suggested.yaml", "report.html", "report.json", "report.md"])
        self.ok(self.root, "/martlet", "log", "check", "martlet-report")

    def test_sees_as_much_as_outside(self):
        outside = subprocess.run(
            [harness.MARTLET, "doctor", "--json"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        inside = self.chroot(self.root, "/martlet", "doctor", "--json")
        self.assertEqual(inside.returncode, outside.returncode, inside.stderr.decode())
        functions = [json.loads(found.stdout)["functions"] for found in (outside, inside)]
        self.assertGreater(len(functions[0]), 5)
        self.assertEqual(*functions)

    def test_users_are_numbers(self):
        self.ok(self.root, "/martlet", "run", "--user", "4711:4712", "--", "/martlet", "--version")
        result = self.chroot(self.root, "/martlet", "run", "--user", "nobody", "--", "/martlet", "--version")
        self.assertEqual(result.returncode, 125)
        self.assertIn(b"no such user in /etc/passwd", result.stderr)

    def test_reads_the_user_database_itself(self):
        os.mkdir(os.path.join(self.root, "etc"))
        with open(os.path.join(self.root, "etc", "passwd"), "w") as file:
            file.write("ci:x:4711:4712::/:/none\n")
        shutil.copy("/bin/busybox", self.root)
        out = self.ok(self.root, "/martlet", "run", "--user", "ci", "--", "/busybox", "id", "-u")
        self.assertEqual(out, "4711\n")

    def test_listens(self):
        for address in ("127.0.0.1:0", "0"):
            self.ok(self.root, "/martlet", "run", "--metrics-listen", address, "--", "/martlet", "--version")


def docker_answers():
    try:
        return subprocess.run(["docker", "info"], capture_output=True, timeout=30).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


@needs_static
@harness.needs_root
@unittest.skipUnless(docker_answers(), "no Docker daemon answers")
class EmptyImage(harness.Case):
    """An image made FROM scratch, with less than --privileged gives."""

    MAY = ("--network=none", "--pid=host", "--cap-add", "SYS_ADMIN", "--cap-add", "NET_ADMIN", "--security-opt",
           "seccomp=unconfined", "--volume", "/sys/fs/cgroup:/sys/fs/cgroup")

    def docker(self, *words):
        done = subprocess.run(
            ["docker", *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            timeout=harness.PATIENCE * 3)
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        return done.stdout.decode().strip()

    def test_runs_a_command(self):
        shutil.copy(harness.MARTLET, self.path("martlet"))
        self.script("Dockerfile", "FROM scratch\nCOPY martlet /\nENTRYPOINT [\"/martlet\"]\n")
        image = self.docker("build", "--quiet", self.scratch)
        self.addCleanup(self.docker, "image", "rm", "--force", image)
        os.mkdir(self.path("out"))
        out = self.docker(
            "run", "--rm", *self.MAY, "--volume", self.path("out") + ":/out", image, "run", "--output", "/out/report",
            "--user", "4711:4712", "--", "/martlet", "--version")
        self.assertRegex(out, r"^martlet \d")
        report = self.report("out/report")
        self.assertEqual((report["verdict"], report["counts"]["processes"]), ("clean", 1))


@needs_static
@harness.needs_root
@unittest.skipUnless(ROOTS, "MARTLET_ROOTS names none")
class OtherSystems(Chrooted):
    def in_each(self, body):
        for root in ROOTS:
            with self.subTest(root=root):
                # What is made there must not be found by the next test.
                os.makedirs(os.path.join(root, "out"), exist_ok=True)
                shutil.rmtree(self.path("out"))
                os.mkdir(self.path("out"))
                body(root)

    def test_runs_a_command(self):
        def body(root):
            with open(os.path.join(root, "etc", "debian_version")) as file:
                version = file.read()
            out = self.ok(
                root, "/martlet", "run", "--output", "/out/report", "--", "sh", "-c",
                "cat /etc/debian_version && dpkg --print-architecture >/dev/null")
            self.assertEqual(out, version)
            report = self.report("out/report")
            self.assertEqual(report["verdict"], "clean")
            self.assertGreaterEqual(report["counts"]["processes"], 3)

        self.in_each(body)

    def test_doctor(self):
        outside = subprocess.run([harness.MARTLET, "doctor"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)

        def body(root):
            inside = self.chroot(root, "/martlet", "doctor")
            self.assertEqual(inside.returncode, outside.returncode, inside.stderr.decode())

        self.in_each(body)

    def test_users(self):
        def body(root):
            for words in (("--user", "www-data"), ("--user", "nobody"), ("--user", "33:4")):
                own = self.ok(
                    root, "/martlet", "run", "--output", "/out/" + words[1].replace(":", "-"), *words, "--", "sh", "-c",
                    "id -u; id -g; id -G; echo $HOME")
                uid, gid, groups, home = own.splitlines()
                if words[1] == "33:4":
                    self.assertEqual((uid, gid, groups, home), ("33", "4", "4", "/var/www"))
                else:
                    expected = self.ok(root, "sh", "-c", "id -u $0; id -g $0; id -G $0; getent passwd $0", words[1])
                    *ids, line = expected.splitlines()
                    self.assertEqual([uid, gid, groups, home], [*ids, line.split(":")[5]])

        self.in_each(body)


if __name__ == "__main__":
    unittest.main()
