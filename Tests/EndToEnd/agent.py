"""An agent for a test, and decoys of CI runners: processes with the real names and environments."""
import glob
import json
import os
import shutil
import signal
import subprocess
import time

from harness import MARTLET, PATIENCE, Case, wait_until

# What a CI sets besides what may be stored: none of it may be found in any output.
SECRET = "s3cr3t-of-the-environment-0123456789"


class AgentCase(Case):
    """A test with an agent of its own, which ends with it."""

    def setUp(self):
        super().setUp()
        # Files and directories of the watched processes, apart from the agent's.
        os.mkdir(self.path("work"))
        # The socket is for everybody.
        os.chmod(self.scratch, 0o755)
        self.runner = self.path("Runner.Worker")
        shutil.copy("/bin/dash" if os.path.exists("/bin/dash") else "/bin/sh", self.runner)
        self.agents = []
        self.addCleanup(self.end_agents)

    def agent(self, *words, check=True, **keywords):
        keywords.setdefault("timeout", PATIENCE)
        done = subprocess.run(
            [MARTLET, "agent", words[0], "--socket", self.path("agent.sock"), *words[1:]], cwd=self.scratch,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **keywords)
        if check:
            self.assertEqual(done.returncode, 0, done.stderr.decode())
        return done

    def start_agent(self, *options):
        """Starts it in the background; its token is in `self.token`."""
        begun = time.monotonic()
        done = self.agent("start", "--output", self.path("out"), *options)
        self.start_seconds = time.monotonic() - begun
        self.token = done.stdout.decode().strip()
        self.agent_pid = self.status()["pid"]
        self.agents.append(self.agent_pid)
        return done

    def end_agents(self):
        for pid in self.agents:
            try:
                os.kill(pid, signal.SIGTERM)
            except ProcessLookupError:
                continue
            try:
                wait_until(lambda: not os.path.exists(f"/proc/{pid}"), 15)
            except AssertionError:
                os.kill(pid, signal.SIGKILL)

    def stop_agent(self):
        done = self.agent("stop", "--token", self.token)
        wait_until(lambda: not os.path.exists(f"/proc/{self.agent_pid}"))
        return done

    def kill_agent(self):
        os.kill(self.agent_pid, signal.SIGKILL)
        wait_until(lambda: not os.path.exists(f"/proc/{self.agent_pid}"))

    def status(self):
        return json.loads(self.agent("status", "--json").stdout)

    def reports(self, count, provider="*", seconds=PATIENCE, wanted=lambda job: True):
        """The reports of `count` closed jobs, each with its directory in `directory`. Others may run jobs meanwhile."""
        pattern = self.path("out", f"{provider}-*", "report.json")
        found = []

        def arrived():
            found.clear()
            for path in sorted(glob.glob(pattern)):
                with open(path, "rb") as file:
                    report = json.load(file)
                if wanted(report["job"]):
                    found.append({**report, "directory": os.path.dirname(path)})
            return len(found) >= count

        wait_until(arrived, seconds)
        self.assertEqual(len(found), count)
        return found

    def everything_written(self):
        """All bytes of all files of the output directory, logs decompressed."""
        everything = b""
        for directory, _, names in os.walk(self.path("out")):
            for name in names:
                path = os.path.join(directory, name)
                with open(path, "rb") as file:
                    everything += file.read()
                if name.endswith(".zst"):
                    everything += subprocess.run([MARTLET, "log", "cat", path], stdout=subprocess.PIPE).stdout
        return everything

    def github(self, script, repository="octo/repo", run="1", wait=False, **keywords):
        """A job as a GitHub runner starts it: the worker with each line of `script` as a step of its own."""
        steps = []
        for number, command in enumerate(script):
            environment = (
                f"GITHUB_ACTIONS=true GITHUB_REPOSITORY={repository} GITHUB_RUN_ID={run} GITHUB_RUN_ATTEMPT=1 "
                f"GITHUB_REF=refs/heads/main GITHUB_SHA={'0123456789abcdef' * 2}01234567 GITHUB_WORKFLOW=CI "
                f"GITHUB_JOB=build GITHUB_ACTION=step_{number} GITHUB_TOKEN={SECRET} MY_VALUE={SECRET}")
            steps.append(f"{environment} /bin/sh -c '{command}'")
        # In a file: on a command line the environment would be arguments, which are recorded.
        self.jobs = getattr(self, "jobs", 0) + 1
        script = self.path(f"job-{self.jobs}.sh")
        with open(script, "w") as file:
            file.write("\n".join(steps) + "\n:\n")
        process = subprocess.Popen(
            [self.runner, script], cwd=self.path("work"), stdin=subprocess.DEVNULL, start_new_session=True,
            env={"PATH": os.environ["PATH"], "RUNNER_TRACKING_ID": "github_x", "MY_VALUE": SECRET}, **keywords)
        self.addCleanup(self.end_group, process)
        if wait:
            self.assertEqual(process.wait(PATIENCE), 0)
        return process

    def jenkins(self, script, tag, extra=None, **keywords):
        """A step as Jenkins' durable-task plugin starts it: a shell of a tree of its own, told by its environment."""
        environment = {
            "PATH": os.environ["PATH"], "JENKINS_URL": "https://ci.example/", "BUILD_TAG": tag, "JOB_NAME": tag + "-job",
            "BUILD_NUMBER": "42", "GIT_URL": f"https://user:{SECRET}@git.example/x.git", "STAGE_NAME": "Build",
            "DB_PASSWORD": SECRET, **(extra or {}),
        }
        process = subprocess.Popen(
            ["/bin/sh", "-c", script], cwd=self.path("work"), stdin=subprocess.DEVNULL, start_new_session=True,
            env=environment, **keywords)
        self.addCleanup(self.end_group, process)
        return process

    @staticmethod
    def written(report, beneath):
        """Names of the files beneath a directory that the report says were written."""
        return sorted(
            os.path.basename(file["path"]) for file in report["files"]
            if file["written"] and file["path"].startswith(beneath + "/"))
