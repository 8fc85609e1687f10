"""A straight-through estimator with a damped gradient."""

from torch import Tensor
from vqcore import GradientEstimator, Manifold


class MyPart(GradientEstimator):
    """The value is z_q to the bit; d out / d z = gain I."""

    def __init__(self, *, manifold: Manifold, gain: float = 0.5) -> None:
        super().__init__(manifold=manifold)
        self.gain = gain

    def forward(self, z: Tensor, z_q: Tensor) -> Tensor:
        return z_q.detach() + self.gain * (z - z.detach())
