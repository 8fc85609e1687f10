"""The base of image data sets: random flips and shifts in training."""

from __future__ import annotations

from torch import Tensor

from vqcore.data.augment import augment
from vqcore.errors import SettingError
from vqcore.interfaces.dataset import DataSource


class ImageSource(DataSource):
    """A data set of images with the options ``flip`` and ``shift``.

    Args:
        shape: of an image, (C, H, W).
        flip: flip half of the training images horizontally.
        shift: largest random shift of training images along each axis, in pixels.

    Raises:
        SettingError: if ``shift`` is not less than the shorter side.
    """

    def __init__(self, shape: tuple[int, int, int], flip: bool = False, shift: int = 0) -> None:
        self.shape: tuple[int, int, int] = shape
        self.flip, self.shift = flip, shift
        check_shift(shape, shift)

    def augment(self, batch: Tensor, key: int, positions: Tensor) -> Tensor:
        """See ``DataSource.augment``."""
        return augment(batch, key, positions, flip=self.flip, shift=self.shift)


def check_shift(shape: tuple[int, ...], shift: int, setting: str = "shift") -> None:
    """Refuse a shift that would reflect an image (C, H, W) more than once.

    Raises:
        SettingError: if it is not less than the shorter side.
    """
    side = min(shape[1:])
    if shift >= side:
        raise SettingError(setting, shift, f"less than {side}, the shorter side of the images")
