"""A floor for the spread of the latents, against their collapse."""

from typing import Any

from torch import Tensor
from vqcore import LatentBatch, Regularizer


class MyPart(Regularizer):
    """mean_i relu(floor - std(z_i)) over coordinates i (VICReg, arXiv:2105.04906)."""

    recordable = True

    def __init__(self, *, floor: float = 1.0, **options: Any) -> None:
        super().__init__(**options)
        self.floor = floor

    def forward(self, batch: LatentBatch) -> Tensor:
        kept = (batch.indices >= 0).unsqueeze(1)  # no masked tokens
        count = kept.sum().clamp(min=1)
        centred = (batch.z - (batch.z * kept).sum(0) / count) * kept
        std = (centred.square().sum(0) / count + 1e-6).sqrt()
        return (self.floor - std).relu().mean() * (kept.sum() > 0)
