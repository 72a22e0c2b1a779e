/// The long part of `martlet agent --help`.
enum AgentHelp {
  static let text = """
    Where a CI runs jobs nobody types 'martlet run'. The agent recognises them in the kernel, by the name of the \
    runner's process or by the environment that the CI gives to a build, follows each with everything that it starts, \
    and leaves each its own report, as 'run' does. What is in no job is not recorded.

    Of environment variables none is stored but those that say which build it is: 'martlet agent rules' names them.

    FILES
      DIR/PROVIDER-TIME-ID/  each job's report.html, report.md, report.json, policy.suggested.yaml and events.ndjson.zst
      DIR/journal            what is unfinished: the next agent closes what this one leaves
      DIR/agent.log          what went wrong

    EXAMPLES
      sudo martlet agent start --output /var/lib/martlet --token-file /run/martlet/token
      sudo martlet agent status
      martlet agent report --markdown >>"$GITHUB_STEP_SUMMARY"    (in a job)
      sudo martlet agent stop --token-file /run/martlet/token
    """
}
