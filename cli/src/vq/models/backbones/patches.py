"""Patches of an image as latents, without a network: classical VQ if the quantizer is ``ema``."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from vq.models.backbones.sides import image_shape
from vq.models.samples import nearest_sides
from vqcore.errors import SettingError
from vqcore.interfaces.backbone import Backbone
from vqcore.interfaces.manifold import Manifold


class Patches(Backbone):
    """Each patch of size x size pixels is a latent of channels times size^2 values.

    It has no parameters and sets ``dim`` itself. For ``size`` see ``PatchesConfig``.

    Raises:
        SettingError: if samples are not images, or ``size`` does not divide their sides.
    """

    channel_first = True
    scales: Tensor | None

    def __init__(self, *, shape: tuple[int, ...], dim: int, size: int = 4) -> None:
        super().__init__()
        channels, height, width = image_shape("patches", shape)
        if height % size or width % size:
            near = nearest_sides((height, width), (size, size))
            expected = f"a divisor of the sides, {height} x {width}"
            raise SettingError("size", size, expected, f"change it, or resize images to {near}")
        self.size, self.scale = size, 1.0
        self.register_buffer("scales", None, persistent=False)  # if dimensions differ, (dim, 1, 1)
        self.dim, self.latent_shape = channels * size**2, (height // size, width // size)

    def attach(self, manifold: Manifold, scale: float | Tensor, factors: int) -> None:
        """``decode`` divides by the scale, since there is no network to learn it."""
        if isinstance(scale, float):
            self.scale = scale
        else:
            self.scales = scale[:, None, None]

    def encode(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, dim, h, w)."""
        return F.pixel_unshuffle(x, self.size)

    def decode(self, z: Tensor) -> Tensor:
        """(B, dim, h, w) to (B, C, H, W)."""
        scale = self.scale if self.scales is None else self.scales.to(z.dtype)
        return F.pixel_shuffle(z / scale, self.size)
