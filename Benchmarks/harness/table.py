# SPDX-License-Identifier: Apache-2.0
"""The verdicts and the table that people read."""


def judge(results, limits):
    """One verdict per threshold, and one per scenario for losses, which no figure excuses."""
    verdicts = []

    def add(scenario, what, value, limit):
        verdicts.append(
            {"scenario": scenario, "what": what, "value": value, "limit": limit, "kept": value <= limit})

    for name, entry in results["scenarios"].items():
        martlet = entry["modes"].get("martlet")
        if not martlet:
            continue
        add(name, "records lost", martlet["lost"], 0)
        limit = limits.get(name, {})
        if "ratio" in limit:
            add(name, "CPU ratio, upper end", martlet["ratio"]["high"], limit["ratio"])
        if "share" in limit:
            add(name, "martlet's share, upper end", martlet["share"]["high"], limit["share"])
        if "seconds" in limit:
            add(name, "seconds, upper end", martlet["wholeSeconds"]["high"], limit["seconds"])
        if "mebibytes" in limit and "memory" in entry:
            add(name, "MiB beside the rings", entry["memory"]["beside"] / 2**20, limit["mebibytes"])
    return verdicts


def table(results):
    """Markdown: one row per scenario and mode, then the verdicts."""
    host = results["machine"]
    lines = [
        f"Linux {host['kernel']}, {host['cpus']} CPUs of {host['processor']}, {results['pairs']} pairs, {host['at']}",
        "",
        "| workload | mode | CPU s, median (range) | CPU ratio, median (range) | 95 % interval | wall ratio | n |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, entry in results["scenarios"].items():
        for mode, figures in entry["modes"].items():
            cpu = figures["cpuSeconds"]
            row = [name, mode, f"{cpu['median']:.3f} ({cpu['least']:.3f} to {cpu['greatest']:.3f})"]
            if "ratio" in figures:
                ratio = figures["ratio"]
                bound = " (upper bound)" if figures.get("costIsUpperBound") else ""
                interval = f"{ratio['low']:.3f} to {ratio['high']:.3f}{bound}" if ratio["count"] > 1 else ""
                row += [
                    f"{ratio['median']:.3f} ({ratio['least']:.3f} to {ratio['greatest']:.3f})",
                    interval,
                    f"{figures['wallRatio']['median']:.3f}",
                ]
            else:
                row += ["", "", ""]
            lines.append("| " + " | ".join([*row, str(cpu["count"])]) + " |")
        for mode, reason in entry.get("failed", {}).items():
            lines.append(f"| {name} | {mode} | failed: {reason.splitlines()[0]} | | | | |")
        if "memory" in entry:
            memory = {key: value / 2**20 for key, value in entry["memory"].items()}
            lines.append(
                f"| {name} | memory | {memory['beside']:.1f} MiB beside the rings, "
                f"{memory['rings']:.1f} MiB of rings mapped | | | | 1 |")
    if results["verdicts"]:
        lines += ["", "| threshold | value | limit | |", "|---|---|---|---|"]
    for verdict in results["verdicts"]:
        lines.append(
            f"| {verdict['scenario']}: {verdict['what']} | {verdict['value']:.3f} | {verdict['limit']:g} | "
            f"{'kept' if verdict['kept'] else 'MISSED'} |")
    return "\n".join(lines)
