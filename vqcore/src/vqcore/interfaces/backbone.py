"""What an encoder and decoder pair is to the pipeline."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn


class Backbone(nn.Module, ABC):
    """An encoder to latents of dimension ``dim`` and a decoder back.

    Constructed from its options and what the builder injects: ``shape`` of a sample and ``dim``. It is never called
    with an empty batch.

    Attributes:
        channel_first: latents are (B, dim, ...), as convolutions give, instead of (B, ..., dim).
        latent_shape: the positions of a sample's latents: (h, w), (tokens,) or ().
        dim: dimension of a latent, where the backbone's own structure sets it; None where it takes the one injected.
    """

    channel_first: bool = False
    latent_shape: tuple[int, ...]
    dim: int | None = None

    @abstractmethod
    def encode(self, x: Tensor) -> Tensor:
        """Samples (B, *shape) to latents."""

    @abstractmethod
    def decode(self, z: Tensor) -> Tensor:
        """Latents to samples (B, *shape)."""


class LevelBackbone(Backbone):
    """An encoder and decoder with several levels of latents, each quantized by itself, coarsest first.

    What goes between encoder and decoder is a tuple with a tensor a level. A finer level's latents may depend on what
    the coarser ones were quantized to, so ``encode`` gives features, and ``refine`` latents, one level after the other.

    Attributes:
        latent_shapes: the positions of each level's latents.
    """

    latent_shapes: tuple[tuple[int, ...], ...]

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """The number of positions of all levels together: their latents as one sequence."""
        return (sum(math.prod(shape) for shape in self.latent_shapes),)

    @abstractmethod
    def encode(self, x: Tensor) -> tuple[Tensor, ...]:
        """Samples (B, *shape) to the features of each level."""

    @abstractmethod
    def refine(self, level: int, features: Tensor, coarser: Sequence[Tensor]) -> Tensor:
        """Latents of a level (0 is the coarsest) from its features and the quantized vectors of all coarser ones."""

    @abstractmethod
    def decode(self, z: Sequence[Tensor]) -> Tensor:
        """The quantized vectors of all levels to samples (B, *shape)."""
