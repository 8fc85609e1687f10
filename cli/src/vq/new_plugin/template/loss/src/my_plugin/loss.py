"""The Charbonnier loss, which outliers hardly move."""

from typing import Any

from torch import Tensor
from vqcore import Loss, LossBatch


class MyPart(Loss):
    """mean(sqrt(e^2 + width^2) - width) over errors e (Charbonnier et al. 1994)."""

    recordable = True

    def __init__(self, *, width: float = 0.1, **options: Any) -> None:
        super().__init__(**options)
        self.width = width

    def forward(self, batch: LossBatch) -> Tensor:
        error = batch.reconstruction - batch.inputs
        return ((error.square() + self.width**2).sqrt() - self.width).mean()
