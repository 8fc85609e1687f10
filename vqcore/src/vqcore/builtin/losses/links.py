"""Links of a hierarchy against what is unrelated (Poincare embeddings, arXiv:1705.08039, eq. 6)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vqcore.errors import SettingError
from vqcore.interfaces.dataset import SampleSpec
from vqcore.interfaces.loss import Loss, LossBatch

#: Logits closer to 0 are those of two nodes in one place, up to rounding.
TOGETHER = 1e-6
#: The logit of what is left out of a sum of exponentials.
LEFT_OUT = -1e6


class Links(Loss):
    """-log(exp s[u, v] / (exp s[u, v] + sum_w exp s[u, w])), the mean over its links (u, v).

    A sample is a matrix (n, n) in which [u, v] is 1 if v is u or above it; (u, v) is a link where
    v is above u. The decoder emits logits s, which fall with the distance of u and v, as backbone
    ``distance`` does. The sum is over all nodes w that are neither above nor below u: the softmax
    is exact, where the paper draws negatives. Nodes in the same place as u are left out of it: two
    nodes with one code are equal for every decoder, and would only drive u's links away. So fewer
    codes have a lower value, and all nodes in one place have 0: compare embeddings by ``tree_map``.

    Cost: O(n^2) time and memory a sample.

    Raises:
        SettingError: for samples that are not square matrices of numbers from 0 to 1.
    """

    logits = True
    recordable = True

    def __init__(self, *, samples: SampleSpec, **options: Any) -> None:
        super().__init__(samples=samples, **options)
        shape, values = samples.shape, samples.value_range
        if len(shape) != 2 or shape[0] != shape[1] or values != (0.0, 1.0):
            sides = " x ".join(map(str, shape))
            found = f"{sides} in [{values[0]:g}, {values[1]:g}]"
            expected = f"samples of n x n relations in [0, 1], found {found}"
            raise SettingError("losses", "links", expected, "use the data set tree-links")

    def forward(self, batch: LossBatch) -> Tensor:
        """See ``Loss.forward``."""
        logits, above = batch.decoded, batch.inputs > 0.5
        related, together = above | above.mT, logits.abs() < TOGETHER
        others = torch.where(related | together, LEFT_OUT, logits).logsumexp(-1, keepdim=True)
        itself = torch.eye(above.shape[-1], dtype=torch.bool, device=above.device)
        links = above & ~itself
        terms = torch.where(links, F.softplus(others - logits), 0)
        return (terms.sum((1, 2)) / links.sum((1, 2)).clamp(min=1)).mean()
