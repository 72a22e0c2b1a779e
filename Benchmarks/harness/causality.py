# SPDX-License-Identifier: Apache-2.0
"""Whether an event log shows each effect after its cause; the causes are those of storms/causal.c."""

import json
import re
from dataclasses import dataclass, field

PAIR = re.compile(r"(?:^|/)([ps]/[0-9]{8})$")
# What happens to a pair's file, in order.
CREATED, CLOSED, READ, REMOVED = range(1, 5)
STEPS = {CREATED: "created", CLOSED: "closed", READ: "read", REMOVED: "removed"}


@dataclass
class Result:
    lines: int = 0
    checked: int = 0
    violations: int = 0
    complete: int = 0
    out_of_time: int = 0
    examples: list = field(default_factory=list)


class Checker:
    def __init__(self):
        self.result = Result()
        self.files = {}
        self.names = {}
        self.alive = None
        self.ran = set()
        self.last = 0

    def violation(self, line, text):
        self.result.violations += 1
        if len(self.result.examples) < 10:
            self.result.examples.append(f"line {self.result.lines}: {text}: {line.decode(errors='replace').strip()[:300]}")

    def take(self, line):
        event = json.loads(line)
        kind = event.get("activity_name")
        if kind is None:
            return
        self.result.lines += 1
        moment = event["time"] * 1_000_000 + event["ns"]
        if moment < self.last:
            self.result.out_of_time += 1
        self.last = max(self.last, moment)
        self.process(line, event, kind)
        if kind in ("open", "close", "unlink"):
            file = event.get("file", {})
            found = PAIR.search(file.get("path", ""))
            if found:
                name = found.group(1)
                if kind == "open":
                    self.names[file.get("uid")] = name
            else:
                # Beyond a million files the fold keeps no names: a close then has its file's identity alone.
                name = self.names.get(file.get("uid")) if kind == "close" and "path" not in file else None
            if name:
                self.file(line, event, kind, name)

    def process(self, line, event, kind):
        pid = event["actor"]["process"]["pid"]
        if self.alive is None:
            # The job's first process was there before it was watched.
            self.alive = {pid}
        self.result.checked += 1
        if pid not in self.alive and not (kind == "close" and event.get("why") == "exit"):
            self.violation(line, f"process {pid} acts before its fork or after its exit")
        if kind == "fork":
            self.alive.add(event["process"]["pid"])
        elif kind == "exec":
            self.ran.add(pid)
        elif kind == "exit":
            self.alive.discard(pid)
            self.ran.discard(pid)

    def file(self, line, event, kind, name):
        if kind == "close":
            step = CLOSED
        elif kind == "unlink":
            step = REMOVED
        else:
            step = CREATED if event["access_mask"] & 3 else READ
        self.result.checked += 1
        before = self.files.get(name, 0)
        if step != before + 1:
            self.violation(line, f"{name} is {STEPS[step]} when it was {STEPS.get(before, 'not there')}")
        if name[0] == "s" and step == CREATED and event["actor"]["process"]["pid"] not in self.ran:
            self.violation(line, "a program acts before its exec")
        self.files[name] = step
        if step == REMOVED:
            # Told whole, whatever the order was.
            self.result.complete += 1


def check_log(lines):
    """Reads lines of `martlet log cat`, as bytes."""
    checker = Checker()
    for line in lines:
        checker.take(line)
    return checker.result
