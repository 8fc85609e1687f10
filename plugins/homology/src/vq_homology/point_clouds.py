"""Samples a step's point cloud: latents of the batch, or the codes that it uses.

With ``gather``, each rank fills in the sampled points that it holds and a collective completes
them, so every rank has the cloud of a single process and no shard is gathered whole.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vq_homology.collectives import maximum_over_ranks, offset_and_total, with_gradient
from vq_homology.pair_search import draw
from vqcore.codebook.usage import code_counts
from vqcore.distributed import sum_over_ranks
from vqcore.interfaces.latent_batch import LatentBatch


def sample_latents(batch: LatentBatch, limit: int, *, gather: bool = False) -> Tensor:
    """At most ``limit`` valid tokens as points (n, A), with gradient to the encoder.

    With ``gather``, of all ranks' tokens in rank order; then every rank must call this.
    """
    z = batch.z.reshape(-1, batch.z.shape[-1])
    rows = _valid_tokens(batch).nonzero().squeeze(1)
    offset, total = offset_and_total(len(rows), rows.device) if gather else (0, len(rows))
    wanted = draw(total, limit, batch.step).to(rows.device) - offset
    mine = ((wanted >= 0) & (wanted < len(rows))).nonzero().squeeze(1)
    drawn = z.index_select(0, rows[wanted[mine]])
    if gather:
        shares = z.new_zeros(len(wanted), z.shape[1]).index_copy(0, mine, drawn)
        values = shares.detach().clone()
        sum_over_ranks(values)
        drawn = with_gradient(values, shares)
    return batch.manifold.expmap0(drawn)


def sample_used_codes(batch: LatentBatch, limit: int, *, gather: bool = False) -> Tensor:
    """At most ``limit`` of the codes that the tokens use, each once, as points (n, A).

    A code's gradient goes straight through to its tokens in equal shares, never to a code that is
    a parameter: moved by this term alone, codes would leave the latents behind. With ``gather``,
    of all ranks' tokens; then every rank must call this.
    """
    z = batch.z.reshape(-1, batch.z.shape[-1])
    z_q = batch.z_q.detach().reshape(-1, batch.z_q.shape[-1])
    valid = _valid_tokens(batch) & _finite(z_q)
    index = torch.where(valid, batch.indices.reshape(-1), -1)
    counts = code_counts(index, codebook_size(batch))
    if gather:
        sum_over_ranks(counts)
    codes = counts.nonzero().squeeze(1)
    codes = codes[draw(len(codes), limit, batch.step).to(codes.device)]
    place = torch.full_like(counts, -1)
    place = place.index_copy(0, codes, torch.arange(len(codes), device=codes.device))
    rows = (valid & (place[index.clamp(min=0)] >= 0)).nonzero().squeeze(1)
    index = index[rows]
    places = place[index]
    # All tokens of a code have the same z_q: read it from the first of them.
    first = rows.new_full((len(codes),), len(valid)).scatter_reduce(0, places, rows, "amin")
    here = (first < len(valid)).nonzero().squeeze(1)
    values = z_q.new_full((len(codes), z_q.shape[1]), -math.inf)
    values = values.index_copy(0, here, z_q[first[here]])
    token_shares = z.index_select(0, rows) / counts[index].unsqueeze(1)
    shares = torch.zeros_like(values).index_add(0, places, token_shares)
    if gather:
        return batch.manifold.expmap0(with_gradient(maximum_over_ranks(values), shares))
    return batch.manifold.expmap0(values + (shares - shares.detach()))


def codebook_size(batch: LatentBatch) -> int:
    """K; for an implicit codebook of unknown size, the largest index in the batch plus one."""
    if batch.codebook is not None:
        return len(batch.codebook)
    if batch.codebook_size is not None:
        return batch.codebook_size
    return max(int(batch.indices.max()), 0) + 1 if batch.indices.numel() else 1


def _valid_tokens(batch: LatentBatch) -> Tensor:
    """(N,) bool; a mask, where there is one, already excludes bad tokens."""
    if batch.mask is not None:
        return (batch.mask & (batch.indices >= 0)).reshape(-1)
    return (batch.indices.reshape(-1) >= 0) & _finite(batch.z)


def _finite(vectors: Tensor) -> Tensor:
    flat = vectors.detach().reshape(-1, vectors.shape[-1])
    return flat.amin(1).isfinite() & flat.amax(1).isfinite()
