"""Distances as the decoder: Poincare embeddings (Nickel and Kiela 2017, arXiv:1705.08039)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vqcore.errors import SettingError
from vqcore.interfaces.backbone import Backbone
from vqcore.interfaces.manifold import Manifold
from vqcore.numerics.stable import safe_sqrt

#: Standard deviation of the initial points in each dimension: close to the origin.
NEAR = 0.05


class Distance(Backbone):
    """A free point for each node of a graph, and minus their distances as what is decoded.

    Samples are matrices (n, n) of a relation between n nodes, such as those of ``tree-links``. The
    encoder is a table, whatever the sample: a latent for each node. The decoder has no parameters
    that could warp what it gets: logit [u, v] is -d(u, v) / temperature, on the manifold of the
    latents. For the options see ``DistanceConfig``.

    Cost: O(n^2 D) time and memory a sample, some 30 n^2 numbers in training.

    Raises:
        SettingError: if samples are not square matrices.
    """

    def __init__(self, *, shape: tuple[int, ...], dim: int, temperature: float = 0.5) -> None:
        super().__init__()
        if len(shape) != 2 or shape[0] != shape[1]:
            sides = " x ".join(map(str, shape))
            expected = f"samples of n x n relations of n nodes, found {sides}"
            raise SettingError("backbone", "distance", expected, "use the data set tree-links")
        self.latent_shape, self.temperature = (shape[0],), temperature
        self.nodes = nn.Parameter(NEAR * torch.randn(shape[0], dim))
        self._space: tuple[Manifold, int] | None = None  # in a tuple, which registers no module

    def attach(self, manifold: Manifold, scale: float | Tensor, factors: int) -> None:
        """See ``Backbone.attach``."""
        self._space = manifold, factors

    def encode(self, x: Tensor) -> Tensor:
        """(B, n, n) to (B, n, dim), the same for every sample."""
        return self.nodes.expand(x.shape[0], -1, -1)  # len(x) is a constant in an export

    def decode(self, z: Tensor) -> Tensor:
        """(B, n, dim) to logits (B, n, n)."""
        assert self._space is not None, "a model is built with attach"
        manifold, factors = self._space
        points = manifold.expmap0(z.unflatten(-1, (factors, -1)))
        squared = manifold.squared_dist(points.unsqueeze(2), points.unsqueeze(1)).sum(-1)
        return safe_sqrt(squared) / -self.temperature
