"""Folders of numbered frames as clips (C, T, H, W) of one length."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from vq.data.find_images import SUFFIXES, find_images
from vq.data.image_files import ImageFiles
from vq.data.segments import Segmenter
from vqcore.errors import RunError, describe_error


class FrameFiles(Segmenter):
    """A clip is ``length`` frames of a folder, ``stride`` apart; clips share no frame.

    Frames that are too few for another clip are left out.

    Args:
        shape: of a clip, (C, T, H, W).
        stride: 1 takes every frame, 2 every second one, and so on.
    """

    kinds = "folders of frames (png, jpg and others)"

    def __init__(self, shape: tuple[int, int, int, int], stride: int) -> None:
        channels, self.length, height, width = shape
        self.image_shape, self.stride = (channels, height, width), stride

    def find(self, root: Path) -> list[Path]:
        """Each folder that holds images itself; see ``Segmenter.find``."""
        folders = dict.fromkeys((root / name).parent for name in find_images(root).images)
        return sorted(folders, key=lambda path: path.relative_to(root).as_posix())

    def count(self, recording: Path) -> int:
        """See ``Segmenter.count``."""
        try:
            frames = len(frames_in(recording))
        except OSError as error:
            raise RunError(error.strerror or describe_error(error)) from error
        span = (self.length - 1) * self.stride + 1
        if frames < span:
            raise RunError(f"number of frames: {frames}, where a clip takes {span}")
        return 1 + (frames - span) // (self.length * self.stride)

    def read(self, recording: Path, number: int) -> Tensor:
        """uint8 (C, T, H, W); see ``Segmenter.read``."""
        start, step = number * self.length * self.stride, self.stride
        frames = frames_in(recording)[start : start + self.length * step : step]
        images = ImageFiles([recording / name for name in frames], self.image_shape)
        return torch.stack([images[index] for index in range(len(frames))], 1)


def frames_in(folder: Path) -> list[str]:
    """Names of the images in a folder, in the order of the numbers in them: 2 comes before 10."""
    return _listed(folder, folder.stat().st_mtime_ns)


@lru_cache(maxsize=1024)
def _listed(folder: Path, changed: int) -> list[str]:
    names = (path.name for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    return sorted((name for name in names if not name.startswith(".")), key=_numbers)


def _numbers(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
