"""A data set of pictures with augmentation, the base of most of ours."""

from __future__ import annotations

from torch import Tensor

from vq.data.augment import augment
from vqcore.errors import SettingError
from vqcore.interfaces.dataset import DataSource


class PictureSource(DataSource):
    """A data set of pictures, mirrored and shifted at random in training where its options say so.

    Args:
        shape: of a picture, (C, H, W).
        flip: mirror half of them left to right.
        shift: largest move along each axis, pixels.

    Raises:
        SettingError: if the pictures are too small for the shift.
    """

    def __init__(self, shape: tuple[int, int, int], flip: bool, shift: int) -> None:
        self.shape, self.flip, self.shift = shape, flip, shift
        check_shift(shape, shift)

    def augment(self, batch: Tensor, key: int, positions: Tensor) -> Tensor:
        """See ``DataSource.augment``."""
        return augment(batch, key, positions, flip=self.flip, shift=self.shift)


def check_shift(shape: tuple[int, ...], shift: int, setting: str = "shift") -> None:
    """Refuse a shift that would reflect a picture (C, H, W) more than once.

    Raises:
        SettingError: if it is not below the shorter side.
    """
    side = min(shape[1:])
    if shift >= side:
        raise SettingError(setting, shift, f"less than {side}, the shorter side of the pictures")
