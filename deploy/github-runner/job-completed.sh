#!/bin/sh
# ACTIONS_RUNNER_HOOK_JOB_COMPLETED of a self-hosted runner of GitHub: says in the job's summary where its report will
# be, and fails the job if there is no agent any more.
#
# The job has not ended yet when the runner calls this: its report is written when Runner.Worker has gone.
# docs/integrations/github-runner.md
set -eu

# As in job-started.sh.
patience=10
required=true

host=$(uname -n)
if /usr/local/bin/martlet agent wait-ready --timeout "$patience"; then
  [ -z "${GITHUB_STEP_SUMMARY:-}" ] || cat >>"$GITHUB_STEP_SUMMARY" <<END
martlet watched this job on \`$host\`, which keeps the report: run \`${GITHUB_RUN_ID:-}\`, attempt
\`${GITHUB_RUN_ATTEMPT:-}\`, job \`${GITHUB_JOB:-}\`.
END
elif [ "$required" = true ]; then
  echo "::error::martlet: there is no agent on $host any more; what it has seen of this job is reported by the next"
  exit 1
else
  echo "::warning::martlet: there is no agent on $host any more; what it has seen of this job is reported by the next"
fi
