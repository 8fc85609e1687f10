"""Many samples as one picture."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image
from torch import Tensor
from torchvision.utils import make_grid

from vq_report.plots.pixels import to_pixels

#: Sides a sample is enlarged to at least, pixels, so that small ones can be seen.
_SEEN, _GAP = 32, 2


def grid_png(samples: Tensor, value_range: tuple[float, float], columns: int) -> bytes:
    """Pictures (B, C, H, W) of 1 or 3 channels in rows of ``columns``, as the bytes of a PNG file.

    Small ones are enlarged by a whole number, each pixel to a square.
    """
    factor = max(1, -(-_SEEN // min(samples.shape[-2:])))
    large = samples.float().repeat_interleave(factor, -1).repeat_interleave(factor, -2)
    laid_out = make_grid(large, nrow=columns, padding=_GAP, pad_value=value_range[1])
    pixels: np.ndarray = to_pixels(laid_out.unsqueeze(0), value_range)[0]
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
