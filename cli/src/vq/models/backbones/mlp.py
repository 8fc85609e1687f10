"""Fully connected encoder and decoder, for vectors and small images."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from vqcore.interfaces.backbone import Backbone

ACTIVATIONS = {"tanh": nn.Tanh, "relu": nn.ReLU, "silu": nn.SiLU}


class MLP(Backbone):
    """Samples of any shape, flattened, to ``tokens`` latents and back.

    For the options see ``MLPConfig``.
    """

    def __init__(
        self,
        *,
        shape: tuple[int, ...],
        dim: int,
        hidden: int = 128,
        layers: int = 2,
        tokens: int = 1,
        activation: str = "tanh",
    ) -> None:
        super().__init__()
        self.shape, self.latent_shape = tuple(shape), (tokens,)
        middle = [hidden] * layers
        self.encoder = _stack([math.prod(shape), *middle, tokens * dim], ACTIVATIONS[activation])
        self.decoder = _stack([tokens * dim, *middle, math.prod(shape)], ACTIVATIONS[activation])

    @property
    def last_layer(self) -> nn.Parameter:
        """See ``Backbone.last_layer``."""
        last: Any = self.decoder[-1]
        return last.weight

    def encode(self, x: Tensor) -> Tensor:
        """(B, *shape) to (B, tokens, dim)."""
        return self.encoder(x.flatten(1)).unflatten(1, (*self.latent_shape, -1))

    def decode(self, z: Tensor) -> Tensor:
        """(B, tokens, dim) to (B, *shape)."""
        return self.decoder(z.flatten(1)).unflatten(1, self.shape)


def _stack(widths: list[int], activation: type[nn.Module]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), activation()]
    return nn.Sequential(*layers[:-1])
