"""Values of a data set as the bytes of a picture."""

from __future__ import annotations

import numpy as np
from torch import Tensor


def to_pixels(values: Tensor, value_range: tuple[float, float]) -> np.ndarray:
    """Pictures (B, C, H, W) of 1 or 3 channels as bytes (B, H, W) or (B, H, W, 3), rounded; beyond the range is cut."""
    low, high = value_range
    shares = ((values.float() - low) / (high - low)).clamp(0, 1)
    pixels = (shares * 255).round().byte().cpu().movedim(1, -1).numpy()
    return pixels[..., 0] if pixels.shape[-1] == 1 else pixels
