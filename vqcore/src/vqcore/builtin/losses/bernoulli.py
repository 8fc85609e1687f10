"""Cross-entropy between values and the logits that a decoder emits for them."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from vqcore.errors import SettingError
from vqcore.interfaces.dataset import SampleSpec
from vqcore.interfaces.loss import Loss, LossBatch


class CrossEntropy(Loss):
    """-mean(x log p + (1 - x) log(1 - p)), where the decoder emits the logits of p.

    For values in [0, 1], such as bits. Reconstructions are then p.

    Cost: O(values).

    Raises:
        SettingError: for samples outside of [0, 1].
    """

    logits = True
    recordable = True

    def __init__(self, *, samples: SampleSpec, **options: Any) -> None:
        super().__init__(samples=samples, **options)
        low, high = samples.value_range
        if samples.likelihood != "bernoulli" and not 0 <= low <= high <= 1:
            expected = f"samples in [0, 1], and these are in [{low:g}, {high:g}]"
            raise SettingError("losses", "bernoulli", expected, "use mse or l1")

    def forward(self, batch: LossBatch) -> Tensor:
        """See ``Loss.forward``."""
        return F.binary_cross_entropy_with_logits(batch.decoded, batch.inputs)
