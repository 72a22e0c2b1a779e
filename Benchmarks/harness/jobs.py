# SPDX-License-Identifier: Apache-2.0
"""Whether a report and its event log have all that a job of storms/jobs.c did, and nothing of another's."""

import bisect
import datetime
import json
import re
import subprocess

from harness.measure import Failure

CANARY = re.compile(rb"canary[0-9]{4}")


class Findings:
    """What is missing, and what is another's; texts of the first of them."""

    def __init__(self):
        self.missing = 0
        self.foreign = 0
        self.examples = []

    def say(self, text):
        if len(self.examples) < 20:
            self.examples.append(text)

    def same(self, what, found, expected):
        """Everything expected was found as often as expected, and nothing else."""
        if found == expected:
            return
        if isinstance(expected, int):
            self.missing += max(0, expected - found)
            self.foreign += max(0, found - expected)
            self.say(f"{what}: {found} of {expected}")
            return
        lacks, has = expected - found, found - expected
        self.missing += len(lacks)
        self.foreign += len(has)
        for verb, names in (("lacks", lacks), ("has", has)):
            if names:
                self.say(f"{what}: {verb} {len(names)}, such as {min(names)}")


def expected_names(did):
    directory, canary = did["directory"], did["canary"]
    return {f"{directory}/{canary}-{index:06}" for index in range(did["files"])}


def check(martlet, did, report, findings):
    """Holds a job's own word against its report and its log."""
    check_report(did, report, findings)
    check_log(martlet, did, report, findings)


def check_report(did, report, findings):
    name = canary = did["canary"]
    rounds = did["rounds"]
    if report["verdict"] == "incomplete" or report["sensor"]["completeness"]["complete"] is not True:
        findings.missing += 1
        findings.say(f"{name}: the report is incomplete: {report['reasons']}")
    findings.same(f"{name}: processes in the report", len(report["processes"]), rounds + 1)
    findings.same(
        f"{name}: processes by argument",
        {argument for process in report["processes"] for argument in process["arguments"]
         if argument.startswith(canary + "-")},
        {f"{canary}-{index:06}" for index in range(rounds)})
    names = expected_names(did)
    findings.same(
        f"{name}: files written",
        {file["path"] for file in report["files"] if file["written"] and CANARY.search(file["path"].encode())}
        - {did["output"]}, names)
    findings.same(
        f"{name}: files renamed",
        {(change["path"], change["target"]) for change in report["changes"] if change["kind"] == "rename"},
        {(path + ".new", path) for path in names})
    flows = [flow for flow in report["network"] if flow["kind"] == "tcp" and flow["direction"] == "outbound"]
    findings.same(
        f"{name}: connections", sum(1 + flow["repeats"] for flow in flows if flow["remotePort"] == did["port"]), rounds)
    for flow in report["network"]:
        if flow["localAddress"] != did["address"] or did["port"] not in (flow["localPort"], flow["remotePort"]):
            findings.foreign += 1
            findings.say(f"{name}: a flow of another: {flow}")
    # Whatever the report says of whatever kind: no other's name is in it.
    for found in set(CANARY.findall(json.dumps(report, default=str).encode())) - {canary.encode()}:
        findings.foreign += 1
        findings.say(f"{name}: {found.decode()} is in the report")


def check_log(martlet, did, report, findings):
    name, canary, rounds = did["canary"], did["canary"].encode(), did["rounds"]
    reader = subprocess.Popen([str(martlet), "log", "cat", str(report["directory"])], stdout=subprocess.PIPE)
    counts = {kind: 0 for kind in ("fork", "exit", "tcp_close")}
    seen = {kind: set() for kind in ("exec", "create", "close", "rename", "read")}
    for line in reader.stdout:
        event = json.loads(line)
        kind = event.get("activity_name")
        if kind is None:
            continue
        for found in CANARY.findall(line):
            if found != canary:
                findings.foreign += 1
                findings.say(f"{name}: an event of {found.decode()}: {line[:300].decode(errors='replace')}")
        take(kind, event, did, counts, seen, findings)
    if reader.wait():
        raise Failure(f"martlet log cat ended with {reader.returncode}")
    names = expected_names(did)
    for kind, expected in (("fork", rounds), ("exit", rounds + 1), ("tcp_close", 2 * rounds)):
        findings.same(f"{name}: {kind} in the log", counts[kind], expected)
    findings.same(
        f"{name}: exec in the log", seen["exec"], {f"{did['canary']}-{index:06}" for index in range(rounds)})
    for kind in ("create", "close"):
        findings.same(f"{name}: {kind} in the log", seen[kind] - {did["output"]}, {path + ".new" for path in names})
    findings.same(f"{name}: rename in the log", seen["rename"], {(path + ".new", path) for path in names})
    findings.same(f"{name}: read in the log", seen["read"], names)


