"""Which weights and which software made a file: what everything written from a run says about its origin."""

from __future__ import annotations

import hashlib
from pathlib import Path

from vq.checkpoints.checkpoint import WEIGHTS
from vq.models.bottlenecks.continuous import no_codes
from vq.runs.environment import installed_versions
from vq.runs.trained_run import TrainedRun


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def model_of(run: TrainedRun) -> dict[str, str]:
    """The run's name, its checkpoint, and the SHA-256 of that checkpoint's weights file."""
    weights = run.checkpoint / WEIGHTS
    return {
        "run": run.folder.path.resolve().name,
        "checkpoint": run.checkpoint.name,
        "sha256": sha256_of(weights),
    }


def versions(*packages: str) -> dict[str, str]:
    """The versions of vqcore, vq-cli, torch and the packages named; one that is not installed is left out."""
    return installed_versions("vqcore", "vq-cli", "torch", *packages)


def require_codes(run: TrainedRun) -> None:
    """Refuse a run whose samples never become indices.

    Raises:
        SettingError: for the baselines without a quantizer.
    """
    if not run.model.has_codes:
        raise no_codes(run.config.settings.bottleneck)
