"""Samples a step's point cloud: latents of the batch, or the codes that it uses.

Samples have a fixed shape, so that the host waits for nothing. With ``gather``, each rank fills in
the sampled points that it holds and a collective completes them, so every rank has the cloud of a
single process and no shard is gathered whole.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from vq_homology.collectives import maximum_over_ranks, with_gradient
from vq_homology.pair_search import draw
from vqcore.codebook.usage import code_counts
from vqcore.distributed import is_active, offsets, sum_over_ranks
from vqcore.interfaces.latent_batch import LatentBatch


def sample_latents(
    batch: LatentBatch, limit: int, *, gather: bool = False
) -> tuple[Tensor, Tensor]:
    """At most ``limit`` valid tokens as points (n, A), with gradient to the encoder.

    With ``gather``, of all ranks' tokens in rank order; then every rank must call this.

    Returns:
        The points, and which of them are tokens, (n,) bool: all, unless fewer are valid.
    """
    z, valid = _never_empty(batch.z.reshape(-1, batch.z.shape[-1])), _valid_tokens(batch)
    position, held = valid.cumsum(0), valid.sum()
    gather = gather and is_active()
    first, total = offsets(held) if gather else (0, held)
    slots = limit if gather else min(limit, len(z))
    wanted, kept = draw(total, slots, batch.key) + (1 - first), _first(total, slots)
    rows = torch.searchsorted(position, wanted).clamp(max=len(z) - 1)
    mine = kept & (wanted > 0) & (wanted <= held) if gather else kept
    drawn = torch.where(mine.unsqueeze(1), z.index_select(0, rows), 0)
    if gather:
        values = drawn.detach().clone()
        sum_over_ranks(values)
        drawn = with_gradient(values, drawn)
    return batch.manifold.expmap0(drawn), kept


def sample_used_codes(
    batch: LatentBatch, limit: int, *, gather: bool = False
) -> tuple[Tensor, Tensor]:
    """At most ``limit`` of the codes that the tokens use, each once, as points (n, A).

    A code's gradient goes straight through to its tokens in equal shares, never to a code that is
    a parameter: moved by this term alone, codes would leave the latents behind. With ``gather``,
    of all ranks' tokens; then every rank must call this.

    Returns:
        The points, and which of them are codes, (n,) bool: all, unless fewer are used.
    """
    z = batch.z.reshape(-1, batch.z.shape[-1])
    z_q = batch.z_q.detach().reshape(-1, batch.z_q.shape[-1])
    index = torch.where(_valid_tokens(batch) & _finite(z_q), batch.indices.reshape(-1), -1)
    size = codebook_size(batch)
    counts = code_counts(index, size)
    if gather:
        sum_over_ranks(counts)
    used = counts > 0
    slots = min(limit, size)
    count = used.sum()
    wanted, kept = draw(count, slots, batch.key) + 1, _first(count, slots)
    codes = torch.searchsorted(used.cumsum(0), wanted)  # K where not kept
    own = torch.where(kept, torch.arange(slots, device=z.device), slots)
    place = torch.full((size + 1,), slots, device=z.device).index_copy(0, codes, own)
    places = place[index]  # of the tokens; -1 reads the last, which is no place
    # All tokens of a code have the same z_q: read it from the first of them.
    tokens = torch.arange(len(z), device=z.device)
    first = torch.full((slots + 1,), len(z), device=z.device)
    first = first.scatter_reduce(0, places, tokens, "amin")[:slots]
    values = _never_empty(z_q).index_select(0, first.clamp(max=max(len(z) - 1, 0)))
    values = torch.where((first < len(z)).unsqueeze(1), values, -math.inf)
    shares = z / counts[index.clamp(min=0)].clamp(min=1).unsqueeze(1)
    shares = z.new_zeros(slots + 1, z.shape[1]).index_add(0, places, shares)[:slots]
    if gather:
        values = maximum_over_ranks(values)
        points = with_gradient(values, shares)
    else:
        points = values + (shares - shares.detach())
    return batch.manifold.expmap0(torch.where(kept.unsqueeze(1), points, 0)), kept


def codebook_size(batch: LatentBatch) -> int:
    """K; for an implicit codebook of unknown size, the largest index in the batch plus one."""
    if batch.codebook is not None:
        return len(batch.codebook)
    if batch.codebook_size is not None:
        return batch.codebook_size
    return max(int(batch.indices.max()), 0) + 1 if batch.indices.numel() else 1


def _first(count: Tensor, slots: int) -> Tensor:
    """Which of ``slots`` come before ``count``, a scalar."""
    return torch.arange(slots, device=count.device) < count


def _never_empty(rows: Tensor) -> Tensor:
    """Rows (N, D), or for N = 0 a row of zeros, to be read in vain."""
    return rows if len(rows) else F.pad(rows, (0, 0, 0, 1))


def _valid_tokens(batch: LatentBatch) -> Tensor:
    """(N,) bool; a mask, where there is one, already excludes bad tokens."""
    if batch.mask is not None:
        return (batch.mask & (batch.indices >= 0)).reshape(-1)
    return (batch.indices.reshape(-1) >= 0) & _finite(batch.z)


def _finite(vectors: Tensor) -> Tensor:
    flat = vectors.detach().reshape(-1, vectors.shape[-1])
    return flat.amin(1).isfinite() & flat.amax(1).isfinite()
