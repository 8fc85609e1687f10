"""The axes of samples: convolutions over them, and how often each side is halved.

Samples are pictures (C, H, W), signals (C, T) or clips (C, T, H, W).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

from torch import nn

from vq.models.samples import nearest_sides
from vqcore.errors import SettingError

Convolution: TypeAlias = type[nn.Module]

#: By the number of axes besides the channels: the convolution and its transpose.
CONVOLUTIONS: dict[int, tuple[Convolution, Convolution]] = {
    1: (nn.Conv1d, nn.ConvTranspose1d),
    2: (nn.Conv2d, nn.ConvTranspose2d),
    3: (nn.Conv3d, nn.ConvTranspose3d),
}
#: Positions a side that the default number of halvings aims at, and may leave: of pictures, and of
#: signals, which have one side alone.
FEW_POSITIONS, MOST_POSITIONS = 8, 16
FEW_OF_A_SIGNAL, MOST_OF_A_SIGNAL = FEW_POSITIONS**2, MOST_POSITIONS**2
#: The frames of a clip are halved as long as so many positions are left.
FEWEST_FRAMES = 4
_RESIZE = "resize the images (dataset.image_size, if the data set has it)"
_CUT = "cut the signals to another length (dataset.length, if the data set has it)"


def check_axes(backbone: str, shape: tuple[int, ...]) -> None:
    """Refuse samples that are no signals, pictures or clips.

    Raises:
        SettingError: that names the backbone.
    """
    if len(shape) - 1 not in CONVOLUTIONS:
        expected = f"signals (C, T), images or clips (C, T, H, W), found samples of shape {shape}"
        raise SettingError("backbone", backbone, expected, "set backbone to mlp")


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


def check_sides(
    setting: str, value: object, sides: Sequence[int], halvings: int, fix: str = "lower it"
) -> None:
    """Refuse a setting that halves these sides of samples more often than is possible.

    Raises:
        SettingError: that names the setting.
    """
    if any(side % 2**halvings for side in sides):
        what = "sides" if len(sides) > 1 else "a length"
        expected = f"{what} {' x '.join(map(str, sides))} divisible by {2**halvings}"
        near = nearest_sides(sides, [2**halvings] * len(sides))
        raise SettingError(setting, value, expected, f"{fix}, or {_smaller(sides)} to {near}")


def default_halvings(
    *sides: int, setting: str = "downsamplings", at_most: int | None = None
) -> int:
    """The number that leaves 4 to 8 positions a side, or 33 to 64 of a single side.

    At least one, and ``at_most`` so many, which may leave more; twice to four times as many are
    left if divisibility ends before.

    Raises:
        SettingError: that names the setting, if more would be left.
    """
    few, most = FEW_POSITIONS, MOST_POSITIONS
    if len(sides) == 1:
        few, most = FEW_OF_A_SIGNAL, MOST_OF_A_SIGNAL
    side = min(sides)
    halvings = min(1, 1 - side % 2)
    while halvings and halvings != at_most and side >> halvings > few:
        if side % 2 ** (halvings + 1):
            break
        halvings += 1
    if halvings != at_most and side >> halvings > most:
        factor = 2 ** math.ceil(math.log2(side / most))
        what, factor = ("a length", factor) if len(sides) == 1 else ("a side", max(8, factor))
        expected = f"{what} that halves to {most} or less, found {side}"
        near = nearest_sides(sides, [factor] * len(sides))
        raise SettingError(
            setting, None, expected, f"{_smaller(sides)} to {near}, or set {setting}"
        )
    return halvings


def halvings_of(sides: Sequence[int], count: int) -> list[int]:
    """How often each side is halved: ``count`` times, and the frames of a clip less often.

    They are halved as long as 4 or more are left.
    """
    frames, plain = sides[:-2], sides[-2:]
    return [*(_frame_halvings(each, count) for each in frames), *[count] * len(plain)]


def _smaller(sides: Sequence[int]) -> str:
    return _RESIZE if len(sides) > 1 else _CUT


def _frame_halvings(frames: int, most: int) -> int:
    """How often the frames of a clip are halved: at most so often, to 4 or more."""
    twos = (frames & -frames).bit_length() - 1  # the power of 2 that divides them
    return min(most, twos, max(0, int(math.log2(frames / FEWEST_FRAMES))))
