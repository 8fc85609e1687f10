"""Which points a step measures: latents of the batch, or the codes that it uses; of one process or of all.

Where several processes train, each fills in the points that it holds and their sum completes them, so every rank sees
the cloud that a single process would, and no shard is gathered whole. Backwards the gradients that the ranks' losses
ask for are added up in turn: averaging parameters' gradients over the ranks then gives the gradient of the term,
without a factor, also where each rank's loss is weighed by its share of the tokens.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from vq_homology.clouds import draw, in_full_precision
from vqcore.distributed import is_active, sum_over_ranks
from vqcore.latent import LatentBatch
from vqcore.metrics import code_counts


def latents(batch: LatentBatch, limit: int, *, gather: bool = False) -> Tensor:
    """At most ``limit`` of the tokens that count, as points (n, A) with gradient to the encoder.

    Args:
        batch: this rank's tokens.
        limit: n at most.
        gather: draw from the tokens of all ranks, in the order of ranks; every rank calls it then.
    """
    z = batch.z.reshape(-1, batch.z.shape[-1])
    rows = (_counting(batch) & torch.isfinite(z).all(1)).nonzero().squeeze(1)
    first, total = _place_among_ranks(len(rows), rows.device) if gather else (0, len(rows))
    wanted = draw(total, limit, batch.step).to(rows.device) - first
    mine = ((wanted >= 0) & (wanted < len(rows))).nonzero().squeeze(1)
    held = z.index_select(0, rows[wanted[mine]])
    if gather and is_active():
        held = _SumOverRanks.apply(held.new_zeros(len(wanted), held.shape[1]).index_copy(0, mine, held))
    return batch.manifold.expmap0(held)


def quantized(batch: LatentBatch, limit: int, *, gather: bool = False) -> Tensor:
    """At most ``limit`` of the codes that the tokens use, each once, as points (n, A).

    A code is taken as the mean of its tokens' quantized latents z_q + (z - sg z): the gradient reaches the code where
    it is a parameter and, straight through, each of its tokens alike.

    Args:
        batch: this rank's tokens.
        limit: n at most.
        gather: the tokens of all ranks; every rank calls it then.
    """
    z, z_q = (v.reshape(-1, v.shape[-1]) for v in (batch.z, batch.z_q))
    kept = _counting(batch) & torch.isfinite(z).all(1) & torch.isfinite(z_q).all(1)
    index = torch.where(kept, batch.indices.reshape(-1), -1)
    counts = code_counts(index, codebook_size(batch))
    if gather:
        sum_over_ranks(counts)
    codes = counts.nonzero().squeeze(1)
    codes = codes[draw(len(codes), limit, batch.step).to(codes.device)]
    place = torch.full_like(counts, -1).index_copy(0, codes, torch.arange(len(codes), device=codes.device))
    rows = (kept & (place[index.clamp(min=0)] >= 0)).nonzero().squeeze(1)
    shares = in_full_precision((z_q + (z - z.detach())).index_select(0, rows)) / counts[index[rows]].unsqueeze(1)
    means = shares.new_zeros(len(codes), shares.shape[1]).index_add(0, place[index[rows]], shares)
    if gather and is_active():
        means = _SumOverRanks.apply(means)
    return batch.manifold.expmap0(means.to(z.dtype))


def codebook_size(batch: LatentBatch) -> int:
    """K; of an implicit codebook in a batch that does not say, as many as the tokens show."""
    if batch.codebook is not None:
        return len(batch.codebook)
    if batch.codebook_size is not None:
        return batch.codebook_size
    return int(batch.indices.max()) + 1 if batch.indices.numel() else 0


def _counting(batch: LatentBatch) -> Tensor:
    """(N,) bool, the tokens that count."""
    kept = batch.indices.reshape(-1) >= 0
    return kept if batch.mask is None else kept & batch.mask.reshape(-1)


def _place_among_ranks(held: int, device: torch.device) -> tuple[int, int]:
    """How many rows the ranks before this one hold, and how many all hold."""
    if not is_active():
        return 0, held
    counts = torch.zeros(dist.get_world_size(), dtype=torch.int64, device=device)
    counts[dist.get_rank()] = held
    sum_over_ranks(counts)
    before = counts.tolist()
    return sum(before[: dist.get_rank()]), sum(before)


class _SumOverRanks(torch.autograd.Function):
    """Adds up a tensor over the ranks and, backwards, what the ranks' losses ask of the sum."""

    @staticmethod
    def forward(_: Any, tensor: Tensor) -> Tensor:
        """The sum, on every rank."""
        return _summed(tensor)

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        """The sum of the gradients: each rank's share of the points needs all of them."""
        return _summed(gradient)


def _summed(tensor: Tensor) -> Tensor:
    total = tensor.clone(memory_format=torch.contiguous_format)
    sum_over_ranks(total)
    return total
