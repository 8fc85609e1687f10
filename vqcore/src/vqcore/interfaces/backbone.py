"""The interface of a backbone: an encoder and decoder pair."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal

from torch import Tensor, nn

from vqcore.interfaces.manifold import Manifold


class Backbone(nn.Module, ABC):
    """An encoder to latents of dimension ``dim`` and a decoder back.

    The builder passes the component's options and, as keywords, ``shape`` (of a sample) and
    ``dim``; where ``emits`` is logits, also ``classes``, the number of them that the data have. A
    backbone never receives an empty batch.

    Attributes:
        emits: what ``decode`` returns: ``samples``, or ``logits`` (B, classes) of the classes of
            samples. With logits a run is a classifier, trained through its bottleneck.
        channel_first: latents are (B, dim, ...), as from convolutions, instead of (B, ..., dim).
        latent_shape: positions of a sample's latents: (h, w), (tokens,) or (). With
            ``channel_first`` and as many axes as a sample has sides, they tell the strides: a model
            then takes samples of other sides that these divide.
        dim: dimension of a latent if the backbone's structure sets it; None if it takes the
            injected one.
    """

    emits: ClassVar[Literal["samples", "logits"]] = "samples"
    channel_first: bool = False
    latent_shape: tuple[int, ...]
    dim: int | None = None

    @property
    def last_layer(self) -> nn.Parameter | None:
        """The weight of the decoder's last layer, for losses that are balanced by gradients there.

        None where there is none, or it is not known.
        """
        return None

    def attach(self, manifold: Manifold, scale: float | Tensor, factors: int) -> None:
        """Learn of the bottleneck, which the builder has made; called once, before any sample.

        A backbone that keeps the manifold must not register it, which the bottleneck has done.

        Args:
            manifold: whose tangent vectors ``decode`` gets.
            scale: the factor of a latent between ``encode`` and ``decode``, as on curved manifolds:
                a float, or float64 (dim,) where dimensions differ, as on a product of manifolds.
                Cast that to the type of the latents, and shape it where these are
                ``channel_first``, as in ``scale[:, None, None]`` for (B, dim, h, w).
            factors: number of equal parts of a latent that are separate tangent vectors.
        """
        return

    @abstractmethod
    def encode(self, x: Tensor) -> Tensor:
        """Latents (B, *latent_shape, dim), or (B, dim, *latent_shape), of samples (B, *shape)."""

    @abstractmethod
    def decode(self, z: Tensor) -> Tensor:
        """Samples (B, *shape), or see ``output``, from latents as ``encode`` lays them out."""


class LevelBackbone(Backbone):
    """A backbone with several levels of latents, each quantized separately, coarsest first.

    Encoder and decoder exchange a tuple with one tensor a level. A finer level's latents may depend
    on the quantized vectors of coarser ones: ``encode`` returns features, and ``refine`` turns them
    into latents, one level after the other.

    Attributes:
        latent_shapes: positions of each level's latents.
    """

    latent_shapes: tuple[tuple[int, ...], ...]

    @property
    def latent_shape(self) -> tuple[int, ...]:  # type: ignore[override]  # derived, so read-only
        """The number of positions of all levels together, as one sequence."""
        return (sum(math.prod(shape) for shape in self.latent_shapes),)

    @abstractmethod
    def encode(self, x: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]  # one a level
        """The features of each level from samples (B, *shape)."""

    @abstractmethod
    def refine(self, level: int, features: Tensor, coarser: Sequence[Tensor]) -> Tensor:
        """Latents of a level from its features and the quantized vectors of all coarser levels.

        Level 0 is the coarsest.
        """

    @abstractmethod
    def decode(self, z: Sequence[Tensor]) -> Tensor:  # type: ignore[override]  # one a level
        """Samples (B, *shape) from the quantized vectors of all levels."""
