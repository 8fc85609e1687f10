"""A table of codes that share a learned scale."""

from typing import Any

import torch
from torch import Tensor, nn
from vqcore import CodebookQuantizer


class MyPart(CodebookQuantizer):
    """Codes exp(tanh(scale_lr s)) w_k: those in use move all the others, by s."""

    code_tensors = ("weight",)

    def __init__(self, *, scale_lr: float = 10.0, **options: Any) -> None:
        super().__init__(**options)
        self.scale_lr = scale_lr
        self.weight = nn.Parameter(torch.randn(self.codebook_size, self.dim))
        self.log_scale = nn.Parameter(torch.zeros(()))

    def scale(self) -> Tensor:
        return (self.scale_lr * self.log_scale).tanh().exp()

    def stored(self) -> Tensor:
        return self.weight * self.scale()

    @torch.no_grad()
    def set_points(self, rows: Tensor, points: Tensor, optimizer: Any = None) -> None:
        weight = self.manifold.logmap0(points) / self.scale()
        self.weight.data.copy_(torch.where(rows[:, None], weight, self.weight))
