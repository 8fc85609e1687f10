"""Threads of torch, and how many processors there are for them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from vq.doctor.finding import Finding, Problem
from vqcore.errors import shown

_NUMBERS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
_VARIABLES = (*_NUMBERS, "OMP_WAIT_POLICY")
_CGROUP = Path("/sys/fs/cgroup")


def threads(of_torch: int | None) -> Finding:
    """The settings, and a warning where torch takes more threads than it may use.

    Args:
        of_torch: how many threads torch takes by default; None if it did not say.
    """
    allowed, limit = _allowed(), cgroup_limit()
    facts = {
        **{name: os.environ.get(name) for name in _VARIABLES},
        "torch": of_torch,
        "cpus": os.cpu_count(),
        "allowed_cpus": allowed,
        "cgroup_cpus": limit,
    }
    usable = min(allowed or 1, max(1, round(limit))) if limit else allowed
    problems = list(_ignored(usable))
    if of_torch and usable and of_torch > usable:
        text = f"torch takes {of_torch} threads, and this process may use {usable} processors"
        problems.append(Problem("warning", text, f"set OMP_NUM_THREADS={usable}"))
    return Finding(facts, problems)


def _ignored(usable: int | None) -> Iterator[Problem]:
    """Invalid numbers of threads, which OpenMP and MKL ignore."""
    for name in _NUMBERS:
        value = os.environ.get(name, "")
        if value and not re.fullmatch(r"\s*[1-9]\d*\s*(,\s*[1-9]\d*\s*)*", value):
            text = f"{name} = {shown(value)} has no effect: expected a number of threads"
            yield Problem("warning", text, f"set {name}={usable or 1}, or unset it")


def cgroup_limit(root: Path = _CGROUP) -> float | None:
    """How many processors the group of this process may use at a time; None without a limit."""
    try:
        quota, period = (root / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (root / "cpu" / "cpu.cfs_quota_us").read_text().strip()
            period = (root / "cpu" / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    try:
        share = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):  # max
        return None
    return round(share, 2) if share > 0 else None


def _allowed() -> int | None:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        return os.cpu_count()
