"""The files of a published model: config.json, model.safetensors and README.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save

from vq.checkpoints.checkpoint import WEIGHTS
from vq.files import new_folder, write_bytes, write_json, write_text
from vq.hub.card import model_card
from vq.runs.provenance import model_of, versions
from vq.runs.trained_run import TrainedRun
from vqcore.errors import UsageError

FORMAT = 1
CONFIG, CARD = "config.json", "README.md"
#: Settings that only training needs: left out when the model is built again.
TRAINING_ONLY = ("dataset", "optimizer", "regularizers", "trackers", "plugin_files", "device")
#: Part of the names of weights that only training needs.
REGULARIZERS = ".regularizers."


def write_folder(run: TrainedRun, folder: Path, repo: str = "") -> Path:
    """Write a trained run's model in the hub's layout; returns the folder.

    The card shows ``repo`` as the name to load, by default the folder's own.

    Raises:
        SettingError: if the folder is not empty.
        UsageError: if summary.json is missing, or belongs to other weights than the latest.
        RunError: if it cannot be written; nothing is left then.
    """
    metrics = _final_metrics(run)
    config = {
        "format": FORMAT,
        "library_name": "vq",
        "config": _shareable(run.config.dump()),
        "samples": json.loads(run.folder.data.read_text(encoding="utf-8")),
        "codebook_size": run.model.codebook_size,
        "index_shape": list(run.model.index_shape) if run.model.has_codes else [],
        "model": model_of(run),
        "figures": metrics,
        "versions": versions(),
    }
    with new_folder(folder, "--to-folder") as temporary:
        write_json(temporary / CONFIG, config)
        write_bytes(temporary / WEIGHTS, _weights(run.checkpoint / WEIGHTS))
        write_text(temporary / CARD, model_card(run, metrics, repo or folder.name))
    return folder


def _final_metrics(run: TrainedRun) -> dict[str, Any]:
    step = run.checkpoint.name.removeprefix("step-").lstrip("0")
    if str(run.metrics.get("steps")) != step:
        found = f"{run.folder.summary}: expected the metrics of a run that ended at step {step}"
        raise UsageError(f"{found}; finish it first: vq train --resume {run.folder.path}")
    return run.metrics


def _shareable(config: dict[str, Any]) -> dict[str, Any]:
    """The config without traces of this machine: no plugin files, only the last part of paths."""
    return {name: _last(value) for name, value in config.items() if name != "plugin_files"}


def _last(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _last(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_last(each) for each in value]
    return Path(value).name if isinstance(value, str) and value.startswith(("/", "~")) else value


def _weights(file: Path) -> bytes:
    """The weights without those of regularizers, which users of the model need not install."""
    weights = load_file(file)
    kept = {name: tensor for name, tensor in weights.items() if REGULARIZERS not in name}
    return file.read_bytes() if len(kept) == len(weights) else save(kept)
