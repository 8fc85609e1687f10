"""Figures of a model on a split: the same numbers whenever the same weights are evaluated."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch

from vq.pipeline.data.source import DataSource
from vq.pipeline.load import load_run
from vq.pipeline.model import VQModel
from vqcore.window import UsageWindow, numbers


@torch.no_grad()
def evaluate(model: VQModel, source: DataSource, batch_size: int, device: torch.device) -> dict[str, Any]:
    """Held-out figures.

    Returns:
        ``mse``: mean squared error over all values, in units of the data's range, so that a range of 1 is compared
        whatever the data's scale; ``psnr`` = -10 log10(mse), dB; from the usage over the whole split, and means over
        the codebooks: ``perplexity``, ``codes_used``, ``dead_codes`` and ``quantization_error``; ``codebook_size``,
        ``codebooks`` and ``samples``.
    """
    split = source.split("test")
    low, high = source.value_range
    was_training = model.training
    model.eval()
    error, values, usage = torch.zeros((), dtype=torch.float64, device=device), 0, UsageWindow()
    for batch in split.batches(torch.arange(len(split)).split(batch_size), device):
        out = model(batch)
        difference = (model.to_values(out.reconstruction) - batch) / (high - low)
        error += difference.double().square().sum()
        values += difference.numel()
        usage.add(out.bottleneck)
    model.train(was_training)
    codebooks, codebook_size = usage.counts.shape
    used = {name: sum(values) / len(values) for name, values in numbers(usage.close()).items()}
    mse = float(error) / values
    return {
        "psnr": math.inf if mse == 0 else -10 * math.log10(mse),
        "mse": mse,
        "perplexity": used["perplexity"],
        "codes_used": used["codes_used"],
        "dead_codes": used["dead_codes"],
        "quantization_error": used["quantization_error"],
        "codebook_size": codebook_size,
        "codebooks": codebooks,
        "samples": len(split),
    }


def evaluate_run(path: Path, registry_for: Any, device: str | None = None) -> dict[str, Any]:
    """Evaluate a run's latest checkpoint as its training did.

    Args:
        path: the run folder.
        registry_for: from the run's plugin files to a registry.
        device: instead of the config's.
    """
    run = load_run(path, registry_for, device)
    figures = evaluate(run.model, run.source, run.plan.config.batch_size, run.device)
    return {**figures, "checkpoint": run.checkpoint.name, "split": "test"}
