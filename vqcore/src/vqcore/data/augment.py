"""Random crops, flips and shifts of images: pure functions of a key and of each sample's position.

The position is that in the global batch, and draws are counter-based. So any number of processes
changes a sample in the same way, and a resumed run repeats the changes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vqcore.data.crop import DRAWS, Crop
from vqcore.data.transfer import to_device
from vqcore.numerics.counter_rng import key_of, uniform_at


def augment(
    batch: Tensor,
    key: int,
    positions: Tensor,
    *,
    flip: bool = False,
    shift: int = 0,
    crop: Crop | None = None,
) -> Tensor:
    """Images (B, C, H, W) cropped, flipped and shifted at random, each by its own draws.

    Crops are resized to the images' own size. What a shift moves in is reflected at the border.

    Which row and column each pixel comes from is computed where the positions are, on the host. The
    device gets it in one copy and gathers the pixels in one pass; nothing waits for it.

    Args:
        batch, key, positions: see ``DataSource.augment``.
        flip: flip half of the images horizontally.
        shift: largest shift in pixels along each axis, less than the shorter side. All whole
            numbers from -shift to shift are equally likely.
        crop: of each image.
    """
    if crop is not None and len(batch):
        batch = _cropped(batch, crop, crop_draws(key, positions))
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


def crop_draws(key: int, positions: Tensor) -> Tensor:
    """Numbers from [0, 1) for a crop of each sample, (B, 4) float64."""
    return torch.stack([uniform_at(key_of(key, 3 + i), positions) for i in range(DRAWS)], 1)


def _cropped(batch: Tensor, crop: Crop, draws: Tensor) -> Tensor:
    """A part of each image, enlarged to its size by bilinear interpolation."""
    height, width = batch.shape[-2:]
    rows = []
    for numbers in draws.tolist():
        top, left, tall, wide = crop.box(height, width, (height, width), numbers)
        # from the output's coordinates, -1 to 1, to the input's
        right, down = (2 * left + wide) / width - 1, (2 * top + tall) / height - 1
        rows.append([[wide / width, 0.0, right], [0.0, tall / height, down]])
    maps = to_device(torch.tensor(rows, dtype=batch.dtype), batch.device)
    grid = F.affine_grid(maps, list(batch.shape), align_corners=False)
    return F.grid_sample(batch, grid, padding_mode="border", align_corners=False)


def _shifts(key: int, positions: Tensor, shift: int) -> Tensor:
    """Whole numbers from -shift to shift, (B, 1)."""
    return (uniform_at(key, positions) * (2 * shift + 1)).long().unsqueeze(1) - shift


def _reflected(index: Tensor, size: int) -> Tensor:
    """Indices up to size - 1 beyond the ends, reflected without repeating the end itself."""
    last = size - 1
    return last - (last - index.abs()).abs()
