# SPDX-License-Identifier: Apache-2.0
"""Medians, ranges and 95 % intervals of paired measurements."""

import math
import statistics

# Two-sided 95 % points of Student's t for 1 to 30 degrees of freedom; beyond, the approximation below.
STUDENT = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
    2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
]


def student(degrees):
    """The two-sided 95 % point of Student's t."""
    if degrees < 1:
        return math.inf
    if degrees <= len(STUDENT):
        return STUDENT[degrees - 1]
    # Cornish-Fisher about the normal's 1.95996; within 0.001 from 30 degrees on.
    z = 1.959964
    return z + (z**3 + z) / (4 * degrees) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)


def summary(values):
    """Median, range, mean and its 95 % interval."""
    values = list(values)
    mean = statistics.fmean(values)
    half = math.inf
    if len(values) > 1:
        half = student(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return {
        "count": len(values),
        "median": statistics.median(values),
        "least": min(values),
        "greatest": max(values),
        "mean": mean,
        "low": mean - half,
        "high": mean + half,
    }


def ratio_summary(pairs):
    """The same for ratios, whose mean and interval are taken of their logarithms.

    A ratio of 2 and one of 1/2 then balance, and the interval cannot reach below zero.
    """
    ratios = [with_sensor / bare for with_sensor, bare in pairs]
    logs = summary(math.log(ratio) for ratio in ratios)
    result = summary(ratios)
    result["mean"] = math.exp(logs["mean"])
    result["low"] = math.exp(logs["low"])
    result["high"] = math.exp(logs["high"]) if math.isfinite(logs["high"]) else math.inf
    return result
