"""Collectives over the processes of a run. Whether one is up is asked at each call, never remembered."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from vqcore.numerics import counter_rng


def is_active() -> bool:
    """Whether several processes train together now."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def sum_over_ranks(*tensors: Tensor) -> None:
    """Add up each tensor over the ranks, in place. Every rank calls it, also one whose shard is empty."""
    if is_active():
        for tensor in tensors:
            dist.all_reduce(tensor)


def from_first_rank(value: Tensor) -> Tensor:
    """The first rank's value on every rank, in place: ranks that were seeded apart still draw alike."""
    if is_active():
        dist.broadcast(value, 0)
    return value


def sample_rows(rows: Tensor, mask: Tensor, count: int, key: int) -> tuple[Tensor, Tensor]:
    """Draw rows at random from all ranks' rows as if one process held them in rank order.

    The draw is stratified: one row from each of ``count`` equal parts, so none comes twice while there are rows enough.

    Args:
        rows: (N, D), this rank's shard; N may be 0 and may differ between ranks.
        mask: (N,) bool, the rows that may be drawn.
        count: how many to draw.
        key: of the draw; the first rank's counts.

    Returns:
        The rows (count, D), equal on every rank (zeros where nothing could be drawn), and the number of rows there
        were to draw from, a scalar tensor. Each rank fills in the rows it holds and the sum over ranks completes
        them, so no shard is gathered and the host never waits.
    """
    position = mask.cumsum(0)
    held = mask.sum()
    first, total = _offsets(held)
    place = counter_rng.permutation(key, count, device=rows.device) + counter_rng.uniform(
        key + 1, count, device=rows.device
    )
    from_first_rank(place)
    part = place.long()
    start, end = part * total // count, (part + 1) * total // count
    wanted = start + (place.frac() * (end - start)).long() - first
    mine = (wanted >= 0) & (wanted < held)
    if rows.shape[0] == 0:
        drawn = rows.new_zeros(count, rows.shape[1])
    else:
        index = torch.searchsorted(position, wanted.clamp(min=0) + 1).clamp(max=rows.shape[0] - 1)
        drawn = torch.where(mine.unsqueeze(1), rows[index], torch.zeros_like(rows[:1]))
    sum_over_ranks(drawn)
    return drawn, total


def _offsets(held: Tensor) -> tuple[Tensor, Tensor]:
    """How many rows the ranks before this one hold, and how many all hold, as scalars on the device."""
    if not is_active():
        return torch.zeros_like(held), held
    counts = held.new_zeros(dist.get_world_size())
    counts[dist.get_rank()] = held
    dist.all_reduce(counts)
    return counts[: dist.get_rank()].sum(), counts.sum()
