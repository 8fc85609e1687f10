"""Focal frequency loss (Jiang et al. 2021, arXiv:2012.12821)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from vqcore import Loss, LossBatch, SampleSpec, SettingError


class FocalFrequency(Loss):
    """mean w |F - F_hat|^2 over Fourier coefficients (eq. 8), w = (|F - F_hat| / max)^alpha.

    F is the unitary transform over all axes but the channels, so that with ``alpha`` 0 the loss is
    the mean squared error. The largest difference ``max`` is that of a channel of a sample. The
    weight w is between 0 and 1 and has no gradient.

    Cost: O(n log n) for a channel of n values.

    Raises:
        SettingError: for vectors, whose values have no order.
    """

    recordable = True

    def __init__(self, *, samples: SampleSpec, alpha: float = 1.0, **options: Any) -> None:
        super().__init__(samples=samples, **options)
        if len(samples.shape) < 2:
            expected = f"images, signals or clips, found samples of {samples.shape}"
            raise SettingError("losses", "focal-frequency", expected, "use mse or l1")
        self.axes = tuple(range(2, 1 + len(samples.shape)))
        self.alpha = alpha

    def forward(self, batch: LossBatch) -> Tensor:
        """See ``Loss.forward``."""
        wide = torch.promote_types(batch.reconstruction.dtype, torch.float32)
        difference = batch.reconstruction.to(wide) - batch.inputs.to(wide)
        found = torch.view_as_real(torch.fft.fftn(difference, dim=self.axes, norm="ortho"))
        squared = found.square().sum(-1)  # of the real and of the imaginary part
        with torch.no_grad():
            size = squared.sqrt()
            largest = size.amax(self.axes, keepdim=True)
            weight = (size / largest.clamp(min=torch.finfo(wide).tiny)) ** self.alpha
        return (weight * squared).mean()
