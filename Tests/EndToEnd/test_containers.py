"""Containers that a real dockerd starts for jobs: each in the job that asked for it, and in no other."""
import contextlib
import glob
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
import threading
import unittest

from agent import SECRET, AgentCase
from harness import PATIENCE, needs_root, needs_sensor, wait_until

# Debian's own, which can build with BuildKit without a plugin.
DOCKER = "/usr/bin/docker"


def image():
    """A root directory with busybox in it, as a tar archive."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.add("/bin/busybox", "bin/busybox")
        for name in ("sh", "ls", "cat", "sleep", "touch", "true"):
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(link)
        for name in ("tmp", "etc", "proc", "sys", "dev"):
            directory = tarfile.TarInfo(name)
            directory.type, directory.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(directory)
    return out.getvalue()


class Daemon:
    """A dockerd of our own, which touches neither the machine's nor its network."""

    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix="martlet-docker-")
        # A path of a socket has at most 107 bytes.
        self.host = f"unix://{self.directory}/docker.sock"
        self.log = open(f"{self.directory}/log", "wb")
        # Called as gVisor's is, which would have a kernel of its own.
        shutil.copy(shutil.which("runc"), f"{self.directory}/runsc")
        self.process = subprocess.Popen(
            ["dockerd", "--data-root", f"{self.directory}/data", "--exec-root", f"{self.directory}/run", "--pidfile",
             f"{self.directory}/pid", "-H", self.host, "--iptables=false", "--bridge=none",
             "--add-runtime", f"runsc={self.directory}/runsc"],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, start_new_session=True)
        self.environment = {"PATH": os.environ["PATH"], "DOCKER_HOST": self.host, "HOME": self.directory}
        try:
            wait_until(lambda: self.process.poll() is not None or self.docker("version", check=False).returncode == 0)
        except AssertionError:
            pass
        if self.process.poll() is not None or self.docker("version", check=False).returncode != 0:
            with open(f"{self.directory}/log", errors="replace") as log:
                reason = log.read()[-2000:]
            self.end()
            raise unittest.SkipTest(f"dockerd does not run here: {reason}")
        self.docker("import", "-", "base", input=image())

    def docker(self, *words, check=True, **keywords):
        return subprocess.run(
            [DOCKER, *words], env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=check,
            **keywords)

    def end(self):
        containers = self.docker("ps", "-aq", check=False).stdout.decode().split()
        if self.process.poll() is None and containers:
            self.docker("rm", "-f", *containers, check=False)
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
        shutil.rmtree(self.directory, ignore_errors=True)


