"""martlet in an interactive shell: Ctrl-C, Ctrl-Z, fg, bg, pipelines, the title and the modes."""
import os
import re
import subprocess
import sys
import time
import unittest

from harness import Case, Shell, python, shell_words

COUNT = ("import signal,sys,time;n=[0]\n"
         "def hit(*_): n[0]+=1\n"
         "signal.signal(signal.SIGINT,hit);print('rea'+'dy',flush=True);end=time.monotonic()+1.5\n"
         "while time.monotonic()<end: time.sleep(0.05)\n"
         "print('hits=%d'%n[0],flush=True)\n")

# Not a shell's sleep: dash starts it with vfork(2), and Ctrl-Z in between blocks both, with martlet or without.
NAP = python("import sys,time;print('rea'+'dy',flush=True);time.sleep(float(sys.argv[1]));sys.exit(int(sys.argv[2]))")


class Terminal(Case):
    def setUp(self):
        super().setUp()
        self.shell = Shell(self.scratch)
        self.addCleanup(self.shell.close)

    def martlet(self, *command, options=()):
        return shell_words(self.words(*command, options=options))

    def status(self):
        self.shell.line("echo status=$?")
        return int(self.shell.expect(r"status=(\d+)").group(1))

    def test_interrupt_reaches_the_command_once(self):
        self.shell.line(self.martlet(*python(COUNT)))
        self.shell.expect("ready")
        self.shell.send("\x03")
        self.shell.expect("hits=1\\D")
        self.shell.expect("<prompt>")

    def test_interrupt_ends_command_and_martlet(self):
        self.shell.line(self.martlet("sh", "-c", "echo rea''dy; exec sleep 600"))
        self.shell.expect("ready")
        self.shell.send("\x03")
        self.shell.expect("<prompt>")
        self.assertEqual(self.status(), 130)

    def test_interrupt_ends_a_script_around_martlet(self):
        for interpreter in ("bash", "sh"):
            script = self.script(
                "outer", "#!/usr/bin/env %s\n%s\necho af''ter\n" % (interpreter, self.martlet(*NAP, "600", "0")))
            self.shell.line(script)
            self.shell.expect("ready")
            self.shell.send("\x03")
            self.shell.expect("<prompt>")
            self.assertEqual(self.status(), 130)
            self.assertNotIn(b"\nafter", self.shell.output)

    def test_a_script_goes_on_when_the_command_dealt_with_the_interrupt(self):
        script = self.script("outer", "#!/bin/bash\n%s\necho af''ter\n" % self.martlet(*python(COUNT)))
        self.shell.line(script)
        self.shell.expect("ready")
        self.shell.send("\x03")
        # Where that takes long, the title is told in between.
        self.shell.expect(r"hits=1[^<]*after")

    def test_stop_and_foreground(self):
        self.shell.line(self.martlet(*NAP, "2", "9"))
        self.shell.expect("ready")
        self.shell.send("\x1a")
        self.shell.expect("Stopped")
        self.shell.expect("<prompt>")
        self.shell.line("ps -o stat= | grep -c '^T'")
        self.shell.expect(r"\n2\r")
        self.shell.line("fg")
        self.shell.expect("<prompt>")
        self.assertEqual(self.status(), 9)

    def test_stop_background_and_wait(self):
        self.shell.line(self.martlet(*NAP, "1", "9"))
        self.shell.expect("ready")
        self.shell.send("\x1a")
        self.shell.expect("Stopped")
        self.shell.line("bg")
        self.shell.line("wait %1; echo wai''ted=$?")
        self.shell.expect("waited=9")

    def test_a_stopped_pipeline_stops_as_a_whole(self):
        self.shell.line(self.martlet(*NAP, "2", "0") + " | cat; echo en''d")
        self.shell.expect("ready")
        self.shell.send("\x1a")
        self.shell.expect("Stopped")
        self.shell.line("fg")
        self.shell.expect("end\r")
        self.shell.expect("<prompt>")

    def test_reading_from_the_background_stops(self):
        self.shell.line(self.martlet("sh", "-c", "read line; echo got=$line") + " &")
        self.shell.line("")
        for _ in range(100):
            self.shell.line("jobs")
            time.sleep(0.1)
            if b"Stopped" in self.shell.output:
                break
        self.shell.expect("Stopped")
        self.shell.line("fg")
        self.shell.expect("fg\r\n")
        time.sleep(0.3)
        self.shell.line("word")
        self.shell.expect("got=word")
        self.shell.expect("<prompt>")

    def test_a_shell_within_has_job_control(self):
        self.shell.line("PS1='inn''er>' " + self.martlet("bash", "--norc", "--noprofile", "--noediting", "-i"))
        self.shell.expect("inner>")
        self.shell.line("sleep 600")
        time.sleep(0.5)
        self.shell.send("\x1a")
        self.shell.expect("Stopped")
        self.shell.expect("inner>")
        self.shell.line("kill -9 %1; disown -a; exit 17")
        self.shell.expect("<prompt>")
        self.assertEqual(self.status(), 17)

    def test_a_killed_shell_within_gives_the_terminal_back(self):
        self.shell.line("PS1='inn''er>' " + self.martlet("bash", "--norc", "--noprofile", "-i"))
        self.shell.expect("inner>")
        self.shell.line("kill -9 $$")
        self.shell.expect("<prompt>")
        self.shell.line("stty -a | tr ' ;' '\\n\\n' | grep -E '^-?(echo|icanon)$' | tr '\\n' ' '")
        self.shell.expect("icanon echo")
        self.assertEqual(self.status(), 0)

    def test_modes_are_put_back_after_a_signal(self):
        # In a script, where no shell puts them back itself.
        command = self.martlet("sh", "-c", "stty -echo -icanon; kill -9 $$")
        script = self.script("outer", "#!/bin/sh\n%s\nstty -a | tr ' ;' '\\n\\n' | grep -E '^-?(echo|icanon)$'\n" % command)
        self.shell.line(script)
        self.shell.expect(r"\nicanon\r\necho\r\n")

    def test_modes_are_left_to_a_command_that_ends_by_itself(self):
        command = self.martlet("stty", "-echo")
        script = self.script(
            "outer", "#!/bin/sh\n%s\nstty -a | tr ' ;' '\\n\\n' | grep -E '^-?(echo|icanon)$'; stty echo\n" % command)
        self.shell.line(script)
        self.shell.expect(r"\nicanon\r\n-echo\r\n")

    def title(self, *command, options=(), prefix=""):
        start = len(self.shell.output)
        self.shell.line(prefix + self.martlet(*command, options=options))
        self.shell.expect("<prompt>")
        return self.shell.output[start:]

    def test_the_title_tells_and_is_put_back(self):
        output = self.title("sleep", "2.5")
        self.assertIn(b"\x1b[22;2t\x1b]2;martlet", output)
        self.assertEqual(output.count(b"\x1b[22;2t"), output.count(b"\x1b[23;2t"))
        last = output.rindex(b"\x1b]2;")
        self.assertGreater(output.rindex(b"\x1b[23;2t"), last)
        # What remains on the screen is the command's and the summary's: nothing is drawn over.
        self.assertNotIn(b"\x1b[K", output)

    def test_no_title_where_it_would_not_be_well_behaved(self):
        for prefix in ("TERM=dumb ", "TERM= ", "CI=true "):
            self.assertNotIn(b"\x1b]2;", self.title("sleep", "1.5", prefix=prefix), prefix)
        self.assertNotIn(b"\x1b]2;", self.title("sleep", "1.5", options=("--no-live",)) if not os.environ.get("LAUNCH_PROBE") else b"")
        # A full-screen program owns the terminal.
        self.assertNotIn(b"\x1b]2;", self.title("sh", "-c", "stty -icanon -echo; sleep 1.5; stty icanon echo"))

    def test_a_line_on_request(self):
        output = self.title("sleep", "1.5", options=("--live",))
        self.assertRegex(output, rb"\rmartlet[^\r\n]*\r")
        self.assertNotIn(b"\x1b]2;", output)


class NoTerminal(Case):
    def test_nothing_but_the_summary_in_a_pipe(self):
        done = self.run_martlet("sleep", "1.5", env=dict(os.environ, TERM="xterm"))
        self.assertEqual(done.stdout, b"")
        self.assertNotIn(b"\x1b", done.stderr)
        self.assertNotIn(b"\r", done.stderr)


if __name__ == "__main__":
    unittest.main()
