"""Your own videos as folders of numbered frames."""

from __future__ import annotations

from torch import Tensor

from vq.data.frame_files import FrameFiles
from vq.data.image_files import sides_of
from vq.data.segmented_folder import SegmentedFolder
from vqcore.data.augment import augment
from vqcore.data.crop import Crop, CropKind
from vqcore.data.image_source import check_crop, check_shift


class Frames(SegmentedFolder):
    """Clips (3, T, H, W) of all folders of frames below a folder, centre-cropped and resized.

    A video is a folder that holds images, in the order of the numbers in their names. It gives
    clips one after the other. For the options see ``FramesConfig``.
    """

    def __init__(
        self,
        *,
        root: str = "data/frames",
        length: int = 8,
        stride: int = 1,
        image_size: int | tuple[int, int] = 64,
        held_out: float = 0.1,
        workers: int | None = None,
        flip: bool = False,
        shift: int = 0,
        crop: CropKind = "center",
        crop_scale: tuple[float, float] = Crop.scale,
        crop_ratio: tuple[float, float] = Crop.ratio,
    ) -> None:
        self.shape = (3, length, *sides_of(image_size))
        self.frame_stride = stride
        super().__init__(FrameFiles(self.shape, stride), root, held_out, workers)
        self.flip, self.shift = flip, shift
        self.crop = Crop(crop, crop_scale, crop_ratio)
        check_shift(self.shape[1:], shift)
        check_crop(crop)

    def augment(self, batch: Tensor, key: int, positions: Tensor) -> Tensor:
        """See ``DataSource.augment``: all frames of a clip are changed in the same way."""
        crop = None if self.crop.kind == "center" else self.crop
        frames = batch.flatten(1, 2)
        frames = augment(frames, key, positions, flip=self.flip, shift=self.shift, crop=crop)
        return frames.unflatten(1, batch.shape[1:3])
