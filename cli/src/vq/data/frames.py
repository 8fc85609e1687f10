"""Your own videos as folders of numbered frames."""

from __future__ import annotations

from typing import Unpack

from torch import Tensor

from vq.data.frame_files import FrameFiles
from vq.data.image_files import sides_of
from vq.data.segmented_folder import SegmentedFolder
from vqcore.data.image_source import Augmentation, ImageSource, check_shift


class Frames(SegmentedFolder, ImageSource):
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
        **augmentation: Unpack[Augmentation],
    ) -> None:
        self.shape = (3, length, *sides_of(image_size))
        self.frame_stride = stride
        SegmentedFolder.__init__(self, FrameFiles(self.shape, stride), root, held_out, workers)
        ImageSource.__init__(self, None, **augmentation)
        check_shift(self.shape[1:], self.shift)

    def augment(self, batch: Tensor, key: int, positions: Tensor) -> Tensor:
        """See ``DataSource.augment``: all frames of a clip are changed in the same way."""
        frames = super().augment(batch.flatten(1, 2), key, positions)
        return frames.unflatten(1, batch.shape[1:3])
