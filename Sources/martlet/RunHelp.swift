import ArgumentParser

/// The long part of `martlet run --help`, kept apart from the options. A paragraph is one line, which the parser breaks
/// to the width of the terminal; lines that must stay as they are have at most 78 columns.
enum RunHelp {
  static let hooks = ArgumentHelp(
    "Prefer this kind of hooks to those that martlet would choose, for tests and comparisons. What has none of this "
      + "kind is seen by the next worse.", valueName: "kind")

  static let text = """
    Runs COMMAND as if martlet were not there: same terminal, same standard streams, same working directory, \
    environment, limits and open files. Its standard output is its own; martlet writes to standard error only, a \
    summary when the command has ended.

    Needs root, or CAP_BPF, CAP_PERFMON and what else the message names, and a kernel of 5.10 or newer with BTF; or a \
    martlet agent on the machine, which then watches the command for a user without these, who cannot use sudo in it. \
    If something is missing martlet says what, and does not run the command. Under sudo the command runs as the user \
    who called sudo, without privileges and without sudo's variables; sudo itself replaces PATH, which 'sudo env \
    "PATH=$PATH" martlet run …' prevents.

    EXIT STATUS
      The command's own; 128 + n when signal n ended it. Apart from these:
      3    the command succeeded and --fail-on matched
      125  martlet failed or was called wrongly, and the command was not run; or
           the command succeeded, but its report could not be kept
      126  the command was found but could not be run
      127  the command was not found

    SIGNALS AND TERMINALS
    The command stays in martlet's process group. What a terminal (Ctrl-C, Ctrl-Z) or a CI runner sends to the group \
    reaches the command directly; a signal that is sent to martlet alone is handed on. martlet ends when the command \
    has ended, not before. Ctrl-Z stops both, fg and bg continue both. Processes that the command leaves behind live \
    on, and the report lists them. If martlet itself is killed the command runs on, unwatched.

    STATUS WHILE IT RUNS
    On a terminal the window's title tells it: the screen is the command's, and a line drawn there would tear its \
    output. There is none if CI is set, while a full-screen program runs, or where the terminal has no title. --live \
    draws a line on standard error instead, for commands that write nothing there; --no-live shows nothing. In a pipe \
    there is nothing but the summary.

    FILES
      DIR/report.html        the report for people
      DIR/report.md          in short, for a CI's step summary
      DIR/report.json        for programs
      DIR/policy.suggested.yaml
                             the narrowest policy under which the run would have
                             passed: copy it, the next report takes its place
      DIR/events.ndjson.zst  every event, a JSON object a line: 'martlet log'
    DIR belongs to the user who called sudo, otherwise to who runs martlet, and nobody else can read it. An \
    unprivileged command cannot change it while it runs: the report grows under a hidden name, .martlet-XXXXXXXX, \
    and is renamed at the end.

    EXAMPLES
      sudo martlet run -- make test
      martlet run -o out/build-report --fail-on incomplete -- npm ci
      martlet run --user ci --mask 'corp-*' -- ./build.sh --verbose
    """
}
