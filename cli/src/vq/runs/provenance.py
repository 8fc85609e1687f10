"""Where a file comes from: the weights, the software and the machine that made it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from vq.checkpoints.checkpoint import WEIGHTS
from vq.models.bottlenecks.continuous import no_codes
from vq.runs.trained_run import TrainedRun
from vqcore.errors import SettingError, printable

#: Packages that env.json records beside those of ``versions``.
RECORDED = ("numpy", "torchvision", "accelerate", "geoopt", "giotto-ph", "gudhi")


def describe_environment(device: torch.device, processes: int) -> dict[str, Any]:
    """Versions, device and threads, for env.json."""
    on_gpu = device.type == "cuda"
    cpu = platform.processor() or platform.machine()
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if on_gpu else cpu,
        "threads": torch.get_num_threads(),
        "cpus": os.cpu_count(),
        "processes": processes,
        "packages": versions(*RECORDED),
    }


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def model_of(run: TrainedRun) -> dict[str, str]:
    """The names of the run and its checkpoint, and the SHA-256 of the weights."""
    weights = run.checkpoint / WEIGHTS
    return {
        "run": printable(run.folder.path.resolve().name),
        "checkpoint": run.checkpoint.name,
        "sha256": sha256_of(weights),
    }


def versions(*packages: str) -> dict[str, str]:
    """The versions of vqcore, vq-cli, torch and these packages, as far as they are installed."""
    found = {}
    for package in ("vqcore", "vq-cli", "torch", *packages):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def require_codes(run: TrainedRun) -> None:
    """Refuse a run whose model has no codes.

    Raises:
        SettingError: for the baselines without a quantizer.
    """
    if not run.model.has_codes:
        raise no_codes(run.config.settings.bottleneck)


def require_samples(run: TrainedRun, command: str) -> None:
    """Refuse a classifier, whose codes do not lead back to samples.

    Raises:
        SettingError: that names its backbone, and the ``command`` that is of no use for it.
    """
    if run.model.classifies:
        name = run.config.components["backbone"].spec.name
        expected = f"one that decodes codes to samples, as {command} does: this one tells classes"
        raise SettingError("backbone", name, expected, "train one with backbone = conv")
