"""The machine and the Python on it."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from pathlib import Path

from vq.doctor.finding import Finding
from vqcore.plugin.registry import Registry


def machine(_: Registry) -> Finding:
    """Python, system, processor and memory."""
    return Finding(
        {
            "python": f"{platform.python_implementation()} {platform.python_version()}",
            "system": platform.platform(),
            "machine": platform.machine(),
            "memory_gib": _memory(),
            "container": any(map(os.path.exists, ("/.dockerenv", "/run/.containerenv"))),
        }
    )


def _memory() -> float | None:
    """Of this machine, or what a container may use of it, in GiB; None where nobody says."""
    limits = []
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            limits.append(int(Path(file).read_text()))
        except (OSError, ValueError):  # another version of cgroups, or no limit
            continue
    with suppress(AttributeError, ValueError, OSError):  # Windows
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return round(min(limits) / 2**30, 1) if limits else None
