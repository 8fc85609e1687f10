"""Held-out samples beside what the model makes of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vq.models.autoencoder import VQModel
from vq.runs.files import writing

#: Sides a picture is enlarged to at least, pixels, so that 8 x 8 digits can be seen.
SEEN = 48
GAP = 2
PAIRS_A_ROW = 8


@torch.no_grad()
def save_reconstructions(
    path: Path, model: VQModel, batch: Tensor, value_range: tuple[float, float]
) -> None:
    """Write pairs of input (left) and reconstruction (right); vectors as rows of cells, input above.

    Args:
        path: of the PNG.
        model: evaluated as in eval mode, left in the mode it was in.
        batch: samples (B, *shape).
        value_range: smallest and largest value of the data.
    """
    was_training = model.training
    model.eval()
    decoded = model.to_values(model(batch).reconstruction)
    model.train(was_training)
    low, high = value_range
    both = [((x.float() - low) / (high - low)).clamp(0, 1).cpu() for x in (batch, decoded)]
    pixels = _pairs(*both) if batch.ndim == 4 else _rows(*both)
    with writing(path):
        Image.fromarray((pixels.numpy() * 255).round().astype(np.uint8)).save(path)


def _pairs(inputs: Tensor, outputs: Tensor) -> Tensor:
    """(B, C, H, W) twice, as one picture (H', W', 3)."""
    factor = max(1, -(-SEEN // inputs.shape[-1]))
    pairs = torch.cat([_enlarge(inputs, factor), _enlarge(outputs, factor)], -1)
    framed = torch.nn.functional.pad(pairs, (2 * GAP, 2 * GAP, GAP, GAP), value=1.0)
    rows = [torch.cat(list(row), -1) for row in framed.split(PAIRS_A_ROW)]
    widest = rows[0].shape[-1]
    rows = [torch.nn.functional.pad(row, (0, widest - row.shape[-1]), value=1.0) for row in rows]
    return torch.cat(rows, -2).permute(1, 2, 0)


def _enlarge(x: Tensor, factor: int) -> Tensor:
    color = x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x[:, :3]
    return color.repeat_interleave(factor, -1).repeat_interleave(factor, -2)


def _rows(inputs: Tensor, outputs: Tensor) -> Tensor:
    """(B, F) twice, as one picture: each sample's input row above its reconstruction."""
    x, y = inputs.flatten(1), outputs.flatten(1)
    lines = torch.stack([x, y, torch.ones_like(x)], 1).flatten(0, 1)
    factor = max(1, -(-512 // x.shape[1]))
    tall = lines.repeat_interleave(6, 0).repeat_interleave(factor, 1)
    return tall.unsqueeze(-1).expand(-1, -1, 3)
