"""The base of image data sets: random crops, flips and shifts in training."""

from __future__ import annotations

from typing import ClassVar, TypedDict

from torch import Tensor

from vqcore.data.augment import augment
from vqcore.data.crop import Crop, CropKind
from vqcore.errors import SettingError
from vqcore.interfaces.dataset import DataSource


class Augmentation(TypedDict, total=False):
    """The options of ``ImageSource``, which data sets pass on."""

    flip: bool
    shift: int
    crop: CropKind
    crop_scale: tuple[float, float]
    crop_ratio: tuple[float, float]


class ImageSource(DataSource):
    """A data set of images with random changes in training.

    Args:
        shape: of an image, (C, H, W); None: the subclass sets and checks it.
        flip: flip half of the training images horizontally.
        shift: largest random shift of training images along each axis, in pixels.
        crop, crop_scale, crop_ratio: how training images are cut, see ``Crop``.

    Attributes:
        cuts_when_read: the split itself cuts images, which are larger than a sample; otherwise
            ``augment`` cuts samples, and the crops ``random`` and ``pixels`` would be whole ones.

    Raises:
        SettingError: if ``shift`` is not less than the shorter side, or a crop would do nothing.
    """

    cuts_when_read: ClassVar[bool] = False

    def __init__(
        self,
        shape: tuple[int, int, int] | None,
        flip: bool = False,
        shift: int = 0,
        crop: CropKind = "center",
        crop_scale: tuple[float, float] = Crop.scale,
        crop_ratio: tuple[float, float] = Crop.ratio,
    ) -> None:
        self.flip, self.shift = flip, shift
        self.crop = Crop(crop, crop_scale, crop_ratio)
        if shape is not None:
            self.shape = shape
            check_shift(shape, shift)
        if not self.cuts_when_read:
            check_crop(crop)

    @property
    def cuts(self) -> bool:
        """Whether a split that cuts when it reads has to draw."""
        return self.crop.kind != "center"

    def augment(self, batch: Tensor, key: int, positions: Tensor) -> Tensor:
        """See ``DataSource.augment``."""
        crop = self.crop if self.cuts and not self.cuts_when_read else None
        return augment(batch, key, positions, flip=self.flip, shift=self.shift, crop=crop)


def check_shift(shape: tuple[int, ...], shift: int, setting: str = "shift") -> None:
    """Refuse a shift that would reflect an image (C, H, W) more than once.

    Raises:
        SettingError: if it is not less than the shorter side.
    """
    side = min(shape[1:])
    if shift >= side:
        raise SettingError(setting, shift, f"less than {side}, the shorter side of the images")


def check_crop(kind: CropKind, setting: str = "crop") -> None:
    """Refuse a crop that leaves images whole which have the size of a sample already.

    Raises:
        SettingError: for ``random`` and ``pixels``.
    """
    if kind in ("random", "pixels"):
        expected = "center or resized, since the images have the size of a sample"
        raise SettingError(setting, kind, expected, "shift=N moves them by up to N pixels")
