"""Samples as 8-bit images, and many of them as one PNG file."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image
from torch import Tensor

#: Pixels between the images of a grid.
PADDING = 2
#: Pixels of the smallest side that an image has in a grid.
_LEAST_SIDE = 32


def to_pixels(values: Tensor, value_range: tuple[float, float]) -> np.ndarray:
    """Images (B, C, H, W) of 1 or 3 channels as bytes (B, H, W) or (B, H, W, 3), clamped."""
    low, high = value_range
    shares = ((values.float() - low) / (high - low)).clamp(0, 1)
    pixels = (shares * 255).round().byte().cpu().movedim(1, -1).numpy()
    return pixels[..., 0] if pixels.shape[-1] == 1 else pixels


def grid_png(samples: Tensor, value_range: tuple[float, float], columns: int) -> bytes:
    """Images (B, C, H, W) of 1 or 3 channels in rows of ``columns``, as the bytes of a PNG file.

    Small images are enlarged by a whole number, each pixel to a square.
    """
    from torchvision.utils import make_grid

    factor = max(1, -(-_LEAST_SIDE // min(samples.shape[-2:])))
    large = samples.float().repeat_interleave(factor, -1).repeat_interleave(factor, -2)
    grid = make_grid(large, nrow=columns, padding=PADDING, pad_value=value_range[1])
    file = io.BytesIO()
    Image.fromarray(to_pixels(grid.unsqueeze(0), value_range)[0]).save(file, "PNG")
    return file.getvalue()
