"""RUN/prior: weights, config and metrics of a run's prior, tied to the weights whose codes it was trained on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from vq.runs.files import new_folder, read_json
from vq.runs.provenance import model_of, versions
from vq.runs.trained_run import TrainedRun
from vq.tokens.codes import books_of
from vq_prior.model import CodePrior
from vq_prior.prior_config import PriorConfig
from vqcore.errors import RunError, UsageError

WEIGHTS, CONFIG, METRICS = "model.safetensors", "config.json", "metrics.jsonl"


def folder_of(run: TrainedRun) -> Path:
    """Where a run's prior is."""
    return run.folder.path / "prior"


def build_prior(run: TrainedRun, config: PriorConfig, classes: int) -> CodePrior:
    """An untrained prior for the run's codes, on the CPU, its weights drawn by the config's seed.

    Args:
        run: the trained run.
        config: filled.
        classes: number of classes it is told of, or 0.
    """
    torch.manual_seed(config.seed)
    return CodePrior(
        books=books_of(run.model),
        codebook_size=run.model.codebook_size,
        layers=config.layers,
        width=config.width,
        heads=config.heads,
        dropout=config.dropout,
        tied=config.tied,
        classes=classes,
    )


def check_replaceable(run: TrainedRun, overwrite: bool) -> None:
    """Refuse to train over a prior that is still of use.

    Raises:
        UsageError: if the run has one for its present weights, and ``overwrite`` is not given.
    """
    if not overwrite and folder_of(run).exists() and _origin(run) == model_of(run)["sha256"]:
        raise UsageError(
            f"{folder_of(run)} has a prior for {run.checkpoint.name}: to train another, add --overwrite"
        )


def save_prior(
    run: TrainedRun,
    prior: CodePrior,
    config: PriorConfig,
    figures: Mapping[str, float],
    lines: Sequence[Mapping[str, Any]],
) -> Path:
    """Write RUN/prior, whole or not at all, in place of an earlier one.

    Args:
        run: the trained run.
        prior: trained.
        config: filled.
        figures: from ``judge``.
        lines: of metrics.jsonl.

    Raises:
        RunError: if it cannot be written; what was there stays.
    """
    about = {
        "model": model_of(run),
        "classes": _class_names(run, prior.classes),
        "training": config.model_dump(),
        "figures": dict(figures),
        "versions": versions(),
    }
    weights = {
        name: value.detach().cpu().contiguous() for name, value in prior.state_dict().items()
    }
    with new_folder(folder_of(run), replace=True) as folder:
        save_file(weights, folder / WEIGHTS)
        (folder / CONFIG).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
        (folder / METRICS).write_text(
            "".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8"
        )
    return folder_of(run)


def load_prior(run: TrainedRun) -> tuple[CodePrior, list[str]]:
    """The run's prior in eval mode on the run's device, and the names of its classes.

    Raises:
        UsageError: if there is none, or it was trained on the codes of other weights; with the command that helps.
        RunError: if it is damaged.
    """
    folder, command = folder_of(run), f"vq prior {run.folder.path}"
    if not folder.is_dir():
        raise UsageError(f"{run.folder.path} has no prior yet: train one with: {command}")
    origin = _origin(run)
    if origin != model_of(run)["sha256"]:
        raise UsageError(
            f"{folder} was trained on codes of other weights than {run.checkpoint}: {command} trains anew"
        )
    try:
        about = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        prior = build_prior(
            run, PriorConfig.model_validate(about["training"]), len(about["classes"])
        )
        prior.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise RunError(
            f"{folder}: damaged: {error}; {command} --overwrite trains it anew"
        ) from error
    return prior.to(run.device).eval(), about["classes"]


def _origin(run: TrainedRun) -> str | None:
    """The SHA-256 of the weights that the prior was trained for; None if it does not say."""
    model = (read_json(folder_of(run) / CONFIG) or {}).get("model")
    return model.get("sha256") if isinstance(model, dict) else None


def _class_names(run: TrainedRun, count: int) -> list[str]:
    names = list(run.source.classes or ())[:count] if count else []
    return names + [str(number) for number in range(len(names), count)]
