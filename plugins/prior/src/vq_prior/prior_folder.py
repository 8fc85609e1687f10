"""RUN/prior: weights, config and metrics of a prior, tied to the weights that gave its codes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from vq.checkpoints.manifest import digest, read_checked
from vq.files import new_folder, read_bytes, read_json, write_flushed
from vq.runs.provenance import model_of, versions
from vq.runs.trained_run import TrainedRun
from vq.tokens.codes import codebook_numbers
from vq_prior.prior_config import FilledPriorConfig
from vq_prior.stored import require_prior
from vq_prior.transformer import CodePrior
from vqcore.errors import RunError, UsageError, describe_error
from vqcore.plugin.protocols import ReportedRun

WEIGHTS, CONFIG, METRICS = "model.safetensors", "config.json", "metrics.jsonl"


def prior_folder(run: TrainedRun | ReportedRun) -> Path:
    """Where a run's prior is stored."""
    return run.folder.path / "prior"


def build_prior(run: TrainedRun, config: FilledPriorConfig, classes: int) -> CodePrior:
    """An untrained prior over the run's codes, on the CPU, with weights by the config's seed."""
    torch.manual_seed(config.seed)
    options = config.model_dump(include={"layers", "width", "heads", "dropout", "tied"})
    codebooks, size = codebook_numbers(run.model), run.model.codebook_size
    return CodePrior(codebooks, size, classes=classes, **options)


def fits_weights(run: TrainedRun) -> bool:
    """Whether RUN/prior is a prior that was trained on the codes of the run's present weights."""
    model = (read_json(prior_folder(run) / CONFIG) or {}).get("model")
    return isinstance(model, dict) and model.get("sha256") == model_of(run)["sha256"]


def save_prior(
    run: TrainedRun,
    prior: CodePrior,
    config: FilledPriorConfig,
    metrics: Mapping[str, float],
    history: Sequence[Mapping[str, Any]],
) -> Path:
    """Write RUN/prior atomically in place of an earlier one, which stays if that fails."""
    weights = save({name: value.cpu().contiguous() for name, value in prior.state_dict().items()})
    about = {
        "model": model_of(run),
        "classes": _class_names(run, prior.classes),
        "training": config.model_dump(),
        "figures": dict(metrics),
        "versions": versions(),
        "files": {WEIGHTS: digest(weights)},
    }
    lines = "".join(json.dumps(line) + "\n" for line in history)
    with new_folder(prior_folder(run), replace=True) as folder:
        write_flushed(folder / WEIGHTS, weights)
        (folder / CONFIG).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
        (folder / METRICS).write_text(lines, encoding="utf-8")
    return prior_folder(run)


def load_prior(run: TrainedRun) -> tuple[CodePrior, list[str]]:
    """The run's prior in eval mode on the run's device, and the names of its classes.

    Raises:
        UsageError: if there is none, or it was trained on the codes of other weights.
        RunError: if it is damaged.
    """
    folder = require_prior(run.folder.path)
    command = f"vq prior {run.folder.path}"
    if not fits_weights(run):
        problem = f"was trained on codes of other weights than {run.checkpoint}"
        raise UsageError(f"{folder} {problem}: {command} trains a new one")
    try:
        about = json.loads(read_bytes(folder / CONFIG))
        config = FilledPriorConfig.model_validate(about["training"])
        classes = [str(name) for name in about["classes"]]
        weights = load(read_checked(folder / WEIGHTS, about.get("files")))
        _check_size(config, weights)
        prior = build_prior(run, config, len(classes))
        prior.load_state_dict(weights)
    except Exception as error:  # pydantic, safetensors and torch raise many kinds
        fix = f"{command} --overwrite trains a new one"
        raise RunError(f"{folder}: damaged: {describe_error(error)[:300]}; {fix}") from error
    return prior.to(run.device).eval(), classes


def _check_size(config: FilledPriorConfig, weights: Mapping[str, Tensor]) -> None:
    """Refuse a config of another model than the weights', before memory is taken for it."""
    width = weights["position"].shape[-1]
    if config.layers > len(weights) or config.width != width or width % config.heads:
        raise ValueError(f"{CONFIG} and {WEIGHTS} do not agree")


def _class_names(run: TrainedRun, count: int) -> list[str]:
    names = list(run.source.classes or ())[:count] if count else []
    return names + [str(number) for number in range(len(names), count)]
