"""Mean absolute error."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from vqcore.interfaces.loss import Loss, LossBatch


class AbsoluteError(Loss):
    """mean(|x_hat - x|) over all values, which blurs less than squares and forgives outliers.

    Cost: O(values).
    """

    recordable = True

    def forward(self, batch: LossBatch) -> Tensor:
        """See ``Loss.forward``."""
        return F.l1_loss(batch.reconstruction, batch.inputs)
