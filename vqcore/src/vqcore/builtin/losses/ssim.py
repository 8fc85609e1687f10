"""Structural dissimilarity (Wang et al. 2004, IEEE Trans. Image Processing 13, eq. 13)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vqcore.errors import SettingError
from vqcore.interfaces.dataset import SampleSpec
from vqcore.interfaces.loss import Loss, LossBatch
from vqcore.numerics.stable import in_full_precision

#: Side of the paper's window and standard deviation of its Gaussian; both shrink for small images.
WINDOW, SIGMA = 11, 1.5
#: Smallest side of an image that has a structural similarity.
SMALLEST = 3
#: The constants of the paper, relative to the range of values.
K1, K2 = 0.01, 0.03


class StructuralDissimilarity(Loss):
    """1 - (2 m_x m_y + c1)(2 s_xy + c2) / ((m_x^2 + m_y^2 + c1)(s_x^2 + s_y^2 + c2)), its mean.

    m, s^2 and s_xy are means, variances and covariance in a Gaussian window of 11 x 11 values, or
    the largest odd one that fits, around each place; images are continued by reflection. c1 and c2
    are (0.01 L)^2 and (0.03 L)^2 for values of range L. It is 1 minus the ``ssim`` of evaluations.
    Of a clip each frame is an image.

    Cost: O(values) for each of the 2 x 11 values of a separable window.

    Raises:
        SettingError: for samples that are no images or clips, or smaller than 3 x 3.
    """

    recordable = True
    window: Tensor

    def __init__(self, *, samples: SampleSpec, **options: Any) -> None:
        super().__init__(samples=samples, **options)
        shape = samples.shape
        if len(shape) not in (3, 4) or min(shape[-2:]) < SMALLEST:
            expected = f"images or clips of {SMALLEST} x {SMALLEST} or more, found {shape}"
            raise SettingError("losses", "ssim", expected, "use mse or l1")
        side = min(WINDOW, *shape[-2:])
        self.register_buffer("window", _gaussian(side if side % 2 else side - 1), persistent=False)
        low, high = samples.value_range
        self.range = high - low or 1.0

    def forward(self, batch: LossBatch) -> Tensor:
        """See ``Loss.forward``."""
        x, y = in_full_precision(batch.inputs), batch.reconstruction
        c1, c2 = (K1 * self.range) ** 2, (K2 * self.range) ** 2
        # variances are differences of squares, which lose digits far from 0
        center = x.mean((-2, -1), keepdim=True)
        x, y = x - center, y - center
        m_x, m_y, x_x, y_y, x_y = self._smoothed(torch.stack([x, y, x * x, y * y, x * y]))
        contrast = (2 * (x_y - m_x * m_y) + c2) / (x_x - m_x**2 + y_y - m_y**2 + c2)
        m_x, m_y = m_x + center, m_y + center
        return 1 - (contrast * (2 * m_x * m_y + c1) / (m_x**2 + m_y**2 + c1)).mean()

    def _smoothed(self, images: Tensor) -> Tensor:
        """Means in the window around each place, (..., H, W)."""
        beside = len(self.window) // 2
        flat = F.pad(images.flatten(0, -3), [beside] * 4, "reflect").unsqueeze(0)
        # images as channels: as a batch, the gradient takes 30 times as long on a CPU
        count = flat.shape[1]
        across = self.window.expand(count, 1, 1, -1)
        down = self.window.unsqueeze(1).expand(count, 1, -1, 1)
        smooth = F.conv2d(F.conv2d(flat, across, groups=count), down, groups=count)
        return smooth.squeeze(0).unflatten(0, images.shape[:-2])


def _gaussian(side: int) -> Tensor:
    """Weights of a window (side,), which sum to 1."""
    places = torch.arange(side, dtype=torch.float64) - side // 2
    weights = torch.exp(-0.5 * (places * WINDOW / (SIGMA * side)) ** 2)
    return (weights / weights.sum()).float()
