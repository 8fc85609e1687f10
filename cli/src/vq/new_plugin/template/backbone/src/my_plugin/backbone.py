"""A linear autoencoder whose decoder is its transposed encoder, as in PCA."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from vqcore import Backbone


class MyPart(Backbone):
    """z = W (x - b), and back g W^T z + b: samples (B, *shape), z (B, tokens, dim)."""

    def __init__(self, *, shape: tuple[int, ...], dim: int, tokens: int = 4) -> None:
        super().__init__()
        self.shape, self.latent_shape = shape, (tokens,)
        values = math.prod(shape)
        self.weight = nn.Parameter(torch.randn(tokens * dim, values) * values**-0.5)
        self.bias = nn.Parameter(torch.zeros(values))
        self.gain = nn.Parameter(torch.ones(()))

    def encode(self, x: Tensor) -> Tensor:
        z = F.linear(x.flatten(1) - self.bias, self.weight)
        return z.view(x.shape[0], *self.latent_shape, -1)

    def decode(self, z: Tensor) -> Tensor:
        x = F.linear(self.gain * z.flatten(1), self.weight.T, self.bias)
        return x.view(z.shape[0], *self.shape)
