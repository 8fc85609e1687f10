"""The files of a published model: config.json, model.safetensors and README.md."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from safetensors.torch import load, save

from vq.checkpoints import manifest
from vq.checkpoints.checkpoint import REGULARIZERS, WEIGHTS
from vq.checkpoints.step_names import step_of
from vq.config.resolved_config import TRAINING_ONLY
from vq.files import new_folder, read_text, write_bytes, write_json, write_text
from vq.hub.card import model_card, model_components
from vq.runs.provenance import model_of, versions
from vq.runs.trained_run import TrainedRun
from vqcore.errors import UsageError
from vqcore.interfaces.dataset import SampleSpec
from vqcore.plugin.component import SEVERAL
from vqcore.plugin.loader import owner_of

FORMAT = 1
CONFIG, CARD = "config.json", "README.md"
#: Settings that only training needs: left out when the model is built again.
NOT_NEEDED = (
    *TRAINING_ONLY, *SEVERAL, "trackers", "plugin_files", "plugins", "device", "init_from",
)  # fmt: skip
#: Settings that are not published: they are of this machine, or of what followed the run.
PRIVATE = ("plugin_files", "plugins")


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
        "samples": _samples(run),
        "codebook_size": run.model.codebook_size,
        "index_shape": list(run.model.index_shape) if run.model.has_codes else [],
        "model": model_of(run),
        "figures": metrics,
        "versions": versions(),
        "plugins": _plugins(run),
    }
    weights = _weights(run.checkpoint)
    config["files"] = {WEIGHTS: manifest.digest(weights)}
    with new_folder(folder, "--to-folder") as temporary:
        write_json(temporary / CONFIG, config)
        write_bytes(temporary / WEIGHTS, weights)
        write_text(temporary / CARD, model_card(run, metrics, repo or folder.name))
    return folder


def _samples(run: TrainedRun) -> dict[str, Any]:
    """What data.json says of a sample, without the names of files that could not be read."""
    recorded = json.loads(read_text(run.folder.data))
    wanted = (*(field.name for field in fields(SampleSpec)), "classes")
    return {name: recorded[name] for name in wanted if name in recorded}


def _final_metrics(run: TrainedRun) -> dict[str, Any]:
    step = step_of(run.checkpoint.name)
    if run.metrics.get("steps") != step:
        found = f"{run.folder.summary}: expected the metrics of a run that ended at step {step}"
        raise UsageError(f"{found}; finish it first: vq train --resume {run.folder.path}")
    return run.metrics


def _plugins(run: TrainedRun) -> list[dict[str, Any]]:
    """Who provides the components of the model, like rows of plugins.json."""
    versions = {plugin.package: plugin.version for plugin in run.registry.plugins}
    rows: dict[str, dict[str, Any]] = {}
    for each in model_components(run):
        owner = {"package": owner_of(each.package), "version": versions[each.package]}
        row = rows.setdefault(each.package, {**owner, "provides": []})
        row["provides"].append({"kind": each.kind, "name": each.spec.name})
    return list(rows.values())


def _shareable(config: dict[str, Any]) -> dict[str, Any]:
    """The config without traces of this machine: no plugins, only the last part of paths."""
    return {name: _last(value) for name, value in config.items() if name not in PRIVATE}


def _last(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _last(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_last(each) for each in value]
    return Path(value).name if isinstance(value, str) and value.startswith(("/", "~")) else value


def _weights(checkpoint: Path) -> bytes:
    """The weights without those of regularizers, which users of the model need not install."""
    content = manifest.read_checked(checkpoint / WEIGHTS, manifest.read(checkpoint))
    weights = load(content)
    kept = {name: tensor for name, tensor in weights.items() if REGULARIZERS not in name}
    return content if len(kept) == len(weights) else save(kept)
