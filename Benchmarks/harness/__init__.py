# SPDX-License-Identifier: Apache-2.0
"""The benchmark runner's parts: estimates, measuring, modes, scenarios, thresholds."""
