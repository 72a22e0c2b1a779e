"""Exit statuses, and that a command finds what it would find without martlet."""
import os
import signal
import subprocess
import sys
import unittest

from harness import MARTLET, PROBE, Case, needs_root, needs_sensor, python


class ExitStatus(Case):
    def test_is_the_commands(self):
        for status in (0, 1, 3, 125, 255):
            self.assertEqual(self.run_martlet("sh", "-c", "exit %d" % status).returncode, status)

    def test_tells_the_signal(self):
        for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, signal.SIGHUP, signal.SIGPIPE):
            done = self.run_martlet("sh", "-c", "kill -%d $$" % number)
            self.assertEqual(done.returncode, 128 + number, done.stderr)

    def test_command_not_found(self):
        done = self.run_martlet("no-such-command-at-all")
        self.assertEqual(done.returncode, 127)
        self.assertIn(b"no-such-command-at-all", done.stderr)
        self.assertEqual(self.run_martlet("./no/such/path").returncode, 127)
        self.assertEqual(self.run_martlet("").returncode, 127)

    def test_command_not_executable(self):
        self.assertEqual(self.run_martlet(self.script("plain", "hello\n", mode=0o644)).returncode, 126)
        self.assertEqual(self.run_martlet(self.scratch).returncode, 126)

    def test_missing_interpreter_is_named_as_such(self):
        done = self.run_martlet(self.script("odd", "#!/no/such/interpreter\n"))
        self.assertEqual(done.returncode, 127)
        self.assertIn(b"interpreter", done.stderr)

    def test_script_without_interpreter_line_goes_to_the_shell(self):
        done = self.run_martlet(self.script("bare", "echo bare $1; exit 7\n"), "word")
        self.assertEqual((done.returncode, done.stdout), (7, b"bare word\n"))

    def test_search_goes_on_after_a_file_that_is_not_executable(self):
        os.mkdir(self.path("a"))
        os.mkdir(self.path("b"))
        self.script("a/tool", "exit 1\n", mode=0o644)
        self.script("b/tool", "#!/bin/sh\nexit 9\n")
        search = ":".join([self.path("a"), self.path("b"), os.environ["PATH"]])
        done = self.run_martlet("tool", env=dict(os.environ, PATH=search))
        self.assertEqual(done.returncode, 9, done.stderr)

    @needs_sensor
    def test_usage_errors_are_martlets_own(self):
        for words in (["run"], ["run", "--"], ["run", "--no-such-option", "--", "true"], ["no-such-verb"],
                      ["run", "--ring-size", "many", "--", "true"], ["run", "--fail-on", "weather", "--", "true"],
                      ["run", "true"], ["run", "--argv", "loud", "--", "true"]):
            done = subprocess.run([MARTLET, *words], capture_output=True, cwd=self.scratch)
            self.assertEqual((done.returncode, done.stdout), (125, b""), words)
            self.assertTrue(done.stderr, words)
        self.assertEqual(os.listdir(self.scratch), [])


class PassThrough(Case):
    def test_streams_are_the_commands_alone(self):
        data = os.urandom(1 << 20)
        done = self.run_martlet("cat", stdin=None, input=data)
        self.assertEqual(done.returncode, 0)
        self.assertEqual(done.stdout, data)

    def test_arguments_are_bytes_and_untouched(self):
        words = [b"--help", b"--", b"-x", b"", b"\xff\xfe not utf-8", b"--output", b"a b"]
        done = subprocess.run(
            self.words(*python("import os,sys;sys.stdout.buffer.write(b'|'.join(map(os.fsencode,sys.argv[1:])))"), *words),
            capture_output=True, cwd=self.scratch)
        self.assertEqual(done.stdout, b"|".join(words), done.stderr)

    def test_environment_is_bytes_and_untouched(self):
        environment = {b"PATH": os.environb[b"PATH"], b"ODD": b"\xff\xfe", b"SUDO_EDITOR": b"vi", b"EMPTY": b""}
        show = python("import os,sys;sys.stdout.buffer.write(b'|'.join(sorted(k+b'='+v for k,v in os.environb.items())))")
        plain = subprocess.run(show, env=environment, capture_output=True)
        done = self.run_martlet(*show, env=environment)
        self.assertEqual(done.stdout, plain.stdout, done.stderr)

    # What a command can see of how it was started.
    LOOK = (
        "import os,re;s=open('/proc/self/status').read();"
        "print(re.findall(r'(?:Sig(?:Blk|Ign|Cgt)|Cap\\w+|NoNewPrivs|Seccomp|Uid|Gid|Groups|Umask):.*',s));"
        "print(open('/proc/self/limits').read());print(os.getcwd(),os.nice(0),os.getpgrp()==int(os.environ['GROUP']));"
        "print([d for d in range(256) if os.path.exists('/proc/self/fd/%d'%d)]);"
        "print(open('/proc/self/oom_score_adj').read(),open('/proc/self/comm').read())")

    def assert_same_view(self, **keywords):
        environment = dict(os.environ, GROUP=str(os.getpgrp()))
        # The interpreter's own SIGPIPE would be restored by subprocess, which hides what it passes on.
        keywords = dict(keywords, env=environment, restore_signals=False)
        plain = subprocess.run(python(self.LOOK), capture_output=True, cwd=self.scratch,
                               stdin=subprocess.DEVNULL, **keywords)
        self.assertEqual(plain.returncode, 0, plain.stderr)
        done = self.run_martlet(*python(self.LOOK), **keywords)
        self.assertEqual(done.stdout.decode(), plain.stdout.decode(), done.stderr)

    def test_command_sees_what_it_would_see(self):
        self.assert_same_view()

    def test_signal_state_is_inherited(self):
        def prepare():
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
            signal.signal(signal.SIGTSTP, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGALRM})

        self.assert_same_view(preexec_fn=prepare)

    def test_limits_and_mode_mask_are_inherited(self):
        def prepare():
            import resource

            resource.setrlimit(resource.RLIMIT_NOFILE, (200, 300))
            resource.setrlimit(resource.RLIMIT_MEMLOCK, (65536, 65536))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            os.umask(0o027)

        self.assert_same_view(preexec_fn=prepare)

    def test_open_descriptors_are_inherited(self):
        read, write = os.pipe()
        try:
            self.assert_same_view(pass_fds=(read, write))
        finally:
            os.close(read)
            os.close(write)

    def test_closed_streams_stay_closed(self):
        look = "import os,sys;os.write(int(sys.argv[1]),repr([d for d in range(3) if os.path.exists('/proc/self/fd/%d'%d)]).encode())"
        for closed in (0, 1, 2):
            read, write = os.pipe()
            # The interpreter opens nothing of its own in their place with -I -S.
            subprocess.run(
                self.words(sys.executable, "-I", "-S", "-c", look, str(write)), cwd=self.scratch, pass_fds=(write,),
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                preexec_fn=lambda: os.close(closed))
            os.close(write)
            seen = os.read(read, 100).decode()
            os.close(read)
            self.assertEqual(seen, repr([d for d in range(3) if d != closed]))


