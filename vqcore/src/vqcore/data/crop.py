"""Which part of an image is cut out: a pure function of its size and of numbers drawn for it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from vqcore.errors import SettingError

CropKind: TypeAlias = Literal["center", "random", "resized", "pixels"]
#: Numbers from [0, 1) that one crop takes.
DRAWS = 4
_CENTRE = (0.5, 0.5, 0.5, 0.5)


class Box(NamedTuple):
    """A part of an image, in pixels; fractions are shares of a pixel."""

    top: float
    left: float
    height: float
    width: float


@dataclass(frozen=True)
class Crop:
    """How training images are cut; held-out ones are cut in the middle.

    Attributes:
        kind: ``center``, the largest part of the wanted proportions, in the middle; ``random``, the
            same at a random place; ``resized``, a part of random size and proportions (Szegedy et
            al. 2014, arXiv:1409.4842); ``pixels``, a random part that has the wanted size already.
        scale: for ``resized``, bounds of the part's share of the image's area.
        ratio: for ``resized``, bounds of its width over its height, where 1 is the wanted one.

    Raises:
        SettingError: if the larger bound comes first.
    """

    kind: CropKind = "center"
    scale: tuple[float, float] = (0.5, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def __post_init__(self) -> None:
        for name in ("scale", "ratio"):
            low, high = getattr(self, name)
            if low > high:
                raise SettingError(f"crop_{name}", [low, high], "the smaller number first")

    def box(
        self, height: int, width: int, sides: tuple[int, int], draws: Sequence[float] | None
    ) -> Box:
        """The part of an image to resize to ``sides`` (height, width).

        Where the wanted part does not fit, it is the largest one of its proportions that does.

        Args:
            height, width: of the image.
            sides: wanted.
            draws: ``DRAWS`` numbers from [0, 1); None: a held-out image.
        """
        kind = "center" if draws is None and self.kind != "pixels" else self.kind
        area, stretch, down, right = draws if draws is not None else _CENTRE
        proportion = sides[1] / sides[0]
        if kind == "resized":
            low, high = map(math.log, self.ratio)
            proportion *= math.exp(low + (high - low) * stretch)
        tall = min(height, width / proportion)
        if kind == "resized":
            share = self.scale[0] + (self.scale[1] - self.scale[0]) * area
            tall = min(tall, math.sqrt(share * height * width / proportion))
        elif kind == "pixels":
            tall = min(tall, sides[0])
        wide = min(width, tall * proportion)
        top, left = (height - tall) * down, (width - wide) * right
        if kind == "pixels" and tall == sides[0]:  # whole pixels stay what they are
            top, left = math.floor(top), math.floor(left)
        return Box(top, left, tall, wide)
