"""Stand-ins for CI systems: processes with the names, environments and trees that theirs have."""
import os
import shlex
import sys

from agent import SECRET
from house import DEPLOY

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def shipped(*parts):
    return os.path.join(DEPLOY, *parts)


def read(*parts):
    with open(shipped(*parts), encoding="utf-8") as file:
        return file.read()


def github(run, **more):
    """What GitHub's runner gives to a step, beside its own environment."""
    return {
        "GITHUB_ACTIONS": "true", "GITHUB_REPOSITORY": "octo/repo", "GITHUB_RUN_ID": run, "GITHUB_RUN_ATTEMPT": "1",
        "GITHUB_REF": "refs/heads/main", "GITHUB_SHA": COMMIT, "GITHUB_WORKFLOW": "CI", "GITHUB_JOB": "build",
        "GITHUB_TOKEN": SECRET, **more}


def step(name, *words, **variables):
    """A line of the worker's script that runs a step: a process of its own with its own variables."""
    return " ".join(
        ["env", *[shlex.quote(f"{k}={v}") for k, v in {"GITHUB_ACTION": name, **variables}.items()],
         *[shlex.quote(word) for word in words]])


# Jenkins' agent is one process for all builds: what a build has in its environment, this has not.
JAVA = """
import ast, os, subprocess, sys, time
wrapper, result, environment = sys.argv[1:]
subprocess.run(["nohup", "sh", "-c", wrapper], env={**os.environ, **ast.literal_eval(environment)}, check=True,
               start_new_session=True)
end = time.monotonic() + 60
while not os.path.exists(result) and time.monotonic() < end:
    time.sleep(0.05)
"""

# The agent's process for one job. Hooks are sourced by a shell of their own; pre-exit comes whatever happened before.
BUILDKITE_AGENT = """#!/bin/sh
case $1 in
annotate)
  { echo "$*"; cat; } >NOTES
  exit ;;
bootstrap) ;;
*) exit 64 ;;
esac
cd DIRECTORY
bash -c '. HOOKS/environment'
status=$?
if [ $status = 0 ]; then
  bash -e -c "$BUILDKITE_COMMAND"
  status=$?
fi
BUILDKITE_COMMAND_EXIT_STATUS=$status bash -c '. HOOKS/pre-exit' || status=1
exit $status
"""


class GitHubHooks:
    """A self-hosted runner with its hooks."""

    def job(self, *steps, run="11"):
        summary = self.path("summary")
        with open(summary, "w"):
            pass
        hook = github(run, GITHUB_STEP_SUMMARY=summary)
        return self.runner(
            # The runner stops at a hook that fails.
            "set -e", step("", "bash", "-e", shipped("github-runner", "job-started.sh"), **hook), *steps,
            step("", "bash", "-e", shipped("github-runner", "job-completed.sh"), **hook))


class OtherJobs:
    """Jobs of GitLab's shell executor, of Jenkins and of Buildkite."""

    def gitlab(self):
        """As the shell executor does it: a shell of the jobs' user, and a script with everything on its input."""
        variables = {
            "GITLAB_CI": "true", "CI": "true", "CI_JOB_ID": "77", "CI_JOB_NAME": "compile", "CI_JOB_STAGE": "build",
            "CI_PROJECT_PATH": "group/project", "CI_COMMIT_SHA": COMMIT, "CI_COMMIT_REF_NAME": "main",
            "CI_PIPELINE_ID": "7", "CI_PIPELINE_NAME": "nightly", "CI_JOB_TOKEN": SECRET}
        exports = "".join(f"export {name}={value}\n" for name, value in variables.items())
        body = exports + f"cd {self.work}\necho x > by-the-shell\ncp by-the-shell by-a-program\n"
        quoted = body.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
        script = self.script(
            "gitlab-script", "trap exit 1 TERM\n\nif set -o | grep pipefail > /dev/null; then set -o pipefail; fi; "
            f"set -o errexit\nset +o noclobber\n: | eval $'{quoted}'\nexit 0\n")
        return self.start_in(
            self.shell_named("gitlab-runner"), "-c", 'su -s /bin/bash nobody -c "bash -l" <"$1"; exit $?', "runner", script)

    def jenkins(self):
        """As the agent's Java process starts a step `sh`: durable-task's wrapper, which lives on by itself."""
        control = self.path("work", "durable-1")
        os.mkdir(control)
        with open(os.path.join(control, "script.sh"), "w") as file:
            file.write("#!/bin/sh -xe\necho x > from-jenkins\nls > /dev/null\n")
        log, result = os.path.join(control, "jenkins-log.txt"), os.path.join(control, "jenkins-result.txt")
        wrapper = (
            f"({{ while [ -d '{control}' -a \\! -f '{result}' ]; do touch '{log}'; sleep 3; done }} & jsc=durable-1; "
            f"JENKINS_SERVER_COOKIE=$jsc 'sh' -xe '{control}/script.sh' > '{log}' 2>&1; echo $? > '{result}.tmp'; "
            f"mv '{result}.tmp' '{result}'; wait) >&- 2>&- &")
        environment = {
            "JENKINS_URL": "https://ci.example/", "BUILD_TAG": "jenkins-folder-app-5", "JOB_NAME": "folder/app",
            "BUILD_NUMBER": "5", "STAGE_NAME": "Compile", "GIT_URL": f"https://u:{SECRET}@git.example/app.git",
            "GIT_COMMIT": COMMIT, "BRANCH_NAME": "main", "API_TOKEN": SECRET}
        java = self.path("java")
        os.symlink(sys.executable, java)
        return self.start_in(
            java, "-c", JAVA, wrapper, result, repr(environment), environment={"JENKINS_URL": "https://ci.example/"})

    def buildkite_agent(self):
        """A `buildkite-agent` that does a job's phases and keeps annotations."""
        self.put("buildkite-agent", BUILDKITE_AGENT.replace("HOOKS", self.path("hooks")).replace(
            "NOTES", self.path("work", "annotation")).replace("DIRECTORY", self.work))
        os.mkdir(self.path("hooks"))
        for name in ("environment", "pre-exit"):
            os.symlink(shipped("buildkite", name), self.path("hooks", name))

    def buildkite(self, job, user=()):
        return self.start_in(*user, "buildkite-agent", "bootstrap", environment={
            "BUILDKITE": "true", "BUILDKITE_JOB_ID": job, "BUILDKITE_REPO": "git@git.example:org/app.git",
            "BUILDKITE_BRANCH": "main", "BUILDKITE_COMMIT": COMMIT, "BUILDKITE_PIPELINE_SLUG": "app",
            "BUILDKITE_LABEL": "compile", "BUILDKITE_BUILD_NUMBER": "9", "BUILDKITE_RETRY_COUNT": "0",
            "BUILDKITE_COMMAND": "echo x > from-buildkite", "BUILDKITE_AGENT_ACCESS_TOKEN": SECRET})
