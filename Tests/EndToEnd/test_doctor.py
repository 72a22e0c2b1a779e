"""martlet doctor: what a person and a program are told, and the exit status."""
import json
import os
import stat
import subprocess
import tarfile
import unittest

from harness import MARTLET, Case, needs_root, needs_sensor


@needs_sensor
class Doctor(Case):
    def doctor(self, *options, prefix=()):
        return subprocess.run(
            [*prefix, MARTLET, "doctor", *options], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, timeout=60)

    @needs_root
    def test_says_what_is_seen_and_by_which_hooks(self):
        result = self.doctor()
        text = result.stdout.decode()
        self.assertEqual(result.returncode, 0, text)
        self.assertEqual(result.stderr, b"")
        self.assertIn(os.uname().release, text)
        self.assertRegex(text, r"process +fork +tp_btf sched_process_fork\n")
        self.assertTrue(text.endswith("A run here would be complete.\n"), text)

    @needs_root
    def test_json_has_the_same(self):
        result = self.doctor("--json")
        self.assertEqual(result.returncode, 0)
        report = json.loads(result.stdout)
        self.assertEqual(report["schema"], "martlet.doctor/v1")
        self.assertIs(report["complete"], True)
        self.assertEqual(report["problems"], [])
        functions = {(f["family"], f["function"]): f for f in report["functions"]}
        fork = functions["process", "fork"]
        self.assertEqual(
            fork["hooks"], [{"kind": "tp_btf", "target": "sched_process_fork", "program": "sched_process_fork"}])
        self.assertTrue(fork["proven"])
        kinds = {k["kind"]: k for k in report["kinds"]}
        self.assertEqual(kinds["tp_btf"]["outcome"], "fires")
        for kind in kinds.values():
            self.assertEqual(kind["outcome"] == "fires", "reason" not in kind, kind)
        # What was not chosen has a reason.
        for function in functions.values():
            for other in function["passedOver"]:
                self.assertTrue(other["reason"], function)

    @needs_root
    def test_what_the_kernel_allows_follows_from_what_was_tried(self):
        report = json.loads(self.doctor("--json").stdout)
        fires = {k["kind"] for k in report["kinds"] if k["outcome"] == "fires"}
        controls = {c["control"]: c["allows"] for c in report["controls"]}
        self.assertEqual(set(controls), {"network", "packet sockets", "exec", "files", "memory"})
        self.assertEqual(controls["network"] == "deny", bool(fires & {"cgroup", "lsm", "fmod_ret"}))
        others = "deny" if fires & {"lsm", "fmod_ret"} else (
            "kill" if report["signals"]["outcome"] == "fires" else "detect")
        self.assertEqual({c for name, c in controls.items() if name != "network"}, {others})
        self.assertIn("What this kernel allows", self.doctor().stdout.decode())

    @needs_root
    def test_a_bundle_has_all_of_it_and_no_host_name(self):
        bundle = self.path("bundle.tar")
        os.environ["MARTLET_TEST_SECRET"] = "hunter2-in-the-environment"
        self.addCleanup(os.environ.pop, "MARTLET_TEST_SECRET")
        result = self.doctor("--json", "--bundle", bundle)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(stat.S_IMODE(os.stat(bundle).st_mode), 0o600)
        with tarfile.open(bundle) as archive:
            content = {m.name: archive.extractfile(m).read() for m in archive.getmembers()}
            self.assertTrue(all(m.isfile() and m.uid == 0 for m in archive.getmembers()))
        self.assertEqual(
            set(n for n in content if "/verifier/" not in n),
            {"martlet-doctor/" + n for n in ("doctor.json", "doctor.txt", "uname.txt", "kernel-config.txt")})
        self.assertEqual(content["martlet-doctor/doctor.json"], result.stdout)
        self.assertIn(os.uname().release.encode(), content["martlet-doctor/uname.txt"])
        # The system's own tar reads it, too.
        listed = subprocess.run(["tar", "-tf", bundle], stdout=subprocess.PIPE, check=True).stdout.decode().split()
        self.assertEqual(listed, list(content))
        everything = b"".join(content.values())
        self.assertNotIn(b"hunter2", everything)
        if len(os.uname().nodename) > 3:
            self.assertNotIn(os.uname().nodename.encode(), everything)
        # What is there is not overwritten, nor what a link leads to.
        self.assertEqual(self.doctor("--bundle", bundle).returncode, 125)
        os.symlink(self.path("elsewhere"), self.path("link"))
        self.assertEqual(self.doctor("--bundle", self.path("link")).returncode, 125)
        self.assertFalse(os.path.exists(self.path("elsewhere")))

    @needs_root
    def test_mounts_the_cgroup_hierarchy_for_itself_where_the_system_has_not(self):
        bare = self.script("bare", """#!/bin/sh
            for mount in $(awk '$0 ~ / - cgroup2 / { print $5 }' /proc/self/mountinfo); do umount -l "$mount" || exit 77; done
            exec "$@"
            """)
        prefix = ("unshare", "--mount", bare)
        report = json.loads(self.doctor("--json", prefix=prefix).stdout)
        facts = {fact["name"]: fact["value"] for fact in report["facts"]}
        self.assertEqual(facts["cgroup2"], "not mounted; martlet mounts it for itself")
        self.assertIs(report["complete"], True)
        connect = "import socket; s = socket.create_server(('127.0.0.1', 0)); socket.create_connection(s.getsockname())"
        done = subprocess.run(
            [*prefix, *self.words("python3", "-c", connect)], cwd=self.scratch, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.report()["sensor"]["completeness"]["lost"], {"critical": 0, "bulk": 0})
        self.assertTrue(any(flow["remoteAddress"] == "127.0.0.1" for flow in self.report()["network"]))
        self.assertNotIn("cgroup2", "".join(line for line in open("/proc/self/mountinfo") if "martlet" in line))

    @needs_root
    def test_a_tier_is_forced_or_refused_with_a_reason(self):
        result = self.doctor("--json", "--hooks", "tp_btf")
        self.assertEqual(result.returncode, 0)
        report = json.loads(result.stdout)
        self.assertEqual(report["forcedTier"], "tp_btf")
        for function in report["functions"]:
            self.assertIn(function.get("tier", "tp_btf"), ("tp_btf", "raw_tp", "tracepoint"), function)
        # There is no program of this kind, and there are no hooks of a kind that does not exist.
        report = json.loads(self.doctor("--json", "--hooks", "raw_tp").stdout)
        self.assertEqual(report["error"]["code"], "tierUnavailable")
        self.assertEqual(report["functions"], [])
        self.assertEqual(self.doctor("--hooks", "xdp").returncode, 125)

    @needs_root
    def test_a_run_can_be_told_which_hooks_to_use(self):
        result = self.run_martlet("true", options=["--hooks", "tp_btf"])
        self.assertEqual(result.returncode, 0, result.stderr)
        forced = self.report()["sensor"]["forcedHooks"]
        self.assertEqual(forced["tier"], "tp_btf")
        result = self.run_martlet("touch", "ran", options=["--hooks", "raw_tp"])
        self.assertEqual(result.returncode, 125)
        self.assertIn(b"raw_tp", result.stderr)
        self.assertFalse(os.path.exists(self.path("ran")), "the command was run all the same")

    @needs_root
    def test_without_capabilities_it_says_what_is_missing_and_what_to_do(self):
        plain = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps=-all"]
        if subprocess.run([*plain, "test", "-x", MARTLET]).returncode:
            self.skipTest("the binary is closed to other users")
        result = self.doctor("--json", prefix=plain)
        self.assertEqual(result.returncode, 1)
        report = json.loads(result.stdout)
        self.assertIs(report["complete"], False)
        self.assertEqual(report["error"]["code"], "notRoot")
        self.assertEqual(report["functions"], [])
        self.assertTrue(any("CAP_BPF" in p["problem"] for p in report["problems"]), report["problems"])
        text = self.doctor(prefix=plain).stdout.decode()
        self.assertIn("martlet cannot run here.", text)
        self.assertIn("Run martlet as root", text)

    @needs_root
    def test_leaves_nothing_behind(self):
        def programs():
            found = subprocess.run(["bpftool", "prog", "show"], stdout=subprocess.PIPE)
            return found.stdout.decode().count("martlet_trial")

        try:
            before = programs()
        except FileNotFoundError:
            self.skipTest("no bpftool")
        self.doctor()
        self.assertEqual(programs(), before)


if __name__ == "__main__":
    unittest.main()
