"""The settings of published models by name, each a config file beside this one. Torch-free."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vq.config.config_file import read_config
from vqcore.errors import UsageError, did_you_mean, shown

_FOLDER = Path(__file__).parent
#: The names, as ``vq train --preset`` takes them.
PRESETS: tuple[str, ...] = tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))


def read_preset(name: str) -> dict[str, Any]:
    """Plain values of a preset, to be merged over the defaults.

    Raises:
        UsageError: if there is no preset of that name.
    """
    if name not in PRESETS:
        hint = did_you_mean(name, PRESETS) or f"expected one of {', '.join(PRESETS)}"
        raise UsageError(f"--preset = {shown(name)}: {hint}")
    return read_config(_FOLDER / f"{name}.yaml")
