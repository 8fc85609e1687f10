"""Structural similarity of pictures (Wang et al. 2004, IEEE Trans. Image Processing 13, eq. 13)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vq.evaluation.metric import Figure
from vqcore.interfaces.output import Output

#: Side of the paper's window, and the deviation of its Gaussian; a picture with shorter sides gets both smaller.
WINDOW, SIGMA = 11, 1.5
SMALLEST = 3


class Ssim(Figure):
    """``ssim``, the mean over the pictures, and ``ssim_window``, the side of the Gaussian window.

    The window is the paper's 11 x 11, or the largest odd one that fits into a smaller picture. K1 = 0.01, K2 = 0.03;
    values are taken as the decoder gives them, as in the PSNR.

    Args:
        shape: (C, H, W), with sides of at least ``SMALLEST``.
        value_range: of the data.
        device: where the sums are kept.
    """

    def __init__(
        self, shape: tuple[int, ...], value_range: tuple[float, float], device: torch.device
    ) -> None:
        from torchmetrics.functional.image import (
            structural_similarity_index_measure,
        )  # takes seconds

        self.similarity = structural_similarity_index_measure
        side = min(WINDOW, *shape[1:])
        self.window = side if side % 2 else side - 1
        self.range = value_range[1] - value_range[0]
        self.total, self.samples = torch.zeros((), dtype=torch.float64, device=device), 0

    def add(self, x: Tensor, reconstruction: Tensor, out: Output) -> None:
        """See ``Figure.add``."""
        sigma = (
            SIGMA * self.window / WINDOW
        )  # the window's side follows from it: 2 floor(3.5 sigma + 0.5) + 1
        # Variances are differences of large numbers, and a GPU would convolve float32 in TF32.
        pair = reconstruction.double(), x.double()
        self.total += self.similarity(
            *pair, sigma=sigma, data_range=self.range, reduction="none"
        ).sum()
        self.samples += len(x)

    def numbers(self) -> dict[str, Any]:
        """See ``Figure.numbers``."""
        return {"ssim": float(self.total) / self.samples, "ssim_window": self.window}
