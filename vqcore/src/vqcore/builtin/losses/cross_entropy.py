"""Cross-entropy between the classes of samples and the logits that a classifier emits."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from vqcore.interfaces.loss import Loss, LossBatch


class LabelCrossEntropy(Loss):
    """-mean(log p_y), with p the softmax of the logits (B, classes) and y the class of a sample.

    Cost: O(classes) a sample.
    """

    labels = True
    recordable = True

    def forward(self, batch: LossBatch) -> Tensor:
        """See ``Loss.forward``."""
        assert batch.labels is not None  # the trainer has refused data without them
        return F.cross_entropy(batch.decoded, batch.labels)