@needs_root
class User(Case):
    # With tools that every user can run.
    LOOK = ("sh", "-c", "grep -E '^(Uid|Gid|Groups|Cap(Inh|Prm|Eff|Amb)):' /proc/self/status;"
            "echo HOME $HOME; echo USER $USER; echo LOGNAME $LOGNAME; echo SUDO $(env | grep -c ^SUDO_)")

    def look(self, **keywords):
        done = self.run_martlet(*self.LOOK, **keywords)
        self.assertEqual(done.returncode, 0, done.stderr)
        words = [line.split() for line in done.stdout.decode().splitlines()]
        return {line[0].rstrip(":"): line[1:] for line in words}

    def assert_unprivileged(self, seen):
        for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            self.assertEqual(seen[name], ["0" * 16])

    def setUp(self):
        super().setUp()
        os.chmod(self.scratch, 0o755)

    def test_named_and_numbered(self):
        for option in ("nobody", "65534"):
            seen = self.look(options=("--user", option))
            self.assertEqual((seen["Uid"], seen["Gid"], seen["Groups"]), (["65534"] * 4, ["65534"] * 4, ["65534"]))
            self.assertEqual((seen["USER"], seen["LOGNAME"]), (["nobody"], ["nobody"]))
            self.assert_unprivileged(seen)

    def test_number_without_an_account(self):
        seen = self.look(options=("--user", "54321:54322"))
        self.assertEqual((seen["Uid"], seen["Gid"], seen["Groups"]), (["54321"] * 4, ["54322"] * 4, ["54322"]))
        self.assertEqual((seen["HOME"], seen["USER"]), (["/"], ["54321"]))
        self.assert_unprivileged(seen)

    def test_wrong_users_are_refused(self):
        for wrong in ("54321", "no-such-user", "", ":1", "nobody:", "nobody:x", "4294967295:1", "+1:1"):
            done = self.run_martlet("touch", "ran", options=("--user", wrong))
            self.assertEqual(done.returncode, 125, wrong)
        self.assertFalse(os.path.exists(self.path("ran")))

    def test_caller_of_sudo(self):
        environment = dict(os.environ, SUDO_UID="65534", SUDO_GID="65534", SUDO_USER="nobody",
                           SUDO_COMMAND="martlet", HOME="/root", USER="root", LOGNAME="root")
        seen = self.look(env=environment)
        self.assertEqual((seen["Uid"], seen["Groups"]), (["65534"] * 4, ["65534"]))
        self.assertEqual((seen["USER"], seen["SUDO"]), (["nobody"], ["0"]))
        self.assertNotEqual(seen["HOME"], ["/root"])
        self.assert_unprivileged(seen)
        self.assertEqual(self.look(options=("--user", "root"), env=environment)["Uid"], ["0"] * 4)

    def test_permission_is_the_users(self):
        path = self.script("mine", "#!/bin/sh\nexit 0\n", mode=0o700)
        self.assertEqual(self.run_martlet(path).returncode, 0)
        self.assertEqual(self.run_martlet(path, options=("--user", "nobody")).returncode, 126)


if __name__ == "__main__":
    unittest.main()
