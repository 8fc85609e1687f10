"""Mean squared error."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from vqcore.interfaces.loss import Loss, LossBatch


class SquaredError(Loss):
    """mean((x_hat - x)^2) over all values: the likelihood of a Gaussian of fixed variance.

    Cost: O(values).
    """

    recordable = True

    def forward(self, batch: LossBatch) -> Tensor:
        """See ``Loss.forward``."""
        return F.mse_loss(batch.reconstruction, batch.inputs)
