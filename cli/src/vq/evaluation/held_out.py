"""Figures of a model on a split: the same numbers whenever the same weights are evaluated."""

from __future__ import annotations

import math
from typing import Any

import torch

from vq.models.autoencoder import VQModel
from vqcore.codebook.usage_meter import UsageMeter, numbers
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
) -> dict[str, Any]:
    """Figures of a model on a split.

    Args:
        model: in any mode; evaluated in eval mode.
        split: the samples, usually held out.
        value_range: smallest and largest value of the data.
        batch_size: samples at a time.
        device: where the model is.
        share: this process's number and how many there are. Each takes its part of the split, none gets a sample
            twice, and all get the figures of the whole.

    Returns:
        ``mse``: mean squared error over all values, in units of the data's range, so that a range of 1 is compared
        whatever the data's scale; ``psnr`` = -10 log10(mse), dB; from the usage over the whole split, and means over
        the codebooks: ``perplexity``, ``codes_used``, ``dead_codes`` and ``quantization_error``; ``codebook_size``,
        ``codebooks`` and ``samples``. A model without codes has none of the figures on them.
    """
    low, high = value_range
    was_training = model.training
    model.eval()
    sums, usage = torch.zeros(2, dtype=torch.float64, device=device), UsageMeter()
    mine = torch.arange(len(split)).tensor_split(share[1])[share[0]]
    for batch in split.batches(mine.split(batch_size), device):
        out = model(batch)
        difference = (model.to_values(out.reconstruction) - batch) / (high - low)
        sums[0] += difference.double().square().sum()
        sums[1] += difference.numel()
        if len(out.bottleneck.counts):
            usage.add(out.bottleneck)
    model.train(was_training)
    sum_over_ranks(sums)
    mse = float(sums[0] / sums[1])
    figures = {"psnr": math.inf if mse == 0 else -10 * math.log10(mse), "mse": mse}
    return {**figures, **_usage(usage), "samples": len(split)}


def _usage(window: UsageMeter) -> dict[str, Any]:
    """Means over the codebooks; nothing where there are none."""
    if window.counts is None:
        return {}
    codebooks, codebook_size = window.counts.shape
    used = {name: sum(values) / len(values) for name, values in numbers(window.close()).items()}
    names = ("perplexity", "codes_used", "dead_codes", "quantization_error")
    return {
        **{name: used[name] for name in names},
        "codebook_size": codebook_size,
        "codebooks": codebooks,
    }
