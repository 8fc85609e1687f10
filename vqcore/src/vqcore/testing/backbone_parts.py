"""A backbone of one level or of several, treated alike: what it encodes to and decodes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from vqcore.interfaces.backbone import Backbone, LevelBackbone


def positions_of(backbone: Backbone) -> Sequence[tuple[int, ...]]:
    """The shape of the latents of each level, without D."""
    if isinstance(backbone, LevelBackbone):
        return backbone.latent_shapes
    return (tuple(backbone.latent_shape),)


def latents_of(backbone: Backbone, x: Tensor) -> tuple[Tensor, ...]:
    """The latents of each level; finer ones see those of coarser ones, as if they were codes."""
    if not isinstance(backbone, LevelBackbone):
        return (backbone.encode(x),)
    z: list[Tensor] = []
    for level, features in enumerate(backbone.encode(x)):
        z.append(backbone.refine(level, features, tuple(z)))
    return tuple(z)


def decode(backbone: Backbone, z: Sequence[Tensor]) -> Tensor:
    """What it makes of the latents of each level."""
    if isinstance(backbone, LevelBackbone):
        return backbone.decode(z)
    (only,) = z
    return backbone.decode(only)


def decoded_by(backbone: Backbone, x: Tensor) -> Tensor:
    """What it makes of samples, (B, *shape) or logits."""
    return decode(backbone, latents_of(backbone, x))


class _Encoder(nn.Module):
    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(B, *shape) to the latents of each level."""
        return latents_of(self.backbone, x)


class _Decoder(_Encoder):
    def forward(self, *z: Tensor) -> tuple[Tensor, ...]:
        """The latents of each level to samples."""
        return (decode(self.backbone, z),)


def halves_of(backbone: Backbone, x: Tensor) -> Iterator[tuple[nn.Module, tuple[Tensor, ...]]]:
    """Both halves as modules, and what they take."""
    with torch.no_grad():
        z = tuple(each.contiguous() for each in latents_of(backbone, x))
    yield _Encoder(backbone), (x,)
    yield _Decoder(backbone), z
