"""Distance of spectra at several resolutions (Engel et al. 2020, DDSP, arXiv:2001.04643)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vqcore.errors import SettingError
from vqcore.interfaces.dataset import SampleSpec
from vqcore.interfaces.loss import Loss, LossBatch
from vqcore.numerics.stable import in_full_precision

#: The paper's windows; a signal has those that are no longer than it.
WINDOWS = (2048, 1024, 512, 256, 128, 64)
#: The shortest signal that has a spectrum.
SMALLEST = 16
#: Smaller magnitudes count as this one, whose logarithm is finite: in silence.
FLOOR = 1e-5


class SpectralDistance(Loss):
    """mean |S - S_hat| + log_weight mean |log S - log S_hat|, averaged over several windows.

    S are the magnitudes of a signal's short-time Fourier transform with a Hann window of n values
    every n/4 of them, divided by sqrt(n), which the paper does not do. Long windows tell pitches
    apart, short ones times; the logarithm weighs soft sounds as loud ones.

    Cost: O(T log n) for each channel and window.

    Raises:
        SettingError: for samples that are no signals (C, T), or shorter than a window.
    """

    recordable = True

    def __init__(
        self,
        *,
        samples: SampleSpec,
        windows: Sequence[int] | None = None,
        log_weight: float = 1.0,
        **options: Any,
    ) -> None:
        super().__init__(samples=samples, **options)
        if len(samples.shape) != 2 or samples.shape[1] < SMALLEST:
            expected = f"signals (C, T) of {SMALLEST} values or more, found {samples.shape}"
            raise SettingError("losses", "spectral", expected, "use mse or l1")
        length = samples.shape[1]
        if windows and max(windows) > length:
            expected = f"no window longer than a sample, which has {length} values"
            raise SettingError("windows", tuple(windows), expected)
        self.windows = tuple(windows or [n for n in WINDOWS if n <= length] or [SMALLEST])
        self.log_weight = log_weight
        for n in self.windows:
            self.register_buffer(f"hann{n}", torch.hann_window(n), persistent=False)

    def forward(self, batch: LossBatch) -> Tensor:
        """See ``Loss.forward``."""
        signals = torch.stack([in_full_precision(batch.inputs), batch.reconstruction])
        terms = []
        for n in self.windows:
            x, y = self._magnitudes(signals, n)
            logs = F.l1_loss(y.clamp(min=FLOOR).log(), x.clamp(min=FLOOR).log())
            terms.append(F.l1_loss(y, x) + self.log_weight * logs)
        return torch.stack(terms).mean()

    def _magnitudes(self, signals: Tensor, n: int) -> Tensor:
        """(..., T) to (..., n/2 + 1, frames)."""
        window = self.get_buffer(f"hann{n}")
        spectrum = torch.stft(
            signals.flatten(0, -2), n, n // 4, window=window, normalized=True, return_complex=True
        )
        return spectrum.abs().unflatten(0, signals.shape[:-1])
