"""Where the prior of a run is stored. Torch-free."""

from __future__ import annotations

from pathlib import Path

from vqcore.errors import UsageError


def require_prior(run: Path) -> Path:
    """The folder of the prior of a run folder.

    Raises:
        UsageError: if there is none.
    """
    folder = run / "prior"
    if not folder.is_dir():
        raise UsageError(f"{run} has no prior yet: train one with: vq prior {run}")
    return folder
