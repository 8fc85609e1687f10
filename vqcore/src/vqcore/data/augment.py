"""Random flips and shifts of images, as pure functions of a key and of each sample's position.

The position is that in the global batch, and draws are counter-based. So any number of processes
changes a sample in the same way, and a resumed run repeats the changes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vqcore.data.transfer import to_device
from vqcore.numerics.counter_rng import key_of, uniform_at


def augment(
    batch: Tensor, key: int, positions: Tensor, *, flip: bool = False, shift: int = 0
) -> Tensor:
    """Images (B, C, H, W) flipped and shifted at random, each by its own draws; borders reflect.

    Which row and column each pixel comes from is computed where the positions are, on the host. The
    device gets it in one copy and gathers the pixels in one pass; nothing waits for it.

    Args:
        batch, key, positions: see ``DataSource.augment``.
        flip: flip half of the images horizontally.
        shift: largest shift in pixels along each axis, less than the shorter side. All whole
            numbers from -shift to shift are equally likely.
    """
    if not (flip or shift):
        return batch
    height, width = batch.shape[-2:]
    rows = torch.arange(height, device=positions.device).expand(len(batch), -1)
    columns = torch.arange(width, device=positions.device).expand(len(batch), -1)
    if flip:
        flipped = uniform_at(key_of(key, 0), positions) < 0.5
        columns = torch.where(flipped.unsqueeze(1), columns.flip(1), columns)
    if shift:
        rows = _reflected(rows + _shifts(key_of(key, 1), positions, shift), height)
        columns = _reflected(columns + _shifts(key_of(key, 2), positions, shift), width)
    origin = to_device(torch.cat([rows, columns], 1), batch.device)
    rows, columns = origin.split((height, width), 1)
    samples = torch.arange(len(batch), device=batch.device).view(-1, 1, 1)
    return batch[samples, :, rows.unsqueeze(2), columns.unsqueeze(1)].permute(0, 3, 1, 2)


def _shifts(key: int, positions: Tensor, shift: int) -> Tensor:
    """Whole numbers from -shift to shift, (B, 1)."""
    return (uniform_at(key, positions) * (2 * shift + 1)).long().unsqueeze(1) - shift


def _reflected(index: Tensor, size: int) -> Tensor:
    """Indices up to size - 1 beyond the ends, reflected without repeating the end itself."""
    last = size - 1
    return last - (last - index.abs()).abs()
