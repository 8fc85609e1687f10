"""The network of VQGAN (Esser et al. 2021, arXiv:2012.09841), which LlamaGen has, too.

Its published code pads one side before a strided convolution; here both sides are padded.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from vq.models.backbones.conv import keep_variance
from vq.models.backbones.sides import (
    CONVOLUTIONS,
    check_axes,
    check_sides,
    default_halvings,
    halvings_of,
)
from vq.models.backbones.stack import Stack
from vqcore.errors import SettingError
from vqcore.interfaces.backbone import Backbone

#: Default multipliers of the levels below the first, whose own is 1; of fewer levels, the last.
BELOW = (1, 2, 2, 4)
#: Groups of a normalization, if they have so many channels and divide them; otherwise fewer.
GROUPS, FEWEST_CHANNELS = 32, 4


class ResNet(Backbone):
    """Levels of residual blocks with group normalization, each at half the sides of the one before.

    Samples are pictures (C, H, W), signals (C, T) or clips (C, T, H, W). The frames of a clip are
    halved between the first levels, as long as 4 or more are left. The encoder ends, and the
    decoder begins, with a block, attention and a block; the decoder has one block more a level.
    For the options see ``ResNetConfig``.

    Cost: attention over n positions takes O(n^2) time and O(n) memory.

    Raises:
        SettingError: if samples are none of these, their sides cannot be halved as often, or
            ``attention`` names a size that no level has.
    """

    channel_first = True

    def __init__(
        self,
        *,
        shape: tuple[int, ...],
        dim: int,
        channels: int = 128,
        multipliers: Sequence[int] | None = None,
        blocks: int = 2,
        attention: Sequence[int] | None = None,
        init: str = "he",
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        check_axes("resnet", shape)
        taken, *sides = shape
        shown = sides[-2:]
        if multipliers is None:
            below = default_halvings(*shown, setting="multipliers", at_most=len(BELOW))
            multipliers = (1, *BELOW[len(BELOW) - below :])
        count = len(multipliers) - 1
        check_sides("multipliers", list(multipliers), shown, count, "give fewer")
        halvings = halvings_of(sides, count)
        self.latent_shape = tuple(side >> n for side, n in zip(sides, halvings, strict=True))
        levels = _Levels(
            axes=len(sides),
            widths=[channels * each for each in multipliers],
            strides=[tuple(1 + (level < n) for n in halvings) for level in range(count)],
            attended=_attended(attention, [min(shown) >> level for level in range(count + 1)]),
        )
        encoder = levels.encoder(taken, channels, blocks, dim)
        decoder = levels.decoder(dim, blocks + 1, taken)
        self.encoder = Stack(*encoder, checkpointing=checkpointing)
        self.decoder = Stack(*decoder, checkpointing=checkpointing)
        if init == "he":
            keep_variance(self, (encoder[-1][-1], decoder[-1][-1]), _branches(self), gain=1)

    @property
    def last_layer(self) -> nn.Parameter:
        """See ``Backbone.last_layer``."""
        head: Any = self.decoder[-1]
        return head[-1].weight

    def encode(self, x: Tensor) -> Tensor:
        """(B, C, *sides) to (B, dim, *positions)."""
        return self.encoder(x)

    def decode(self, z: Tensor) -> Tensor:
        """(B, dim, *positions) to (B, C, *sides)."""
        return self.decoder(z)


@dataclass(frozen=True)
class _Levels:
    """What encoder and decoder have in common, from the first level to the coarsest.

    Attributes:
        axes: of samples, besides the channels.
        widths: channels of each level.
        strides: from each level to the next.
        attended: the levels with attention.
    """

    axes: int
    widths: Sequence[int]
    strides: Sequence[tuple[int, ...]]
    attended: set[int]

    def encoder(self, taken: int, width: int, blocks: int, dim: int) -> list[Any]:
        """Layers from ``taken`` channels over ``width``, with ``blocks`` a level, to ``dim``."""
        conv, _ = CONVOLUTIONS[self.axes]
        layers: list[nn.Module] = [conv(taken, width, 3, padding=1)]
        for level, wide in enumerate(self.widths):
            if level:
                stride = self.strides[level - 1]
                layers.append(conv(width, width, 3, stride=stride, padding=1))
            layers += _level(width, wide, blocks, level in self.attended, self.axes)
            width = wide
        latents = _head(width, dim, self.axes)  # its weights are drawn before those of the middle
        return [*layers, *_middle(width, self.axes), latents]

    def decoder(self, dim: int, blocks: int, made: int) -> list[Any]:
        """Layers from ``dim`` channels, with ``blocks`` a level, to the ``made`` ones."""
        conv, _ = CONVOLUTIONS[self.axes]
        width = self.widths[-1]
        layers: list[nn.Module] = [conv(dim, width, 3, padding=1), *_middle(width, self.axes)]
        for level, wide in reversed([*enumerate(self.widths)]):
            layers += _level(width, wide, blocks, level in self.attended, self.axes)
            width = wide
            if level:
                doubled = nn.Upsample(scale_factor=self.strides[level - 1], mode="nearest")
                layers.append(nn.Sequential(doubled, conv(width, width, 3, padding=1)))
        return [*layers, _head(width, made, self.axes)]


class Block(nn.Module):
    """x + conv(silu(norm(conv(silu(norm(x)))))); x through a convolution if the width changes."""

    def __init__(self, width: int, wide: int, axes: int) -> None:
        super().__init__()
        conv, _ = CONVOLUTIONS[axes]
        self.body = nn.Sequential(
            *(_norm(width), nn.SiLU(), conv(width, wide, 3, padding=1)),
            *(_norm(wide), nn.SiLU(), conv(wide, wide, 3, padding=1)),
        )
        self.skip = nn.Identity() if width == wide else conv(width, wide, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *sides) to (B, C', *sides)."""
        return self.skip(x) + self.body(x)


