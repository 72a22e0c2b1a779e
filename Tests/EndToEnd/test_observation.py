"""What a run shows, hides and counts, seen from outside: secrets, processes that stay, storms, refusals, the log."""
import json
import os
import re
import signal
import subprocess
import sys
import time
import unittest

from harness import MARTLET, Case, needs_root, needs_sensor, python, wait_until


@needs_root
@needs_sensor
class Secrets(Case):
    # Assembled here, so that no scanner takes this file for a leak.
    SECRETS = ["hunter2" + "XyZZy", "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8", "corp" + "-4711-" + "internal"]

    def everything(self, done):
        """All bytes that a run left: the files, the log in clear, and what was printed."""
        data = {"stderr": done.stderr}
        for name in os.listdir(self.path("martlet-report")):
            with open(self.path("martlet-report", name), "rb") as file:
                data[name] = file.read()
        cat = subprocess.run([MARTLET, "log", "cat", self.path("martlet-report")], capture_output=True)
        self.assertEqual(cat.returncode, 0, cat.stderr)
        data["log"] = cat.stdout
        return data

    def planted(self):
        password, token, own = self.SECRETS
        return ["sh", "-c", ":", "--password", password, "--token=" + token,
                "https://user:%s@example.org/path?key=%s" % (password, token), own,
                "Authorization: Bearer " + token]

    def test_nothing_planted_in_arguments_comes_out(self):
        done = self.run_martlet(*self.planted(), options=("--mask", "corp-*-internal"))
        self.assertEqual(done.returncode, 0, done.stderr)
        for place, data in self.everything(done).items():
            for secret in self.SECRETS:
                self.assertNotIn(secret.encode(), data, place)

    def test_nor_from_a_process_below(self):
        inner = " ".join("'%s'" % w for w in self.planted())
        done = self.run_martlet("sh", "-c", "env %s; true" % inner, options=("--mask", "corp-*-internal"))
        for place, data in self.everything(done).items():
            for secret in self.SECRETS:
                self.assertNotIn(secret.encode(), data, place)

    def test_hashed_arguments(self):
        done = self.run_martlet("sh", "-c", ":", "a-quite-ordinary-word", options=("--argv", "hashed"))
        for place, data in self.everything(done).items():
            self.assertNotIn(b"a-quite-ordinary-word", data, place)

    def test_full_arguments_are_there_if_asked_for(self):
        # Also shows that the tests above look in the right places.
        done = self.run_martlet(*self.planted(), options=("--argv", "full"))
        places = self.everything(done)
        for place in ("report.json", "log"):
            self.assertIn(self.SECRETS[0].encode(), places[place], place)


@needs_root
@needs_sensor
class Bytes(Case):
    COMMAND = ("sh", "-c", "printf 12345 > one; printf 678 >> one; cat one one > two")

    def test_are_exact_or_not_there(self):
        doctor = json.loads(subprocess.run([MARTLET, "doctor", "--json"], stdout=subprocess.PIPE).stdout)
        functions = [f for f in doctor["functions"] if f["family"] == "bytes"]
        self.assertEqual(len(functions), 3)
        self.assertTrue(all(f["onRequest"] for f in functions))
        possible = all(f["hooks"] for f in functions)
        done = self.run_martlet(*self.COMMAND, options=("--bytes",))
        self.assertEqual(done.returncode, 0, done.stderr)
        report = self.report()
        files = {os.path.basename(f["path"]): f for f in report["files"]}
        if possible:
            self.assertEqual(report["sensor"]["bytes"], {"counted": True})
            self.assertEqual([files["one"][key] for key in ("bytesRead", "bytesWritten")], [16, 8])
            self.assertEqual([files["two"][key] for key in ("bytesRead", "bytesWritten")], [0, 16])
            return
        # Asked for and not to be had: nobody takes that for zero.
        self.assertFalse(report["sensor"]["bytes"]["counted"])
        self.assertTrue(report["sensor"]["bytes"]["reason"])
        self.assertEqual(report["verdict"], "incomplete")
        for file in files.values():
            self.assertFalse({"bytesRead", "bytesWritten", "bytesByImage"} & set(file), file)

    def test_are_not_counted_unless_asked_for(self):
        self.assertEqual(self.run_martlet(*self.COMMAND).returncode, 0)
        report = self.report()
        self.assertNotIn("bytes", report["sensor"])
        self.assertEqual(report["verdict"], "clean")
        self.assertNotIn("bytes", [h["family"] for h in report["sensor"]["hooks"]])
        self.assertTrue(all("bytesRead" not in f for f in report["files"]))


