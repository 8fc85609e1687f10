"""Counting the codes of a split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import vq
from vqcore import UsageError
from vqcore.codebook.usage import codes_used, perplexity


@dataclass(frozen=True)
class CodebookUsage:
    """One codebook: how many tokens chose each code, and two numbers of that."""

    counts: list[int]
    used: int
    perplexity: float


@torch.no_grad()
def usage_of(
    run: vq.TrainedRun, name: Literal["train", "test"], batch_size: int = 256
) -> list[CodebookUsage]:
    """The codebooks of a run, on all samples of a split.

    Raises:
        UsageError: if the model has no codes.
    """
    model, split = run.model, run.source.split(name)
    if not model.has_codes:
        raise UsageError(f"{run.folder.path}: the model has no codes, its bottleneck is continuous")
    samples = torch.split(torch.arange(len(split)), batch_size)
    batches = split.batches(samples, run.device)
    inspected = (model.bottleneck.inspect(model.latents(batch)).assignments for batch in batches)
    by_codebook = zip(*([each.counts for each in found] for found in inspected), strict=True)
    counts = [torch.stack(each).sum(0) for each in by_codebook]
    return [CodebookUsage(n.tolist(), int(codes_used(n)), float(perplexity(n))) for n in counts]
