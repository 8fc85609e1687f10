"""samples/: held-out samples beside their reconstructions."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import PIL.Image
import torch
import torch.nn.functional as F
from torch import Tensor

from vq.files import write_bytes, writing
from vq.models.autoencoder import VQModel
from vq.models.eval_mode import eval_mode
from vqcore.interfaces.dataset import Split

#: Samples in a plot.
SAMPLES = 16
#: Smallest side in pixels that an image is enlarged to, so that 8 x 8 digits are visible.
SIDE = 48
GAP = 2
PAIRS_PER_ROW = 8
#: Largest width of a plotted signal, and its height, in pixels.
WAVE_WIDTH, WAVE_HEIGHT = 1024, 48


def spread_samples(split: Split, device: torch.device) -> Tensor:
    """The samples to plot, spread over the split: neighbours may be alike."""
    last = len(split) - 1
    return next(split.batches([torch.linspace(0, last, min(SAMPLES, last + 1)).long()], device))


@torch.no_grad()
def save_reconstructions(
    path: Path, model: VQModel, batch: Tensor, value_range: tuple[float, float]
) -> None:
    """Write pairs of input (left) and reconstruction (right), of clips the frame in their middle.

    Signals (C, T) are curves and vectors rows of cells, each input above its reconstruction.

    Args:
        path: of the PNG file; its folder is made if needed.
        model: evaluated in eval mode, left in the mode it was in.
        batch: samples (B, *shape).
        value_range: smallest and largest value of the data.
    """
    with eval_mode(model):
        decoded = model.to_values(model(batch).reconstruction)
    low, high = value_range
    shares = [((x.float() - low) / (high - low)).clamp(0, 1) for x in (batch, decoded)]
    both = [share.nan_to_num().cpu() for share in shares]
    if batch.ndim == 5:
        both = [clips[:, :, clips.shape[2] // 2] for clips in both]
    draw = {3: _waves, 4: _pairs, 5: _pairs}.get(batch.ndim, _rows)
    pixels = draw(*both)
    buffer = io.BytesIO()
    PIL.Image.fromarray((pixels.numpy() * 255).round().astype(np.uint8)).save(buffer, "PNG")
    with writing(path):
        path.parent.mkdir(exist_ok=True)
    write_bytes(path, buffer.getvalue())


def _pairs(inputs: Tensor, outputs: Tensor) -> Tensor:
    """(B, C, H, W) twice, as one image (H', W', 3)."""
    factor = max(1, -(-SIDE // inputs.shape[-1]))
    pairs = torch.cat([_enlarge(inputs, factor), _enlarge(outputs, factor)], -1)
    framed = F.pad(pairs, (2 * GAP, 2 * GAP, GAP, GAP), value=1.0)
    rows = [torch.cat(list(row), -1) for row in framed.split(PAIRS_PER_ROW)]
    widest = rows[0].shape[-1]
    rows = [F.pad(row, (0, widest - row.shape[-1]), value=1.0) for row in rows]
    return torch.cat(rows, -2).permute(1, 2, 0)


def _enlarge(x: Tensor, factor: int) -> Tensor:
    color = x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x[:, :3]
    return color.repeat_interleave(factor, -1).repeat_interleave(factor, -2)


def _waves(inputs: Tensor, outputs: Tensor) -> Tensor:
    """(B, C, T) twice, as one image: each sample's mean channel above its reconstruction's."""
    signals = torch.stack([inputs, outputs], 1).flatten(0, 1).mean(1)
    step = -(-signals.shape[1] // WAVE_WIDTH)  # values that a column of pixels spans
    padded = torch.cat([signals, signals[:, -1:].expand(-1, step)], 1)
    low, high = padded.unfold(1, step + 1, step).aminmax(dim=2)  # joined to the next column
    levels = torch.linspace(1, 0, WAVE_HEIGHT).view(-1, 1)
    reach = 0.5 / (WAVE_HEIGHT - 1)
    is_ink = (levels >= low.unsqueeze(1) - reach) & (levels <= high.unsqueeze(1) + reach)
    framed = F.pad(1 - 0.8 * is_ink.float(), (0, 0, GAP, GAP), value=1.0)
    framed = framed.repeat_interleave(max(1, WAVE_WIDTH // 2 // framed.shape[2]), 2)
    return framed.flatten(0, 1).unsqueeze(-1).expand(-1, -1, 3)


def _rows(inputs: Tensor, outputs: Tensor) -> Tensor:
    """(B, F) twice, as one image: each sample's input row above its reconstruction."""
    x, y = inputs.flatten(1), outputs.flatten(1)
    lines = torch.stack([x, y, torch.ones_like(x)], 1).flatten(0, 1)
    factor = max(1, -(-512 // x.shape[1]))
    tall = lines.repeat_interleave(6, 0).repeat_interleave(factor, 1)
    return tall.unsqueeze(-1).expand(-1, -1, 3)
