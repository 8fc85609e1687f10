"""What an encoder and decoder pair is to the pipeline."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Backbone(nn.Module, ABC):
    """An encoder to latents of dimension ``dim`` and a decoder back.

    Constructed from its options and what the builder injects: ``shape`` of a sample and ``dim``.

    Attributes:
        channel_first: latents are (B, dim, ...), as convolutions give, instead of (B, ..., dim).
        latent_shape: the positions of a sample's latents: (h, w), (tokens,) or ().
    """

    channel_first: bool = False
    latent_shape: tuple[int, ...]

    @abstractmethod
    def encode(self, x: Tensor) -> Tensor:
        """Samples (B, *shape) to latents."""

    @abstractmethod
    def decode(self, z: Tensor) -> Tensor:
        """Latents to samples (B, *shape)."""
