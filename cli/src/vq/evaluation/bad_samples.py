"""Samples that hold NaN or inf, for the message about a metric that is not finite."""

from __future__ import annotations

import torch
from torch import Tensor

from vqcore.interfaces.dataset import Split

#: Numbers of samples that a message names.
NAMED = 5


@torch.no_grad()
def bad_samples(split: Split, batch_size: int, device: torch.device) -> Tensor:
    """The numbers (n,) of the samples of a split that are not finite."""
    rows = torch.arange(len(split))
    batches = split.batches(rows.split(batch_size), device)
    return rows[~torch.cat([all_finite(batch) for batch in batches])]


def all_finite(batch: Tensor) -> Tensor:
    """Whether all values of each sample of a batch (B, *shape) are finite: (B,) on the CPU."""
    return batch.flatten(1).isfinite().all(1).cpu()


def describe_bad(bad: Tensor, among: int, samples: str) -> str:
    """A sentence about bad samples, by their numbers (n,), and its fix; empty if there are none."""
    if not len(bad):
        return ""
    numbers = ", ".join(map(str, sorted(bad.tolist())[:NAMED])) + ", ..." * (len(bad) > NAMED)
    return (
        f"{len(bad)} of the {among} {samples} hold NaN or inf, by their numbers in the split: "
        f"{numbers}; repair them or leave them out"
    )
