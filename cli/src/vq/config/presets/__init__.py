"""The settings of published models by name, each a config file beside this one. Torch-free."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vqcore.errors import UsageError, did_you_mean

_FOLDER = Path(__file__).parent
#: The names, as ``vq train --preset`` takes them.
PRESETS: tuple[str, ...] = tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))


def read_preset(name: str) -> dict[str, Any]:
    """Plain values of a preset, to be laid over the defaults.

    Raises:
        UsageError: if there is none of that name.
    """
    from vq.config.run_config import read_config

    if name not in PRESETS:
        known = f"expected one of {', '.join(PRESETS)}"
        raise UsageError(f"--preset = {name!r}: {did_you_mean(name, PRESETS) or known}")
    return read_config(_FOLDER / f"{name}.yaml")
