#!/bin/sh
# ACTIONS_RUNNER_HOOK_JOB_COMPLETED of a self-hosted runner of GitHub: puts what martlet has seen into the job's summary,
# and fails the job if there is no agent any more.
#
# The job has not ended yet when the runner calls this: the report is up to here, and the one that takes its place is
# written when Runner.Worker has gone. docs/integrations/github-runner.md
set -eu

# Seconds that the report may take.
patience=60
# As in job-started.sh.
required=true
# The job fails if one of these applies: findings, blocked, incomplete; several by commas.
fail_on=

host=$(uname -n)
status=0
report=$(/usr/local/bin/martlet agent report --markdown --timeout "$patience" ${fail_on:+--fail-on "$fail_on"}) || status=$?
case $status in
0 | 3)
  [ -z "${GITHUB_STEP_SUMMARY:-}" ] || cat >>"$GITHUB_STEP_SUMMARY" <<END
$report

\`$host\` keeps the report to the job's end: run \`${GITHUB_RUN_ID:-}\`, attempt \`${GITHUB_RUN_ATTEMPT:-}\`, job
\`${GITHUB_JOB:-}\`.
END
  [ "$status" = 0 ] || { echo "::error::martlet: the job is one of $fail_on: see its summary"; exit 1; }
  ;;
*)
  if [ "$required" = true ]; then
    echo "::error::martlet: there is no report from $host; what an agent there has seen of this job is reported by the next"
    exit 1
  fi
  echo "::warning::martlet: there is no report from $host; what an agent there has seen of this job is reported by the next"
  ;;
esac
