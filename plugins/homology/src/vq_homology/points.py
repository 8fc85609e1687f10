"""Which points a step measures: latents of the batch, or the codes that it uses; of one process or of all.

Where several processes train, each fills in the points that it holds and the others complete them, so every rank sees
the cloud that a single process would, and no shard is gathered whole.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vq_homology.clouds import draw
from vq_homology.ranks import maximum_over_ranks, place_among_ranks, with_gradient
from vqcore.codebook.usage import code_counts
from vqcore.distributed import sum_over_ranks
from vqcore.interfaces.latent_batch import LatentBatch


def latents(batch: LatentBatch, limit: int, *, gather: bool = False) -> Tensor:
    """At most ``limit`` of the tokens that count, as points (n, A) with gradient to the encoder.

    Args:
        batch: this rank's tokens.
        limit: n at most.
        gather: draw from the tokens of all ranks, in the order of ranks; every rank calls it then.
    """
    z = batch.z.reshape(-1, batch.z.shape[-1])
    rows = _counting(batch).nonzero().squeeze(1)
    first, total = place_among_ranks(len(rows), rows.device) if gather else (0, len(rows))
    wanted = draw(total, limit, batch.step).to(rows.device) - first
    mine = ((wanted >= 0) & (wanted < len(rows))).nonzero().squeeze(1)
    drawn = z.index_select(0, rows[wanted[mine]])
    if gather:
        shares = z.new_zeros(len(wanted), z.shape[1]).index_copy(0, mine, drawn)
        values = shares.detach().clone()
        sum_over_ranks(values)
        drawn = with_gradient(values, shares)
    return batch.manifold.expmap0(drawn)


def quantized(batch: LatentBatch, limit: int, *, gather: bool = False) -> Tensor:
    """At most ``limit`` of the codes that the tokens use, each once, as points (n, A).

    A code's gradient reaches its tokens straight through, each an equal share, as an EMA code follows them. It does not
    reach codes that are parameters: they would leave the latents behind (measured: moved alone, perplexity fell).

    Args:
        batch: this rank's tokens.
        limit: n at most.
        gather: the tokens of all ranks; every rank calls it then.
    """
    z, z_q = (v.reshape(-1, v.shape[-1]) for v in (batch.z, batch.z_q.detach()))
    kept = _counting(batch) & _finite(z_q)
    index = torch.where(kept, batch.indices.reshape(-1), -1)
    counts = code_counts(index, codebook_size(batch))
    if gather:
        sum_over_ranks(counts)
    codes = counts.nonzero().squeeze(1)
    codes = codes[draw(len(codes), limit, batch.step).to(codes.device)]
    place = torch.full_like(counts, -1).index_copy(
        0, codes, torch.arange(len(codes), device=codes.device)
    )
    rows = (kept & (place[index.clamp(min=0)] >= 0)).nonzero().squeeze(1)
    to, index, z = place[index[rows]], index[rows], z.index_select(0, rows)
    first = rows.new_full((len(codes),), len(kept)).scatter_reduce(0, to, rows, "amin")
    here = (
        (first < len(kept)).nonzero().squeeze(1)
    )  # a code's tokens have the same z_q: one of them is enough
    values = z_q.new_full((len(codes), z_q.shape[1]), -math.inf).index_copy(
        0, here, z_q[first[here]]
    )
    shares = torch.zeros_like(values).index_add(0, to, z / counts[index].unsqueeze(1))
    if gather:
        return batch.manifold.expmap0(with_gradient(maximum_over_ranks(values), shares))
    return batch.manifold.expmap0(values + (shares - shares.detach()))


def codebook_size(batch: LatentBatch) -> int:
    """K; of an implicit codebook in a batch that does not say, as many as the tokens show."""
    if batch.codebook is not None:
        return len(batch.codebook)
    if batch.codebook_size is not None:
        return batch.codebook_size
    return max(int(batch.indices.max()), 0) + 1 if batch.indices.numel() else 1


def _counting(batch: LatentBatch) -> Tensor:
    """(N,) bool, the tokens that count: a mask leaves out those with NaN or inf already."""
    if batch.mask is not None:
        return (batch.mask & (batch.indices >= 0)).reshape(-1)
    return (batch.indices.reshape(-1) >= 0) & _finite(batch.z)


def _finite(vectors: Tensor) -> Tensor:
    flat = vectors.detach().reshape(-1, vectors.shape[-1])
    return flat.amin(1).isfinite() & flat.amax(1).isfinite()