@needs_root
@needs_sensor
class Processes(Case):
    def test_processes_and_files_are_in_the_report(self):
        done = self.run_martlet("sh", "-c", "echo text > written; cat written > copied; rm written; exit 3")
        self.assertEqual(done.returncode, 3)
        report = self.report()
        names = [os.path.basename(p["executable"] or "") for p in report["processes"]]
        self.assertIn("cat", names)
        self.assertIn("rm", names)
        paths = {f["path"] for f in report["files"]}
        self.assertIn(self.path("copied"), paths)
        self.assertEqual(report["job"]["command"][:2], ["sh", "-c"])
        self.assertEqual(report["verdict"], "clean")

    def test_what_outlives_the_command_is_told_and_lives_on(self):
        done = self.run_martlet("sh", "-c", "sleep 600 >/dev/null 2>&1 & echo $!")
        pid = int(done.stdout)
        try:
            os.kill(pid, 0)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn(b"outlived", done.stderr)
            with open(self.path("martlet-report", "report.json")) as file:
                outlived = [p for p in json.load(file)["processes"] if p.get("outlivedCommand")]
            self.assertIn(pid, [p["pid"] for p in outlived])
        finally:
            os.kill(pid, signal.SIGKILL)

    def test_connections_that_outlive_the_command_are_told(self):
        talk = ("import os,socket,time\n"
                "server=socket.create_server(('127.0.0.1',0))\n"
                "port=server.getsockname()[1]\n"
                "ready,done=os.pipe()\n"
                "child=os.fork()\n"
                "if child==0:\n"
                "  accepted=server.accept()[0]\n"
                "  null=os.open('/dev/null',os.O_RDWR)\n"
                "  [os.dup2(null,fd) for fd in range(3)]\n"
                "  os.write(done,b'x')\n"
                "  time.sleep(600)\n"
                "client=socket.create_connection(('127.0.0.1',port))\n"
                "os.read(ready,1)\n"
                "print(child,port,client.getsockname()[1],flush=True)\n"
                "os._exit(0)\n")
        done = self.run_martlet(*python(talk))
        child, port, client = map(int, done.stdout.split())
        try:
            report = self.report()
            self.assertEqual(report["verdict"], "clean", done.stderr)
            pids = {p["id"]: p["pid"] for p in report["processes"]}
            flows = [f for f in report["network"] if f["direction"] == "inbound"]
            self.assertEqual([(pids[f["process"]], f["localPort"], f["remotePort"], f["state"]) for f in flows],
                             [(child, port, client, "established")])
            log = subprocess.run([MARTLET, "log", "cat", self.path("martlet-report", "events.ndjson.zst")],
                                 stdout=subprocess.PIPE, check=True).stdout
            lines = [json.loads(line) for line in log.splitlines() if b'"class_uid":4001' in line]
            named = [(line["activity_name"], line["src_endpoint"]["port"]) for line in lines]
            # A line for each end, none for the connect. The client's end may be over: its process is.
            ends = [n for n in named if n[0] not in ("bind", "listen")]
            self.assertEqual(sorted(n[1] for n in ends), sorted([port, client]))
            self.assertIn(("flow_open", port), ends)
            self.assertIn(dict((n[1], n[0]) for n in ends)[client], ("flow_open", "tcp_close"))
        finally:
            os.kill(child, signal.SIGKILL)

    def test_whom_connections_name_first(self):
        talk = ("import socket,ssl\n"
                "server=socket.create_server(('127.0.0.1',0))\n"
                "into,out=ssl.MemoryBIO(),ssl.MemoryBIO()\n"
                "hello=ssl.create_default_context().wrap_bio(into,out,server_hostname='Files.example.org')\n"
                "try: hello.do_handshake()\n"
                "except ssl.SSLWantReadError: pass\n"
                "hello=out.read()\n"
                "http=b'GET /?token=hunter2 HTTP/1.1\\r\\nHost: plain.example.org\\r\\n\\r\\n'\n"
                "for pieces in [hello],[hello[:9],hello[9:]],[http],[b'nobody\\n']:\n"
                "  client=socket.create_connection(server.getsockname())\n"
                "  client.setsockopt(socket.IPPROTO_TCP,socket.TCP_NODELAY,1)\n"
                "  accepted=server.accept()[0]\n"
                "  for piece in pieces: client.send(piece); accepted.recv(4096)\n"
                "  accepted.send(http)\n"
                "  client.close(); accepted.close()\n")
        for options in ((), ("--no-names",)):
            with self.subTest(options=options):
                done = self.run_martlet(*python(talk), options=options)
                self.assertEqual(done.returncode, 0, done.stderr)
                report = self.report()
                self.assertEqual(report["verdict"], "clean", report["reasons"])
                rows = [(row["direction"], row["repeats"] + 1, row.get("serverName")) for row in report["network"]
                        if row["kind"] == "tcp"]
                said = {"isHidden": False, "helloIsEncrypted": False}
                named = [] if options else [
                    ("outbound", 2, {"by": "tls", "name": "files.example.org", **said}),
                    ("outbound", 1, {"by": "http", "name": "plain.example.org", **said}), ("outbound", 1, None)]
                self.assertEqual([row for row in rows if row[0] == "outbound"], named or [("outbound", 4, None)])
                self.assertEqual({row[2] for row in rows if row[0] == "inbound"}, {None})
                with open(self.path("martlet-report", "report.html")) as file:
                    self.assertEqual("for files.example.org by its TLS" in file.read(), not options)
                log = subprocess.run([MARTLET, "log", "cat", self.path("martlet-report", "events.ndjson.zst")],
                                     stdout=subprocess.PIPE, check=True).stdout
                self.assertNotIn(b"hunter2", log.replace(talk.encode(), b""))
                self.assertEqual(log.count(b'"activity_name":"server_name"'), 0 if options else 3)

    def test_a_process_that_keeps_the_pipe_does_not_keep_martlet(self):
        process = self.start("sh", "-c", "sleep 600 & echo $!")
        pid = int(process.stdout.readline())
        try:
            self.assertEqual(process.wait(60), 0)
        finally:
            os.kill(pid, signal.SIGKILL)

    def test_leaving_the_session_does_not_leave_the_job(self):
        done = self.run_martlet("sh", "-c", "setsid sh -c '(touch far-away &)'; sleep 0.3")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(self.path("far-away"), {f["path"] for f in self.report()["files"]})

    def test_a_fork_bomb_in_a_pids_cgroup(self):
        group = self.pids_group()
        bomb = ("import os,time\n"
                "end=time.monotonic()+2\n"
                "while time.monotonic()<end:\n"
                "  try: os.fork()\n"
                "  except OSError: time.sleep(0.05)\n")
        enter = "echo $$ > %s/cgroup.procs; exec %s -c '%s'" % (group, sys.executable, bomb)
        try:
            done = self.run_martlet("sh", "-c", enter)
            self.assertIn(done.returncode, (0, 1), done.stderr)
            report = self.report()
            self.assertGreater(len(report["processes"]), 50)
            # Lost or not: what was lost must be told.
            completeness = report["sensor"]["completeness"]
            lost = completeness["lost"]["critical"] + completeness["lost"]["bulk"]
            self.assertEqual(report["verdict"] == "incomplete", lost > 0 or completeness["mapFull"] != {} and
                             any(completeness["mapFull"].values()))
        finally:
            self.empty(group)

    def pids_group(self):
        with open("/proc/self/mountinfo") as file:
            mounts = file.read().splitlines()
        for line in mounts:
            mount, kind, options = line.split()[4], line.split(" - ")[1].split()[0], line.split(" - ")[1].split()[2]
            if kind == "cgroup" and "pids" in options.split(","):
                break
            if kind == "cgroup2" and "pids" in open(os.path.join(mount, "cgroup.controllers")).read().split():
                break
        else:
            self.skipTest("there is no pids controller")
        group = os.path.join(mount, "martlet-test-%d" % os.getpid())
        os.mkdir(group)
        if not os.path.exists(os.path.join(group, "pids.max")):
            os.rmdir(group)
            self.skipTest("the pids controller is not delegated")
        with open(os.path.join(group, "pids.max"), "w") as file:
            file.write("100")
        return group

    def empty(self, group):
        def is_empty():
            with open(os.path.join(group, "cgroup.procs")) as file:
                pids = file.read().split()
            for pid in pids:
                try:
                    os.kill(int(pid), signal.SIGKILL)
                except ProcessLookupError:
                    pass
            return not pids

        wait_until(is_empty)
        wait_until(lambda: self.remove(group))

    @staticmethod
    def remove(group):
        try:
            os.rmdir(group)
            return True
        except OSError:
            return False


