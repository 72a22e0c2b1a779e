"""`martlet policy`: what it says of files, and of the report of a real run."""
import json
import os
import re
import socket
import subprocess
import threading
import unittest

from harness import MARTLET, PATIENCE, ROOT, Case, needs_root, needs_sensor


@needs_sensor
class PolicyFiles(Case):
    def policy(self, *arguments):
        return subprocess.run(
            [MARTLET, "policy", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=self.scratch,
            timeout=PATIENCE)

    def file(self, name, text):
        with open(self.path(name), "w") as file:
            file.write(text)
        return name

    def test_mistakes_have_places_and_a_status(self):
        self.file("good.yaml", "version: 1\nsystem: {deny: [bpf]}\n")
        self.file("bad.yaml", "version: 1\nsystem:\n  deny: [bfp]\nsteps: []\n")
        good = self.policy("check", "good.yaml")
        self.assertEqual((good.returncode, good.stderr), (0, ""))
        self.assertRegex(good.stdout, r"^good\.yaml: 1 rule, digest [0-9a-f]{64}\n$")
        both = self.policy("check", "good.yaml", "bad.yaml", "missing.yaml")
        self.assertEqual(both.returncode, 1)
        self.assertEqual(
            both.stdout.splitlines()[1:],
            ["bad.yaml:3:10: there is no word 'bfp'; did you mean 'bpf'?",
             "bad.yaml:4:1: there is no key 'steps'; there is version, network, exec, files, memory, system, "
             "requirePrevention or onSensorError",
             "missing.yaml:1:1: cannot be read: No such file or directory"])
        answer = json.loads(self.policy("check", "--json", "good.yaml", "bad.yaml").stdout)
        self.assertEqual([(f["valid"], f["rules"], len(f["problems"])) for f in answer["files"]],
                         [(True, 1, 0), (False, None, 2)])
        self.assertEqual(answer["files"][1]["problems"][0]["line"], 3)

    def test_what_the_documentation_shows_can_be_used(self):
        with open(os.path.join(ROOT, "docs", "policy.md")) as file:
            example = re.search(r"```yaml\n(version: 1\n.*?)```", file.read(), re.S).group(1)
        self.file("example.yaml", example)
        result = self.policy("check", "example.yaml")
        self.assertEqual(result.returncode, 0, result.stdout)

    def test_the_schema_is_json(self):
        schema = json.loads(self.policy("schema").stdout)
        self.assertEqual(schema["required"], ["version"])
        self.assertIn("host", schema["properties"]["network"]["properties"]["allow"]["items"]["properties"])

    def test_differences_have_a_status(self):
        self.file("old.yaml", "version: 1\nnetwork:\n  default: deny\n  allow:\n    - {host: a.example}\n")
        self.file("new.yaml", "version: 1\nnetwork:\n  default: deny\n  allow:\n    - {host: b.example}\n")
        same = self.policy("diff", "old.yaml", "old.yaml")
        self.assertEqual((same.returncode, same.stdout), (0, ""))
        differs = self.policy("diff", "old.yaml", "new.yaml")
        self.assertEqual(differs.returncode, 1)
        self.assertEqual(
            differs.stdout,
            "+ network: {host: b.example}: deny, now allow by line 5\n"
            "- network: {host: a.example}: allow by line 5, now deny\n")
        answer = json.loads(self.policy("diff", "--json", "old.yaml", "new.yaml").stdout)
        self.assertEqual([d["isWider"] for d in answer["differences"]], [False, True])
        self.assertEqual(self.policy("diff", "old.yaml", "missing.yaml").returncode, 125)

    def test_a_repository_narrows(self):
        self.file("node.yaml", "version: 1\nsystem: {deny: [bpf]}\n")
        self.file("repository.yaml", "version: 1\nsystem: {default: deny, allow: [bpf, mount]}\n")
        result = self.policy("narrow", "node.yaml", "repository.yaml")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.file("both.yaml", result.stdout)
        digest = re.search(r"^# digest: ([0-9a-f]{64})\n", result.stdout).group(1)
        self.assertIn(digest, self.policy("check", "both.yaml").stdout)
        self.assertIn("default: deny", result.stdout)
        self.assertIn("- {deed: bpf}", result.stdout.split("allow:")[0])
        self.file("other.yaml", "version: 1\nnetwork: {resolvers: [10.0.0.1]}\n")
        self.file("another.yaml", "version: 1\nnetwork: {resolvers: [10.0.0.2]}\n")
        self.assertEqual(self.policy("narrow", "other.yaml", "another.yaml").returncode, 1)

    @needs_root
    def test_a_run_passes_under_what_was_learnt_from_it(self):
        server = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(server.close)
        threading.Thread(target=lambda: server.accept()[0].close(), daemon=True).start()
        port = server.getsockname()[1]
        self.file("source", "")
        program = f"import socket; socket.create_connection(('127.0.0.1', {port})); open('made', 'w').close()"
        run = self.run_martlet("sh", "-c", f'python3 -c "{program}"; :')
        self.assertEqual(run.returncode, 0, run.stderr)
        learned = self.policy("learn", "martlet-report")
        self.assertEqual(learned.returncode, 0, learned.stderr)
        self.assertIn("address: 127.0.0.1, ports: [", learned.stdout)
        self.assertIn("default: deny", learned.stdout)
        self.assertIn("- {memfd: true}", learned.stdout)
        self.assertRegex(learned.stdout, r"protect: \[sources, pipelines")
        self.file("learned.yaml", learned.stdout)

        explained = json.loads(self.policy("explain", "--json", "learned.yaml", "martlet-report").stdout)
        self.assertEqual([e for e in explained["events"] if e["action"] != "allow"], [])
        connects = [e for e in explained["events"] if e["what"] == f"connect to 127.0.0.1:{port}/tcp"]
        self.assertEqual([(e["by"], e["rule"]) for e in connects], [("rule", 1)])
        self.assertRegex(connects[0]["executable"], "python3")

        # Under a policy that was not learnt from it, each thing is told with its reason.
        self.file("strict.yaml", "version: 1\nnetwork: {default: deny}\nfiles: {deny: [{write: made}]}\n"
                  "exec:\n  deny:\n    - {path: '**/sh', action: kill}\n    - {path: '**/dash', action: kill}\n")
        text = self.policy("explain", "strict.yaml", "martlet-report").stdout
        self.assertRegex(text, rf"(?m)^  network's default: connect to 127\.0\.0\.1:{port}/tcp, by .*python3")
        self.assertRegex(text, r"(?m)^  line 3: write /.*/made, by .*python3")
        self.assertRegex(text, r"(?s)^kill: .*line [67]: execute .*deny: ")

    def test_what_is_no_report_is_refused(self):
        os.mkdir(self.path("empty"))
        self.assertEqual(self.policy("learn", "empty").returncode, 125)
        os.mkdir(self.path("broken"))
        self.file("broken/report.json", '{"schema":')
        result = self.policy("learn", "broken")
        self.assertEqual((result.returncode, result.stdout), (125, ""))
        self.assertIn("broken is no report.json", result.stderr)


if __name__ == "__main__":
    unittest.main()
