"""The convolutional network of VQ-VAE (van den Oord et al. 2017, arXiv:1711.00937, section 4.1).

For pictures (C, H, W) as there, and for signals (C, T) and clips (C, T, H, W).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn

from vq.models.samples import nearest_sides
from vqcore.errors import SettingError
from vqcore.interfaces.backbone import Backbone

Convolution: TypeAlias = type[nn.Module]

#: By the number of axes besides the channels: the convolution and its transpose.
CONVOLUTIONS: dict[int, tuple[Convolution, Convolution]] = {
    1: (nn.Conv1d, nn.ConvTranspose1d),
    2: (nn.Conv2d, nn.ConvTranspose2d),
    3: (nn.Conv3d, nn.ConvTranspose3d),
}
#: Positions a side that the default number of strided convolutions aims at, and may leave: of
#: pictures, and of signals, which have one side alone.
FEW_POSITIONS, MOST_POSITIONS = 8, 16
FEW_OF_A_SIGNAL, MOST_OF_A_SIGNAL = FEW_POSITIONS**2, MOST_POSITIONS**2
#: The frames of a clip are halved as long as so many positions are left.
FEWEST_FRAMES = 4
#: Strided convolutions from which on ``keep_variance`` is the default.
DEEP = 4
#: Factor of the initial weights that form latents, and of those that form the image.
END_GAIN = 0.3
_RESIZE = "resize the images (dataset.image_size, if the data set has it)"
_CUT = "cut the signals to another length (dataset.length, if the data set has it)"


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
    ) -> None:
        super().__init__()
        channels, *sides = _checked(shape)
        axes = len(sides)
        conv, transposed = CONVOLUTIONS[axes]
        count = default_halvings(*sides[-2:]) if downsamplings is None else downsamplings
        check_sides("downsamplings", count, sides[-2:], count)
        halvings = [*(_frame_halvings(side, count) for side in sides[:-2]), *[count] * min(axes, 2)]
        self.latent_shape = tuple(side >> n for side, n in zip(sides, halvings, strict=True))
        inner = residual_hidden or hidden
        blocks = [ResidualBlock(hidden, inner, axes) for _ in range(2 * residual_blocks)]
        self.encoder = nn.Sequential(
            *strided(conv, channels, hidden, halvings),
            *blocks[:residual_blocks],
            nn.ReLU(),
            conv(hidden, dim, 1),
        )
        head = last_layers(hidden, channels, output, axes)
        self.decoder = nn.Sequential(
            conv(dim, hidden, 3, padding=1),
            *blocks[residual_blocks:],
            *strided(transposed, hidden, hidden, halvings),
            *head,
        )
        if begins_with_he(init, channels, count):
            keep_variance(self, ends=(self.encoder[-1], head[1]))

    def encode(self, x: Tensor) -> Tensor:
        """(B, C, *sides) to (B, dim, *positions)."""
        return self.encoder(x)

    def decode(self, z: Tensor) -> Tensor:
        """(B, dim, *positions) to (B, C, *sides)."""
        return self.decoder(z)


def _checked(shape: tuple[int, ...]) -> tuple[int, ...]:
    if len(shape) - 1 not in CONVOLUTIONS:
        expected = f"signals (C, T), images or clips (C, T, H, W), found samples of shape {shape}"
        raise SettingError("backbone", "conv", expected, "set backbone to mlp")
    return shape


def image_shape(backbone: str, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Channels, height and width of a sample.

    Raises:
        SettingError: if it is not an image.
    """
    if len(shape) != 3:
        expected = f"images, found samples of shape {shape}"
        fix = "set backbone to conv or mlp" if len(shape) - 1 in CONVOLUTIONS else "set it to mlp"
        raise SettingError("backbone", backbone, expected, fix)
    return shape


def check_sides(setting: str, value: int, sides: Sequence[int], halvings: int) -> None:
    """Refuse a setting that halves these sides of samples more often than is possible.

    Raises:
        SettingError: that names the setting.
    """
    if any(side % 2**halvings for side in sides):
        what = "sides" if len(sides) > 1 else "a length"
        expected = f"{what} {' x '.join(map(str, sides))} divisible by {2**halvings}"
        near = nearest_sides(sides, [2**halvings] * len(sides))
        raise SettingError(setting, value, expected, f"lower it, or {_smaller(sides)} to {near}")


def default_halvings(*sides: int) -> int:
    """The number that leaves 4 to 8 positions a side, or 33 to 64 of a single side.

    At least one; twice to four times as many are left if divisibility ends before.

    Raises:
        SettingError: if more would be left.
    """
    few, most = FEW_POSITIONS, MOST_POSITIONS
    if len(sides) == 1:
        few, most = FEW_OF_A_SIGNAL, MOST_OF_A_SIGNAL
    side = min(sides)
    halvings = min(1, 1 - side % 2)
    while halvings and (side >> halvings) > few and side % 2 ** (halvings + 1) == 0:
        halvings += 1
    if side >> halvings > most:
        factor = 2 ** math.ceil(math.log2(side / most))
        what, factor = ("a length", factor) if len(sides) == 1 else ("a side", max(8, factor))
        expected = f"{what} that halves to {most} or less, found {side}"
        near = nearest_sides(sides, [factor] * len(sides))
        fix = f"{_smaller(sides)} to {near}, or set the number of downsamplings"
        raise SettingError("downsamplings", None, expected, fix)
    return halvings


def _smaller(sides: Sequence[int]) -> str:
    return _RESIZE if len(sides) > 1 else _CUT


def _frame_halvings(frames: int, most: int) -> int:
    """How often the frames of a clip are halved: at most so often, to 4 or more."""
    twos = (frames & -frames).bit_length() - 1  # the power of 2 that divides them
    return min(most, twos, max(0, int(math.log2(frames / FEWEST_FRAMES))))


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
def keep_variance(network: nn.Module, ends: Iterable[nn.Module]) -> None:
    """Initial weights with which a layer's output varies as its input does; less at the ``ends``.

    They are normal with 2 / fan-in as variance, as ReLU asks (He et al. 2015, arXiv:1502.01852),
    biases are 0, and residual blocks begin as the identity. torch's own weights lose two thirds of
    the variance in each convolution: behind five of them the latents are a constant with 3 % of
    noise, codes that start there lie on one point, and all but a few are never used again.
    """
    blocks = [each for each in network.modules() if isinstance(each, ResidualBlock)]
    plain, transposed = (tuple(kinds) for kinds in zip(*CONVOLUTIONS.values(), strict=True))
    for layer in network.modules():
        if isinstance(layer, plain + transposed):
            # an output of a transposed convolution sees a part of the kernel
            seen = math.prod(layer.stride) if isinstance(layer, transposed) else 1
            fan_in = layer.in_channels * math.prod(layer.kernel_size) / seen
            nn.init.normal_(layer.weight, std=math.sqrt(2 / fan_in))
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    gains = [(block.body[-1], 0.0) for block in blocks] + [(end, END_GAIN) for end in ends]
    for module, gain in gains:
        for parameter in module.parameters():
            parameter.mul_(gain)


def last_layers(hidden: int, channels: int, output: str, axes: int = 2) -> list[nn.Module]:
    """From features to a sample, with a tanh if ``output`` is ``tanh``."""
    conv, _ = CONVOLUTIONS[axes]
    layers: list[nn.Module] = [nn.ReLU(), conv(hidden, channels, 3, padding=1)]
    return [*layers, nn.Tanh()] if output == "tanh" else layers