@needs_sensor
class Refusals(Case):
    @needs_root
    def test_without_privileges_it_says_what_is_missing(self):
        os.chmod(self.scratch, 0o777)
        done = subprocess.run(
            ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", MARTLET, "run", "--", "touch", "ran"],
            capture_output=True, cwd=self.scratch)
        if b"Permission denied" in done.stderr and done.returncode in (126, 127):
            self.skipTest("the binary is where nobody can reach it")
        self.assertEqual((done.returncode, done.stdout), (125, b""), done.stderr)
        self.assertIn(b"root", done.stderr)
        self.assertIn(b"CAP_", done.stderr)
        self.assertIn(b"not run", done.stderr)
        self.assertEqual(os.listdir(self.scratch), [])

    @needs_root
    def test_without_bpf_the_command_is_not_run(self):
        # Without CAP_BPF, CAP_PERFMON and CAP_SYS_ADMIN even root is refused.
        done = subprocess.run(
            ["setpriv", "--bounding-set=-bpf,-perfmon,-sys_admin", MARTLET, "run", "--", "touch", "ran"],
            capture_output=True, cwd=self.scratch)
        self.assertEqual(done.returncode, 125, done.stderr)
        self.assertIn(b"not run", done.stderr)
        self.assertEqual(os.listdir(self.scratch), [])

    @needs_root
    def test_in_a_pid_namespace_it_says_so(self):
        done = subprocess.run(
            ["unshare", "--pid", "--fork", "--mount-proc", MARTLET, "run", "--", "touch", "ran"],
            capture_output=True, cwd=self.scratch)
        if b"unshare" in done.stderr:
            self.skipTest("cannot make a pid namespace")
        self.assertEqual(done.returncode, 125, done.stderr)
        self.assertIn(b"pid namespace", done.stderr)
        self.assertEqual(os.listdir(self.scratch), [])


