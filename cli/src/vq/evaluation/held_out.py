"""Metrics of a model on a split: the same whenever the same weights are evaluated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from vq.evaluation.metric import Metric
from vq.models.autoencoder import VQModel
from vq.models.eval_mode import eval_mode
from vq.progress import working
from vqcore.codebook.usage_meter import UsageMeter, to_floats
from vqcore.distributed import sum_over_ranks
from vqcore.interfaces.dataset import Split


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
        ``mse``: mean squared error over all values, with the data's range scaled to 1; ``psnr`` =
        -10 log10(mse), in dB; means over the codebooks, from the usage over the whole split:
        ``perplexity``, ``codes_used``, ``dead_codes`` and ``quantization_error``;
        ``codebook_size``, ``codebooks`` and ``samples``. Without codes, only ``psnr``, ``mse`` and
        ``samples``.
    """
    low, high = value_range
    sums = torch.zeros(2, dtype=torch.float64, device=device)
    usage = UsageMeter()
    total = min(len(split), samples or len(split))
    chosen = torch.arange(total) * len(split) // max(total, 1)
    rows = chosen.tensor_split(share[1])[share[0]]
    with eval_mode(model), working("evaluating", len(rows), "samples") as task:
        for batch in task.through(split.batches(rows.split(batch_size), device)):
            out = model(batch)
            reconstruction = model.to_values(out.reconstruction)
            for metric in metrics:
                metric.update(batch, reconstruction, out.bottleneck)
            difference = (reconstruction - batch) / (high - low)
            sums[0] += difference.double().square().sum()
            sums[1] += difference.numel()
            if len(out.bottleneck.counts):
                usage.add(out.bottleneck)
    sum_over_ranks(sums)
    mse = float(sums[0] / sums[1])
    psnr = math.inf if mse == 0 else -10 * math.log10(mse)
    return {"psnr": psnr, "mse": mse, **_code_metrics(usage), "samples": total}


def _code_metrics(usage: UsageMeter) -> dict[str, Any]:
    """Means over the codebooks; empty where there are none."""
    if usage.counts is None:
        return {}
    codebooks, codebook_size = usage.counts.shape
    means = {name: sum(each) / len(each) for name, each in to_floats(usage.close()).items()}
    names = ("perplexity", "codes_used", "dead_codes", "quantization_error")
    chosen = {name: means[name] for name in names}
    return chosen | {"codebook_size": codebook_size, "codebooks": codebooks}
