"""The convolutional network of VQ-VAE (van den Oord et al. 2017, arXiv:1711.00937, section 4.1).

For pictures (C, H, W) as there, and for signals (C, T) and clips (C, T, H, W).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vq.models.backbones.sides import (
    CONVOLUTIONS,
    Convolution,
    check_axes,
    check_sides,
    default_halvings,
    halvings_of,
)
from vq.models.backbones.stack import Stack
from vqcore.interfaces.backbone import Backbone

#: Strided convolutions from which on ``keep_variance`` is the default.
DEEP = 4
#: Factor of the initial weights that form latents, and of those that form the image.
END_GAIN = 0.3


class ResidualBlock(nn.Module):
    """x + conv1x1(relu(conv3x3(relu(x)))), with ``inner`` channels between the two."""

    def __init__(self, width: int, inner: int, axes: int = 2) -> None:
        super().__init__()
        conv, _ = CONVOLUTIONS[axes]
        self.body = nn.Sequential(
            nn.ReLU(), conv(width, inner, 3, padding=1), nn.ReLU(), conv(inner, width, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *sides) to the same."""
        return x + self.body(x)


class Conv(Backbone):
    """Strided convolutions, residual blocks and a projection to ``dim``; the decoder mirrors them.

    Samples are pictures (C, H, W), signals (C, T) or clips (C, T, H, W). The frames of a clip are
    halved in the first strided convolutions, as long as 4 or more are left. For the options see
    ``ConvConfig``.

    Raises:
        SettingError: if samples are none of these, or their sides cannot be halved as often.
    """

    channel_first = True

    def __init__(
        self,
        *,
        shape: tuple[int, ...],
        dim: int,
        hidden: int = 64,
        residual_blocks: int = 2,
        residual_hidden: int | None = None,
        downsamplings: int | None = None,
        output: str = "linear",
        init: str | None = None,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        check_axes("conv", shape)
        channels, *sides = shape
        axes = len(sides)
        conv, transposed = CONVOLUTIONS[axes]
        count = default_halvings(*sides[-2:]) if downsamplings is None else downsamplings
        check_sides("downsamplings", count, sides[-2:], count)
        halvings = halvings_of(sides, count)
        self.latent_shape = tuple(side >> n for side, n in zip(sides, halvings, strict=True))
        inner = residual_hidden or hidden
        blocks = [ResidualBlock(hidden, inner, axes) for _ in range(2 * residual_blocks)]
        self.encoder = Stack(
            *strided(conv, channels, hidden, halvings),
            *blocks[:residual_blocks],
            nn.ReLU(),
            conv(hidden, dim, 1),
            checkpointing=checkpointing,
        )
        head = last_layers(hidden, channels, output, axes)
        self.decoder = Stack(
            conv(dim, hidden, 3, padding=1),
            *blocks[residual_blocks:],
            *strided(transposed, hidden, hidden, halvings),
            *head,
            checkpointing=checkpointing,
        )
        if begins_with_he(init, channels, count):
            keep_variance(self, ends=(self.encoder[-1], head[1]))

    @property
    def last_layer(self) -> nn.Parameter:
        """See ``Backbone.last_layer``."""
        return last_weight(self.decoder)

    def encode(self, x: Tensor) -> Tensor:
        """(B, C, *sides) to (B, dim, *positions)."""
        return self.encoder(x)

    def decode(self, z: Tensor) -> Tensor:
        """(B, dim, *positions) to (B, C, *sides)."""
        return self.decoder(z)


def strided(
    kind: Convolution, channels: int, hidden: int, halvings: Sequence[int]
) -> list[nn.Module]:
    """Convolutions that halve (transposed: double) each side so often, ReLU between them.

    There are as many as the side that is halved most often needs, or one of kernel 3. Kernel and
    stride are 4 and 2 along sides that are halved, first (transposed: last) those halved less
    often, and 3 and 1 along others.
    """
    plain, transposed = CONVOLUTIONS[len(halvings)]
    count = max(halvings)
    if count == 0:
        return [plain(channels, hidden, 3, padding=1)]
    layers: list[nn.Module] = []
    for layer in reversed(range(count)) if kind is transposed else range(count):
        halved = [layer < each for each in halvings]
        kernel, stride = ([a if each else b for each in halved] for a, b in ((4, 3), (2, 1)))
        convolution = kind(channels, hidden, tuple(kernel), stride=tuple(stride), padding=1)
        layers += [nn.ReLU(), convolution] if layers else [convolution]
        channels = hidden
    return layers


def begins_with_he(init: str | None, channels: int, halvings: int) -> bool:
    """Whether a network begins with the weights of ``keep_variance``.

    By default it does where they were measured to be better: colour images, and deep networks.
    """
    return channels >= 3 or halvings >= DEEP if init is None else init == "he"


@torch.no_grad()
def keep_variance(
    network: nn.Module,
    ends: Iterable[nn.Module],
    branches: Iterable[nn.Module] = (),
    gain: float = 2,
) -> None:
    """Initial weights with which a layer's output varies as its input does; less at the ``ends``.

    They are normal with gain / fan-in as variance, 2 as ReLU asks (He et al. 2015,
    arXiv:1502.01852), biases are 0, and residual blocks begin as the identity, as does what else
    ends in one of the ``branches``. torch's own weights lose two thirds of
    the variance in each convolution: behind five of them the latents are a constant with 3 % of
    noise, codes that start there lie on one point, and all but a few are never used again.
    """
    blocks = [each.body[-1] for each in network.modules() if isinstance(each, ResidualBlock)]
    plain, transposed = (tuple(kinds) for kinds in zip(*CONVOLUTIONS.values(), strict=True))
    for layer in network.modules():
        if isinstance(layer, plain + transposed):
            # an output of a transposed convolution sees a part of the kernel
            seen = math.prod(layer.stride) if isinstance(layer, transposed) else 1
            fan_in = layer.in_channels * math.prod(layer.kernel_size) / seen
            nn.init.normal_(layer.weight, std=math.sqrt(gain / fan_in))
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    factors = [(each, 0.0) for each in (*blocks, *branches)] + [(each, END_GAIN) for each in ends]
    for module, factor in factors:
        for parameter in module.parameters():
            parameter.mul_(factor)


def last_layers(hidden: int, channels: int, output: str, axes: int = 2) -> list[nn.Module]:
    """From features to a sample, with a tanh if ``output`` is ``tanh``."""
    conv, _ = CONVOLUTIONS[axes]
    layers: list[nn.Module] = [nn.ReLU(), conv(hidden, channels, 3, padding=1)]
    return [*layers, nn.Tanh()] if output == "tanh" else layers


def last_weight(layers: nn.Sequential) -> nn.Parameter:
    """The weight of the last of these layers that has one."""
    weights: list[Any] = [each.weight for each in layers if hasattr(each, "weight")]
    return weights[-1]