@needs_root
@needs_sensor
class CommandLine(Case):
    def test_fail_on(self):
        # Nothing of a run of `true` is lost, so that only what was asked for decides.
        self.assertEqual(self.run_martlet("true", options=("--fail-on", "incomplete,findings")).returncode, 0)
        # A ring of one page cannot take this: a run with losses, which must be told.
        storm = python("import os\nfor i in range(30000): os.close(os.open('/proc/self/stat', os.O_RDONLY)); os.close(os.open('f%d' % (i % 997), os.O_CREAT|os.O_WRONLY))")
        done = self.run_martlet(*storm, options=("--fail-on", "incomplete", "--ring-size", "bulk=4K"))
        verdict = self.report()["verdict"]
        self.assertEqual(done.returncode, 3 if verdict == "incomplete" else 0, done.stderr)
        self.assertEqual(verdict, "incomplete", "the test needs losses to say anything")
        failing = self.run_martlet("sh", "-c", "exit 9", options=("--fail-on", "incomplete"))
        self.assertEqual(failing.returncode, 9)

    def test_version_and_help(self):
        for words in (["--version"], ["--help"], ["run", "--help"], ["log", "check", "--help"], []):
            done = subprocess.run([MARTLET, *words], capture_output=True)
            self.assertEqual((done.returncode, done.stderr), (0, b""), words)
            self.assertIn(b"martlet", done.stdout)

    def test_log_check_finds_a_change(self):
        self.run_martlet("sh", "-c", "ls > /dev/null")
        directory = self.path("martlet-report")
        log = os.path.join(directory, "events.ndjson.zst")
        check = subprocess.run([MARTLET, "log", "check", directory], capture_output=True)
        self.assertEqual(check.returncode, 0, check.stdout)
        head = self.report()["log"]["head"]
        self.assertIn(head.encode(), check.stdout)
        self.assertEqual(subprocess.run([MARTLET, "log", "check", "--head", head, log], capture_output=True).returncode, 0)
        for line in subprocess.run([MARTLET, "log", "cat", directory], capture_output=True).stdout.splitlines():
            json.loads(line)
        with open(log, "r+b") as file:
            file.seek(-9, os.SEEK_END)
            byte = file.read(1)
            file.seek(-9, os.SEEK_END)
            file.write(bytes([byte[0] ^ 1]))
        self.assertEqual(subprocess.run([MARTLET, "log", "check", directory], capture_output=True).returncode, 1)
        self.assertEqual(subprocess.run([MARTLET, "log", "check", self.path("none")], capture_output=True).returncode, 125)


if __name__ == "__main__":
    unittest.main()
