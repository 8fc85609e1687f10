"""Collectives over the ranks of a run. Whether one is active is checked at each call."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from vqcore.numerics import counter_rng


def is_active() -> bool:
    """Whether several processes train together now."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def sum_over_ranks(*tensors: Tensor) -> None:
    """Sum each tensor over ranks, in place. Every rank must call it, also with an empty shard."""
    if is_active():
        for tensor in tensors:
            dist.all_reduce(tensor)


def from_first_rank(value: Tensor) -> Tensor:
    """Rank 0's value on every rank, in place: ranks with different seeds make the same draws."""
    if is_active():
        dist.broadcast(value, 0)
    return value


def sample_rows(
    rows: Tensor, mask: Tensor, count: int, key: counter_rng.Key
) -> tuple[Tensor, Tensor]:
    """Draw ``count`` rows at random from all ranks, as if one process held them in rank order.

    This rank's shard is ``rows`` (N, D), of which ``mask`` (N,) marks those that may be drawn; N
    may be 0 and may differ between ranks. The draw is stratified: one row from each of ``count``
    equal parts, so no row is drawn twice while there are enough. Each rank fills in the rows it
    holds and a sum over ranks completes them: no shard is gathered, and the host never waits. Rank
    0's ``key`` is used.

    Returns:
        The rows (count, D), the same on every rank (zeros if nothing could be drawn), and the
        number of rows there were to draw from, a scalar tensor.
    """
    position = mask.cumsum(0)
    held = mask.sum()
    first, total = offsets(held)
    order = counter_rng.permutation(key, count, device=rows.device)
    place = order + counter_rng.uniform(key + 1, count, device=rows.device)
    from_first_rank(place)
    part = place.long()
    start = part * total // count
    end = (part + 1) * total // count
    wanted = start + (place.frac() * (end - start)).long() - first
    mine = (wanted >= 0) & (wanted < held)
    if rows.shape[0] == 0:
        drawn = rows.new_zeros(count, rows.shape[1])
    else:
        index = torch.searchsorted(position, wanted.clamp(min=0) + 1).clamp(max=rows.shape[0] - 1)
        drawn = torch.where(mine.unsqueeze(1), rows[index], torch.zeros_like(rows[:1]))
    sum_over_ranks(drawn)
    return drawn, total


def offsets(held: Tensor) -> tuple[Tensor, Tensor]:
    """How many rows lower ranks hold, and how many all ranks hold, as scalars on the device."""
    if not is_active():
        return torch.zeros_like(held), held
    counts = held.new_zeros(dist.get_world_size())
    counts[dist.get_rank()] = held
    dist.all_reduce(counts)
    return counts[: dist.get_rank()].sum(), counts.sum()
