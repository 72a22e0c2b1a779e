#!/bin/sh
# ACTIONS_RUNNER_HOOK_JOB_STARTED of a self-hosted runner of GitHub: no job begins where nobody watches.
#
# The runner calls this as its own user before the first step; a status other than 0 fails the job. What it does is set
# here and not by variables, for workflows can set those. docs/integrations/github-runner.md
set -eu

# Seconds that the agent may take to be ready.
patience=10
# false: the job goes on without an agent, and its log says so.
required=true

if /usr/local/bin/martlet agent wait-ready --timeout "$patience"; then
  echo "martlet: this job is watched; its report stays on $(uname -n)"
elif [ "$required" = true ]; then
  echo "::error::martlet: no agent is ready on $(uname -n), and no job runs there without one"
  exit 1
else
  echo "::warning::martlet: no agent is ready on $(uname -n): nothing of this job is recorded"
fi
