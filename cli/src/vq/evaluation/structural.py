"""Structural similarity of images (Wang et al. 2004, IEEE Trans. Image Processing 13, eq. 13)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vq.evaluation.metric import Metric
from vq.float32 import float32_products
from vqcore.distributed import sum_over_ranks
from vqcore.interfaces.output import Output

#: Side of the paper's window and standard deviation of its Gaussian; both shrink for small images.
WINDOW, SIGMA = 11, 1.5
#: Smallest side of an image that has a structural similarity.
SMALLEST = 3


class Ssim(Metric):
    """``ssim``, the mean over the images, and ``ssim_window``, the side of the Gaussian window.

    The window is the paper's 11 x 11, or the largest odd one that fits into a smaller image.
    K1 = 0.01, K2 = 0.03. As in the PSNR, decoded values are not clipped.

    Args:
        shape: (C, H, W), with sides of at least ``SMALLEST``.
        value_range: of the data.
        device: where the sums are kept.
    """

    def __init__(
        self, shape: tuple[int, ...], value_range: tuple[float, float], device: torch.device
    ) -> None:
        # Imported here, since it takes seconds.
        from torchmetrics.functional.image import structural_similarity_index_measure

        self.similarity = structural_similarity_index_measure
        side = min(WINDOW, *shape[1:])
        self.window = side if side % 2 else side - 1
        self.range = value_range[1] - value_range[0]
        #: of the similarities, and of the images.
        self.sums = torch.zeros(2, dtype=torch.float64, device=device)

    def update(self, x: Tensor, reconstruction: Tensor, out: Output) -> None:
        """See ``Metric.update``."""
        # torchmetrics derives the window's side from it: 2 floor(3.5 sigma + 0.5) + 1.
        sigma = SIGMA * self.window / WINDOW
        # Variances are differences of large numbers, for which TF32 is too coarse. float64 would be
        # ten times as slow on a CPU and change the seventh digit.
        images = (reconstruction.float(), x.float())
        with float32_products(x.device, "no"):
            similarity = self.similarity(
                *images, sigma=sigma, data_range=self.range, reduction="none"
            )
        assert isinstance(similarity, Tensor)  # a tuple only where more is asked for
        self.sums[0] += similarity.sum()
        self.sums[1] += len(x)

    def compute(self) -> dict[str, Any]:
        """See ``Metric.compute``."""
        sum_over_ranks(self.sums)
        total, images = self.sums.tolist()
        return {"ssim": total / images, "ssim_window": self.window}
