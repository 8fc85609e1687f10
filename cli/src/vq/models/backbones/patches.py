"""Blocks of a picture as latents, without a network: with ``ema`` codes, classical vector quantization of images."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from vq.models.backbones.conv import picture
from vqcore.errors import SettingError
from vqcore.interfaces.backbone import Backbone


class Patches(Backbone):
    """Each block of size x size pixels is a latent of its channels times size^2 values, and the other way round.

    It has no parameters. ``dim`` is what the block makes it.

    Args:
        shape: (C, H, W).
        dim: not used.
        size: see ``PatchesConfig``.

    Attributes:
        scale: what a latent is multiplied by between ``encode`` and ``decode``, as curved manifolds do: ``decode``
            divides by it, for there is no network that could learn to.

    Raises:
        SettingError: if samples are no pictures, or their sides are no multiples of the block's.
    """

    channel_first = True

    def __init__(self, *, shape: tuple[int, ...], dim: int, size: int = 4) -> None:
        super().__init__()
        channels, height, width = picture("patches", shape)
        if height % size or width % size:
            raise SettingError("size", size, f"a divisor of the sides, {height} x {width}")
        self.size, self.scale = size, 1.0
        self.dim, self.latent_shape = channels * size**2, (height // size, width // size)

    def encode(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, dim, h, w)."""
        return F.pixel_unshuffle(x, self.size)

    def decode(self, z: Tensor) -> Tensor:
        """(B, dim, h, w) to (B, C, H, W)."""
        return F.pixel_shuffle(z / self.scale, self.size)
