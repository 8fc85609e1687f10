"""Random flips and shifts of images, as pure functions of a key and of each sample's position.

The position is that in the global batch, and draws are counter-based. So any number of processes
changes a sample in the same way, and a resumed run repeats the changes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vqcore.numerics.counter_rng import key_of, uniform_at


def augment(
    batch: Tensor, key: int, positions: Tensor, *, flip: bool = False, shift: int = 0
) -> Tensor:
    """Images (B, C, H, W) flipped and shifted at random, each by its own draws; borders reflect.

    One gather, without a synchronization of the device.

    Args:
        batch, key, positions: see ``DataSource.augment``.
        flip: flip half of the images horizontally.
        shift: largest shift in pixels along each axis, less than the shorter side. All whole
            numbers from -shift to shift are equally likely.
    """
    if not (flip or shift):
        return batch
    positions = positions.to(batch.device, non_blocking=True)
    height, width = batch.shape[-2:]
    rows = torch.arange(height, device=batch.device).expand(len(batch), -1)
    columns = torch.arange(width, device=batch.device).expand(len(batch), -1)
    if flip:
        flipped = uniform_at(key_of(key, 0), positions) < 0.5
        columns = torch.where(flipped.unsqueeze(1), columns.flip(1), columns)
    if shift:
        rows = _reflected(rows + _shifts(key_of(key, 1), positions, shift), height)
        columns = _reflected(columns + _shifts(key_of(key, 2), positions, shift), width)
    samples = torch.arange(len(batch), device=batch.device).view(-1, 1, 1)
    return batch[samples, :, rows.unsqueeze(2), columns.unsqueeze(1)].permute(0, 3, 1, 2)


def _shifts(key: int, positions: Tensor, shift: int) -> Tensor:
    """Whole numbers from -shift to shift, (B, 1)."""
    return (uniform_at(key, positions) * (2 * shift + 1)).long().unsqueeze(1) - shift


def _reflected(index: Tensor, size: int) -> Tensor:
    """Indices up to size - 1 beyond the ends, reflected without repeating the end itself."""
    last = size - 1
    return last - (last - index.abs()).abs()
