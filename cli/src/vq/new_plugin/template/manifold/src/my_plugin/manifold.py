"""Flat space with half of its axes stretched."""

import torch
from torch import Tensor
from vqcore import Manifold


class MyPart(Manifold):
    """d(x, y) = |S (x - y)|, where S stretches the first half of the axes."""

    isotropic = False  # rotations change distances

    def __init__(self, *, stretch: float = 2.0) -> None:
        super().__init__()
        self.stretch = stretch

    def stretched(self, x: Tensor) -> Tensor:
        first, second = x.tensor_split(2, -1)
        return torch.cat([self.stretch * first, second], -1)

    def expmap0(self, u: Tensor) -> Tensor:
        return u

    def logmap0(self, x: Tensor) -> Tensor:
        return x

    def project(self, x: Tensor) -> Tensor:
        return x

    def check_points(self, x: Tensor) -> str | None:
        return None if x.isfinite().all() else "some coordinates are not finite"

    def squared_dist(self, x: Tensor, y: Tensor) -> Tensor:
        return self.stretched(x - y).square().sum(-1)
