"""What a run records about the machine it ran on."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
from importlib import metadata
from typing import Any

import torch

PACKAGES = (
    "vqcore",
    "vq-cli",
    "torch",
    "numpy",
    "torchvision",
    "accelerate",
    "geoopt",
    "giotto-ph",
    "gudhi",
)


def describe_environment(device: torch.device, processes: int) -> dict[str, Any]:
    """Versions, device and threads, for env.json."""
    name = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else platform.processor() or platform.machine()
    )
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "device": str(device),
        "device_name": name,
        "threads": torch.get_num_threads(),
        "cpus": os.cpu_count(),
        "processes": processes,
        "packages": installed_versions(*PACKAGES),
    }


def installed_versions(*packages: str) -> dict[str, str]:
    """The versions of packages; one that is not installed is left out."""
    found = {}
    for package in packages:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found
