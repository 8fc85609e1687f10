"""Flips and shifts of pictures on the device: pure functions of a key and of each sample's place in the global batch.

Hash draws instead of a generator: one process and several change the same sample alike, and going on repeats what
would have been done.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vqcore.numerics.counter_rng import key_of, uniform_at


def augment(
    batch: Tensor, key: int, positions: Tensor, *, flip: bool = False, shift: int = 0
) -> Tensor:
    """Pictures mirrored and moved at random, each by draws of its own; what moves in is reflected at the border.

    Waits for no device: one gather, whatever is asked for.

    Args:
        batch: (B, C, H, W).
        key: of the step, as in ``key_of(seed, step)``.
        positions: (B,) int64, where each sample stands in the batch of all processes.
        flip: mirror half of the pictures left to right.
        shift: largest move, pixels, along each axis; every move up to it, none included, is as likely. It is less
            than the shorter side.
    """
    if not (flip or shift):
        return batch
    positions = positions.to(batch.device, non_blocking=True)
    height, width = batch.shape[-2:]
    rows = torch.arange(height, device=batch.device).expand(len(batch), -1)
    columns = torch.arange(width, device=batch.device).expand(len(batch), -1)
    if flip:
        mirrored = uniform_at(key_of(key, 0), positions) < 0.5
        columns = torch.where(mirrored.unsqueeze(1), columns.flip(1), columns)
    if shift:
        rows = _reflected(rows + _moves(key_of(key, 1), positions, shift), height)
        columns = _reflected(columns + _moves(key_of(key, 2), positions, shift), width)
    samples = torch.arange(len(batch), device=batch.device).view(-1, 1, 1)
    return batch[samples, :, rows.unsqueeze(2), columns.unsqueeze(1)].permute(0, 3, 1, 2)


def _moves(key: int, positions: Tensor, shift: int) -> Tensor:
    """Whole numbers from -shift to shift, (B, 1)."""
    return (uniform_at(key, positions) * (2 * shift + 1)).long().unsqueeze(1) - shift


def _reflected(index: Tensor, size: int) -> Tensor:
    """Indices up to size - 1 beyond the ends, folded back; the end itself is not repeated."""
    last = size - 1
    return last - (last - index.abs()).abs()