@needs_root
@needs_sensor
@unittest.skipUnless(shutil.which("dockerd") and os.path.exists(DOCKER), "needs Debian's docker.io")
class Containers(AgentCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.daemon = Daemon()
        cls.addClassCleanup(cls.daemon.end)

    def job(self, name, script):
        """A job whose steps are lines of a shell that may use `docker`."""
        for key in ("DOCKER_HOST", "HOME"):
            script = [f"export {key}={self.daemon.environment[key]}; {line}" for line in script]
        return self.github(
            [line.replace("docker ", DOCKER + " ") for line in script], repository=f"octo/{name}",
            run=name, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def context(self, name, steps, base="base"):
        directory = self.path("work", f"context-{name}")
        os.mkdir(directory)
        with open(os.path.join(directory, "Dockerfile"), "w") as file:
            file.write(f"FROM {base}\nARG WHO={name}\n" + "".join(f"RUN {step}\n" for step in steps))
        return directory

    @staticmethod
    def inside(report):
        """Command lines of what was executed in containers, with the container's number."""
        return [(p["container"], " ".join(p["arguments"])) for p in report["processes"] if p["container"]]

    def of(self, reports, name):
        return next(r for r in reports if r["job"]["repository"] == f"octo/{name}")

    def settled(self, attributed):
        wait_until(lambda: self.status()["containers"]["attributed"] >= attributed)
        self.assertEqual(self.status()["containers"]["unattributed"], 0, self.status())

    def test_of_jobs_side_by_side(self):
        self.start_agent()
        names = ("one", "two", "three")
        steps = ["touch /tmp/$WHO && cat /bin/sh > /dev/null; true", "sleep 0.2; ls /tmp"]
        jobs = []
        for name in names:
            # The same words in every job: they are told apart by what else is known.
            context = self.context(name, steps)
            jobs.append(self.job(name, [
                f"docker run --rm --network none --name run-{name} base touch /tmp/ran-{name}",
                f"docker build --network none --no-cache -t classic-{name} {context}",
                f"DOCKER_BUILDKIT=1 docker build --network none --no-cache {context}",
            ]))
        for job in jobs:
            self.assertEqual(job.wait(120), 0)
        reports = self.reports(len(names), seconds=60)
        self.settled(5 * len(names))
        for name in names:
            report = self.of(reports, name)
            self.assertEqual(report["verdict"], "clean", report["reasons"])
            containers = report["job"]["containers"]
            self.assertEqual(
                [(c["runtime"], c["foundBy"], c["image"], c["name"]) for c in containers],
                [("docker", "created", "base", f"run-{name}")] + [("docker", "build", None, None)] * 2
                + [("buildkit", "command", None, None)] * 2, containers)
            self.assertEqual([c["number"] for c in containers], [1, 2, 3, 4, 5])
            # What busybox does itself is not executed.
            inside = {(n, line) for n, line in self.inside(report) if line and not line.startswith("runc")}
            expected = {(1, f"touch /tmp/ran-{name}")}
            for number in (2, 4):
                expected |= {(number, f"/bin/sh -c {steps[0]}"), (number, "cat /bin/sh"),
                             (number + 1, f"/bin/sh -c {steps[1]}"), (number + 1, "sleep 0.2")}
            self.assertEqual(inside, expected)
            # In the step that asked for it.
            asked = {p["container"]: p["step"] for p in report["processes"] if p["container"]}
            self.assertEqual(asked, {1: 1, 2: 2, 3: 2, 4: 3, 5: 3})
            # What was written in a container, by its path there.
            written = self.written(report, "/tmp")
            self.assertEqual([n for n in written if n in names or n.startswith("ran-")], sorted([name, name, f"ran-{name}"]))
        self.stop_agent()

    def test_steps_with_the_same_words_from_different_base_images(self):
        """BuildKit tells nobody what these consist of. Who begins when the other's container is known has its own; of two that begin
        together each has its own, or says that it lacks something. Neither gets the other's when that is over."""
        self.daemon.docker("build", "--network", "none", "-t", "other", self.context("other", ["touch /tmp/other"]))
        self.start_agent()
        for together in (False, True):
            words = f": {os.path.basename(self.scratch)}-{together}; while [ ! -e /tmp/go ]; do sleep 0.1; done"
            jobs, found = {}, {}

            def look():
                for path in glob.glob("/proc/[0-9]*/cmdline"):
                    with contextlib.suppress(OSError):
                        with open(path, "rb") as file:
                            if file.read().split(b"\0")[:3] != [b"/bin/sh", b"-c", words.encode()]:
                                continue
                        root = path.replace("cmdline", "root/tmp")
                        with open(path.replace("cmdline", "cgroup")) as file:
                            group = next(line[3:].strip() for line in file if line.startswith("0::"))
                        found["other" if os.path.exists(f"{root}/other") else "base"] = (root, group)
                return found

            for base in ("base", "other"):
                context = self.context(f"{base}-{together}", [words], base)
                name = f"{base}-{together}"
                jobs[name] = base, self.job(name, [f"DOCKER_BUILDKIT=1 docker build --network none --no-cache {context}"])
                if not together:
                    wait_until(lambda: base in look() and self.status()["containers"]["attributed"] == len(jobs))
            wait_until(lambda: len(look()) == 2)
            for number, (name, (base, job)) in enumerate(jobs.items(), 1):
                root, group = found[base]
                with open(f"{root}/go", "w"):
                    pass
                self.assertEqual(job.wait(PATIENCE), 0)
                report = self.of(self.reports(number + 2 * together), name)
                groups = [container["cgroup"] for container in report["job"]["containers"]]
                if together and not groups:
                    self.assertEqual([row["reason"] for row in report["job"]["unseen"]], ["container"])
                    self.assertEqual((report["verdict"], self.inside(report)), ("incomplete", []))
                else:
                    self.assertEqual((report["verdict"], groups), ("clean", [group]))
        self.stop_agent()

    def test_a_container_with_a_kernel_of_its_own_is_missing(self):
        self.start_agent()
        job = self.job("sandboxed", ["docker run --rm --runtime runsc --network none base true"])
        self.assertEqual(job.wait(60), 0)
        report, = self.reports(1)
        self.assertEqual(report["verdict"], "incomplete")
        self.assertEqual([(u["reason"], u["detail"]) for u in report["job"]["unseen"]], [("runtime", "runsc")])
        container, = report["job"]["containers"]
        self.assertEqual((container["foundBy"], container["unseenRuntime"]), ("created", "runsc"))
        self.stop_agent()

    def test_that_nobody_in_a_job_asked_for_is_in_no_report(self):
        self.start_agent()
        gate = self.path("gate")
        os.mkfifo(gate)
        job = self.job("asks", [f"docker run --rm -e MY_VALUE --network none base true; read line < {gate}"])
        wait_until(lambda: self.status()["containers"]["attributed"] == 1)
        self.daemon.docker("run", "--rm", "--network", "none", "base", "touch", "/tmp/foreign")
        wait_until(lambda: self.status()["containers"]["unattributed"] == 1)
        with open(gate, "w") as file:
            file.write("\n")
        self.assertEqual(job.wait(30), 0)
        report, = self.reports(1)
        self.assertEqual(self.inside(report), [(1, "true")])
        # What the container is given in its environment is in the request, and nowhere else.
        self.assertNotIn(SECRET.encode(), self.everything_written())
        self.assertNotIn("foreign", str(report))
        foreign, = self.status()["unattributedContainers"]
        self.assertEqual(foreign["reason"], "unknown")
        self.assertGreater(foreign["records"], 1)
        self.assertEqual(len(foreign["id"]), 64)
        self.stop_agent()

    def test_a_quiet_build_is_not_vouched_for(self):
        """The daemon tells nobody what it runs for it."""
        self.start_agent()
        for number, (kit, options) in enumerate(((0, "-q"), (1, "-q"), (1, "")), 1):
            context = self.context(f"quiet-{number}", ["touch /tmp/x"])
            job = self.job(f"quiet-{number}", [f"DOCKER_BUILDKIT={kit} docker build {options} --network none --no-cache {context}"])
            self.assertEqual(job.wait(PATIENCE), 0)
            report = self.of(self.reports(number), f"quiet-{number}")
            self.assertEqual([row["reason"] for row in report["job"]["unseen"]], ["container"] if options else [])
            self.assertEqual((report["verdict"], len(report["job"]["containers"])), ("incomplete", 0) if options else ("clean", 1))
        self.stop_agent()

    def test_what_a_container_asks_for_that_has_the_socket(self):
        self.start_agent()
        socket = self.daemon.host.removeprefix("unix://")
        # With the machine's own client and libraries.
        system = " ".join(f"-v {place}:{place}:ro" for place in ("/usr", "/lib", "/lib64") if os.path.exists(place))
        job = self.job("nested", [
            f"docker run --rm --network none {system} -v {socket}:/asked.sock base "
            "docker -H unix:///asked.sock run --rm --network none base touch /tmp/inner",
        ])
        self.assertEqual(job.wait(60), 0)
        report, = self.reports(1, seconds=60)
        self.settled(2)
        self.assertEqual(report["verdict"], "clean", report["reasons"])
        outer, inner = report["job"]["containers"]
        self.assertIn((2, "touch /tmp/inner"), self.inside(report))
        asker = next(p for p in report["processes"] if p["id"] == inner["askedBy"])
        self.assertEqual(asker["container"], outer["number"])
        self.assertEqual({p["step"] for p in report["processes"] if p["container"]}, {1})
        self.stop_agent()

    def test_programs_that_are_executed_in_it_later(self):
        self.start_agent()
        job = self.job("detached", [
            "docker run -d --network none --name detached base sleep 600",
            "docker exec detached touch /tmp/later; docker exec detached ls /tmp",
        ])
        self.assertEqual(job.wait(60), 0)
        report, = self.reports(1, seconds=60)
        self.assertEqual(len(report["job"]["containers"]), 1, self.status())
        inside = [(number, line) for number, line in self.inside(report) if not line.startswith("runc")]
        for line in ("sleep 600", "touch /tmp/later", "ls /tmp"):
            self.assertIn((1, line), inside)
        # It outlives the job, which the report says.
        sleeper = next(p for p in report["processes"] if p["arguments"] == ["sleep", "600"])
        self.assertTrue(sleeper["outlivedCommand"])
        self.daemon.docker("rm", "-f", "detached")
        wait_until(lambda: self.status()["counts"]["closing"] == 0, 60)
        self.stop_agent()

    def test_of_an_agent_that_another_one_replaces(self):
        """It keeps its job's containers, those that are asked for later among them; the next one has its own jobs'."""
        self.start_agent()
        gate = self.path("gate")
        os.mkfifo(gate)
        kept = self.job("kept", [
            "docker run -d --network none --name held base sleep 600",
            f"read line < {gate}; docker exec held touch /tmp/later; docker run --rm --network none base touch /tmp/second",
        ])
        wait_until(lambda: self.status()["containers"]["attributed"] == 1)
        self.start_agent("--replace")
        self.assertEqual(self.job("next", ["docker run --rm --network none base touch /tmp/third"]).wait(60), 0)
        with open(gate, "w") as file:
            file.write("\n")
        self.assertEqual(kept.wait(60), 0)
        reports = self.reports(2, seconds=60)
        self.daemon.docker("rm", "-f", "held")
        lines = {name: {line for line in self.inside(self.of(reports, name)) if not line[1].startswith("runc")}
                 for name in ("kept", "next")}
        self.assertEqual(lines, {
            "kept": {(1, "sleep 600"), (1, "touch /tmp/later"), (2, "touch /tmp/second")}, "next": {(1, "touch /tmp/third")}})
        for report in reports:
            self.assertEqual(report["verdict"], "clean", report["reasons"])
        wait_until(lambda: self.status()["draining"] == [], 60)
        self.stop_agent()


if __name__ == "__main__":
    unittest.main()