class Attention(nn.Module):
    """x + attention of one head among the positions of norm(x)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = _norm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *sides) to the same."""
        tokens = self.norm(x).flatten(2).mT.unsqueeze(1)
        query, key, value = self.qkv(tokens).chunk(3, -1)
        mixed = self.out(F.scaled_dot_product_attention(query, key, value))
        return x + mixed.squeeze(1).mT.unflatten(2, x.shape[2:])


def _norm(width: int) -> nn.GroupNorm:
    # groups of a channel or two would lose how bright and how rich in contrast a sample is
    most = 2 ** int(math.log2(max(1, width / FEWEST_CHANNELS)))
    return nn.GroupNorm(min(most, math.gcd(GROUPS, width)), width, eps=1e-6)


def _level(width: int, wide: int, blocks: int, attends: bool, axes: int) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for _ in range(blocks):
        layers += [Block(width, wide, axes), *([Attention(wide)] if attends else [])]
        width = wide
    return layers


def _middle(width: int, axes: int) -> list[nn.Module]:
    return [Block(width, width, axes), Attention(width), Block(width, width, axes)]


def _head(width: int, channels: int, axes: int) -> nn.Sequential:
    conv, _ = CONVOLUTIONS[axes]
    return nn.Sequential(_norm(width), nn.SiLU(), conv(width, channels, 3, padding=1))


def _branches(network: nn.Module) -> Iterator[nn.Module]:
    """The last layers of what is added to its input."""
    for layer in network.modules():
        if isinstance(layer, Block):
            yield layer.body[-1]
        elif isinstance(layer, Attention):
            yield layer.out


def _attended(sizes: Sequence[int] | None, levels: Sequence[int]) -> set[int]:
    """The levels with attention, by their sizes; the coarsest if there is no choice."""
    if sizes is None:
        return {len(levels) - 1}
    for size in sizes:
        if size not in levels:
            expected = f"sizes among {', '.join(map(str, levels))}, the shorter sides of the levels"
            raise SettingError("attention", size, expected)
    return {levels.index(size) for size in sizes}
