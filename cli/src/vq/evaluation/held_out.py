"""Metrics of a model on a split: the same whenever the same weights are evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from vq.evaluation.classification import Classification
from vq.evaluation.metric import Metric
from vq.evaluation.squared_error import SquaredError
from vq.models.autoencoder import VQModel
from vq.models.eval_mode import eval_mode
from vq.progress import working
from vqcore.codebook.usage_meter import UsageMeter, to_floats
from vqcore.interfaces.dataset import Split

#: What tells how good a model is: one that reconstructs, and one that classifies.
QUALITY = ("psnr", "mse", "accuracy", "cross_entropy")
#: Metrics that are finite unless the data or the model are broken.
ERRORS = frozenset(("mse", "cross_entropy"))


@torch.no_grad()
def evaluate(
    model: VQModel,
    split: Split,
    value_range: tuple[float, float],
    batch_size: int,
    device: torch.device,
    share: tuple[int, int] = (0, 1),
    samples: int | None = None,
    metrics: Sequence[Metric] = (),
) -> dict[str, Any]:
    """Metrics of a model in eval mode on a split whose values are in ``value_range``.

    Args:
        share: this process's rank and the number of processes. Each evaluates its part of the
            split without repeating a sample, and all get the metrics of the whole.
        samples: how many samples to take, spread evenly over the split; all by default.
        metrics: updated with each batch, for the caller to compute.

    Returns:
        The metrics of ``SquaredError``, or for a classifier those of ``Classification``. Means over
        the codebooks, from the usage over the whole split: ``perplexity``, ``codes_used``,
        ``dead_codes`` and ``quantization_error``; ``codebook_size`` and ``codebooks``; none of
        these without codes. Then ``samples``.

    Raises:
        ValueError: for a classifier and a split without labels.
    """
    usage = UsageMeter()
    total = min(len(split), samples or len(split))
    chosen = torch.arange(total) * len(split) // max(total, 1)
    rows = chosen.tensor_split(share[1])[share[0]]
    quality: Metric = SquaredError(value_range, device)
    if model.classifies:
        if split.labels is None:
            raise ValueError("a classifier is evaluated on a split with labels")
        quality = Classification(split.labels[rows.to(split.labels.device)], device)
    with eval_mode(model), working("evaluating", len(rows), "samples") as task:
        for batch in task.through(split.batches(rows.split(batch_size), device)):
            out = model(batch)
            reconstruction = model.to_values(out.reconstruction)
            for metric in (quality, *metrics):
                metric.update(batch, reconstruction, out.bottleneck)
            if len(out.bottleneck.counts):
                usage.add(out.bottleneck)
    return {**quality.compute(), **_code_metrics(usage), "samples": total}


def _code_metrics(usage: UsageMeter) -> dict[str, Any]:
    """Means over the codebooks; empty where there are none."""
    if usage.counts is None:
        return {}
    codebooks, codebook_size = usage.counts.shape
    means = {name: sum(each) / len(each) for name, each in to_floats(usage.close()).items()}
    names = ("perplexity", "codes_used", "dead_codes", "quantization_error")
    chosen = {name: means[name] for name in names}
    return chosen | {"codebook_size": codebook_size, "codebooks": codebooks}
