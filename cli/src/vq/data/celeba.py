"""CelebA: 202,599 aligned faces of 178x218, read when they are needed."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Literal, Unpack

from torchvision import datasets

from vq.data.image_files import ImageFiles, sides_of
from vq.data.torchvision_files import read_files
from vqcore.data.dataset_split import DatasetSplit
from vqcore.data.image_source import Augmentation, ImageSource

_IMAGES = f"{datasets.CelebA.base_folder}/img_align_celeba"
_PARTITION = f"{datasets.CelebA.base_folder}/list_eval_partition.txt"
_FILES = [_IMAGES, _PARTITION]
#: The number of each split in the partition file; 1 is the validation split, which is not used.
_PART = {"train": "0", "test": "2"}


class CelebA(ImageSource):
    """The published training (162,770) and test split (19,962), cropped and resized.

    The folder ``celeba`` in ``root`` holds ``img_align_celeba`` (unpacked) and
    ``list_eval_partition.txt``. Downloads are from Google Drive, with the package gdown. For the
    options see ``CelebAConfig``.
    """

    cuts_when_read = True

    def __init__(
        self,
        *,
        root: str = "data",
        download: bool = False,
        image_size: int | tuple[int, int] = 64,
        workers: int | None = None,
        **augmentation: Unpack[Augmentation],
    ) -> None:
        super().__init__((3, *sides_of(image_size)), **augmentation)
        self.root, self.download, self.workers = root, download, workers
        self.folder = Path(root).expanduser()

    def split(self, name: Literal["train", "test"]) -> DatasetSplit:
        """uint8 (3, *image_size), in the order of the partition file."""
        if self.download and not all((self.folder / file).exists() for file in _FILES):
            download = partial(datasets.CelebA, self.folder, target_type=[], download=True)
            read_files("CelebA", self.root, _FILES, True, download)
        names = read_files("CelebA", self.root, _FILES, False, lambda: self._names(name))
        images = ImageFiles(names, self.shape, self.folder / _IMAGES, self.crop)
        return DatasetSplit(images, self.workers, names=images.names, cuts=self.cuts)

    def _names(self, name: str) -> list[str]:
        lines = (self.folder / _PARTITION).read_text().splitlines()
        rows = [line.split() for line in lines if line.strip()]
        names = [file for file, part in rows if part == _PART[name]]
        missing = set(names) - set(os.listdir(self.folder / _IMAGES))
        if missing or not names:
            count = f"{len(missing)} of {len(names)}"
            raise ValueError(f"{count} images of the {name} split are missing")
        return names
