"""The folder: config.json, model.safetensors and README.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save

from vq.checkpoints.checkpoint import WEIGHTS
from vq.hub.card import model_card
from vq.runs.files import new_folder, read_json, write_bytes, write_text
from vq.runs.provenance import model_of, versions
from vq.runs.trained_run import TrainedRun
from vqcore.errors import UsageError

FORMAT = 1
CONFIG, CARD = "config.json", "README.md"
#: Settings of training that say nothing on the model: left out when it is built again.
TRAINING_ONLY = ("dataset", "optimizer", "regularizers", "trackers", "plugin_files", "device")
#: MicroBatch of the names of weights that training alone needs.
REGULARIZERS = ".regularizers."


def write_folder(
    run: TrainedRun, folder: Path, repo: str = "", option: str = "--to-folder"
) -> Path:
    """Write a trained run as the hub keeps models; the folder.

    Args:
        run: the trained run.
        folder: new or empty.
        repo: the name that the card tells people to load; the folder's own where it is left out.
        option: what the folder was given by, for messages.

    Raises:
        SettingError: if the folder holds something.
        UsageError: if the run has no summary.json yet, or one of other weights than the latest.
        RunError: if it cannot be written; nothing is left behind then.
    """
    figures = _figures(run)
    config = {
        "format": FORMAT,
        "library_name": "vq",
        "config": _shareable(run.config.dump()),
        "samples": json.loads(run.folder.data.read_text(encoding="utf-8")),
        "codebook_size": run.model.codebook_size,
        "index_shape": list(run.model.index_shape) if run.model.has_codes else [],
        "model": model_of(run),
        "figures": figures,
        "versions": versions(),
    }
    with new_folder(folder, option) as temporary:
        write_text(temporary / CONFIG, json.dumps(config, indent=2) + "\n")
        write_bytes(temporary / WEIGHTS, _weights(run.checkpoint / WEIGHTS))
        write_text(temporary / CARD, model_card(run, figures, repo or folder.name))
    return folder


def _figures(run: TrainedRun) -> dict[str, Any]:
    figures, step = (
        read_json(run.folder.summary),
        run.checkpoint.name.removeprefix("step-").lstrip("0"),
    )
    if figures is None or str(figures.get("steps")) != step:
        fix = f"finish it first: vq train --resume {run.folder.path}"
        raise UsageError(
            f"{run.folder.summary}: no figures of a run finished at step {step} for the card; {fix}"
        )
    return figures


def _shareable(config: dict[str, Any]) -> dict[str, Any]:
    """The config without what tells of the machine it ran on: plugin files, and all but the ends of absolute paths."""
    return {name: _last(value) for name, value in config.items() if name != "plugin_files"}


def _last(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _last(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_last(each) for each in value]
    return Path(value).name if isinstance(value, str) and value.startswith(("/", "~")) else value


def _weights(file: Path) -> bytes:
    """The weights as they are, or without those of regularizers: who uses the model need not install them."""
    weights = load_file(file)
    kept = {name: tensor for name, tensor in weights.items() if REGULARIZERS not in name}
    return file.read_bytes() if len(kept) == len(weights) else save(kept)
