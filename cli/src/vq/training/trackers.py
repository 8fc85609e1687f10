"""TensorBoard, W&B and whatever else Accelerate knows, beside metrics.jsonl."""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker, get_available_trackers

from vq.runs.files import write_text
from vqcore.errors import ComponentError, SettingError, did_you_mean

#: Extras of ``vq-cli`` that bring a tracker's package.
EXTRAS = ("tensorboard", "wandb")


def check_trackers(names: Sequence[str]) -> None:
    """Refuse a tracker that cannot be had, before anything is begun.

    Raises:
        SettingError: for a name that Accelerate does not know.
        ComponentError: for one whose package is not installed.
    """
    there = {str(name.value) for name in get_available_trackers()}
    for name in names:
        if name not in LOGGER_TYPE_TO_CLASS:
            expected = (
                did_you_mean(name, LOGGER_TYPE_TO_CLASS)
                or f"any of {', '.join(sorted(LOGGER_TYPE_TO_CLASS))}"
            )
            raise SettingError("trackers", name, expected)
        if name not in there:
            package = f"vq-cli[{name}]" if name in EXTRAS else name
            raise ComponentError(f"trackers: {name!r} is not installed; pip install '{package}'")


def start_trackers(
    names: Sequence[str], folder: Path, settings: Mapping[str, Any], step: int
) -> list[GeneralTracker]:
    """Open the trackers of a run. TensorBoard writes to ``tensorboard/`` in the run folder.

    Args:
        names: of Accelerate's trackers.
        folder: the run folder.
        settings: the resolved config, to be shown beside the figures.
        step: steps done: what an earlier part of the run logged later is dropped where the tracker can do that.
    """
    trackers = []
    for name in names:
        made = LOGGER_TYPE_TO_CLASS[name]
        if name == "tensorboard":
            tracker = made("tensorboard", logging_dir=folder, purge_step=step + 1 if step else None)
        elif name == "wandb":
            tracker = made(
                "vq", name=folder.name, dir=str(folder), id=_kept_id(folder), resume="allow"
            )
        else:
            tracker = made(
                *([folder.name, folder] if made.requires_logging_directory else [folder.name])
            )
        tracker.start()
        if name != "tensorboard":  # its own way makes a second run of every config
            tracker.store_init_configuration(flat(settings))
        trackers.append(tracker)
    return trackers


def _kept_id(folder: Path) -> str:
    """What tells W&B this run from others of its name, elsewhere or before it: drawn once, kept in the folder."""
    path = folder / "wandb-id"
    if not path.exists():
        write_text(path, f"{folder.name}-{secrets.token_hex(4)}\n")
    return path.read_text(encoding="utf-8").strip()


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by their key paths, lists as text: what every tracker can store."""
    leaves: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            leaves |= flat(value, f"{prefix}{name}.")
        else:
            leaves[f"{prefix}{name}"] = (
                value if isinstance(value, bool | int | float | str) else str(value)
            )
    return leaves


def scalars(line: Mapping[str, Any]) -> dict[str, float]:
    """The figures of a line of metrics.jsonl that a tracker can draw."""
    return {
        name: value
        for name, value in line.items()
        if isinstance(value, int | float) and name != "step" and math.isfinite(value)
    }