def take(kind, event, did, counts, seen, findings):
    """Sorts one line of the log."""
    if kind in counts:
        counts[kind] += 1
    if kind == "tcp_close":
        ends = [event.get("src_endpoint", {}), event.get("dst_endpoint", {})]
        if did["port"] not in [end.get("port") for end in ends] or {end.get("ip") for end in ends} != {did["address"]}:
            findings.foreign += 1
            findings.say(f"{did['canary']}: a connection of another: {event}")
    elif kind == "exec":
        argument = event["process"]["args"][-1]
        if argument.startswith(did["canary"] + "-"):
            seen["exec"].add(argument)
    elif kind in seen or kind == "open":
        path = event.get("file", {}).get("path", "")
        if did["canary"] not in path:
            return
        if kind == "open":
            kind = "create" if path.endswith(".new") else "read"
        if kind == "rename":
            path = (path, event["file_result"]["path"])
        seen[kind].add(path)


# MARK: - Jobs of which a part was not seen

def milliseconds(text):
    """Since the epoch, of a time in a report."""
    return round(datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000)


def check_spans(martlet, did, reports, findings):
    """Holds what reports of one job say that they did not see against what they have.

    Every round of the job that lies within what a report claims to have seen has to be whole in its log. Returns the seconds
    of which the reports say that nobody saw them; None if the last of them was still running when it was written.
    """
    name = did["canary"]
    gap = [None, None]
    for report in reports:
        reasons = {entry["reason"]: entry for entry in report["job"]["unseen"]}
        if report["verdict"] != "incomplete" or not reasons:
            findings.missing += 1
            findings.say(f"{name}: a part was not seen, and the report does not say so: {report['job']}")
            continue
        offset, events = did["offset"], read_rounds(martlet, did, report, findings)
        begin, end = 0, 1 << 62
        if entry := reasons.get("adopted"):
            # Both to the millisecond: what lies on the border is on neither side.
            begin = milliseconds(entry["until"]) * 1_000_000 + 1_000_000 - offset
            gap[0] = gap[0] or milliseconds(entry["from"])
            gap[1] = milliseconds(entry["until"])
        if entry := reasons.get("died") or reasons.get("stopped"):
            end = milliseconds(entry["from"]) * 1_000_000 - offset
            gap[0] = milliseconds(entry["from"])
            if "died" in reasons:
                gap[1] = gap[1] or milliseconds(entry["until"])
        renamed = {change["target"] for change in report["changes"] if change["kind"] == "rename"}
        for index, (before, after) in enumerate(did["times"]):
            if begin <= before and after <= end:
                check_round(did, index, (before, after), events, renamed, findings)
    return (gap[1] - gap[0]) / 1000 if None not in gap else None


def read_rounds(martlet, did, report, findings):
    """What a log has of a job: names by kind, and when connections ended."""
    events = {kind: set() for kind in ("exec", "create", "close", "rename", "read")}
    counts = {"fork": 0, "exit": 0, "tcp_close": 0}
    ends = []
    reader = subprocess.Popen([str(martlet), "log", "cat", str(report["directory"])], stdout=subprocess.PIPE)
    for line in reader.stdout:
        event = json.loads(line)
        kind = event.get("activity_name")
        if kind is None:
            continue
        take(kind, event, did, counts, events, findings)
        if kind == "tcp_close":
            ends.append(event["time"] * 1_000_000 + event["ns"] - did["offset"])
    if reader.wait():
        raise Failure(f"martlet log cat ended with {reader.returncode}")
    events["tcp_close"] = sorted(ends)
    return events


def check_round(did, index, times, events, renamed, findings):
    name, canary = f"{did['canary']}, round {index}", did["canary"]
    lacks = [] if f"{canary}-{index:06}" in events["exec"] else ["exec"]
    each = did["files"] // did["rounds"]
    for file in range(index * each, (index + 1) * each):
        path = f"{did['directory']}/{canary}-{file:06}"
        wanted = {"create": path + ".new", "close": path + ".new", "rename": (path + ".new", path), "read": path}
        lacks += [kind for kind, what in wanted.items() if what not in events[kind]]
        if path not in renamed:
            lacks.append("rename in the report")
    # The clocks are compared to some microseconds, and rounds are a millisecond apart.
    ends = bisect.bisect(events["tcp_close"], times[1] + 300_000) - bisect.bisect(events["tcp_close"], times[0] - 300_000)
    if ends != 2:
        lacks.append(f"{2 - ends} ends of a connection")
    if lacks:
        findings.missing += len(lacks)
        findings.say(f"{name}: lacks {', '.join(lacks)}")
