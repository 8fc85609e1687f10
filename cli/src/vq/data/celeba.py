"""CelebA: 202,599 aligned faces of 178x218, read as they are needed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from torchvision import datasets

from vq.data.fetch import load
from vq.data.picture_source import PictureSource
from vq.data.pictures import PictureFiles
from vq.data.splits import FileSplit

_PICTURES = f"{datasets.CelebA.base_folder}/img_align_celeba"
_PARTITION = f"{datasets.CelebA.base_folder}/list_eval_partition.txt"
#: The number that the partition file gives to each split; 1 is the validation part, which is not used.
_PART = {"train": "0", "test": "2"}


class CelebA(PictureSource):
    """The published training (162,770) and test part (19,962): the middle square of each face, scaled.

    Args:
        root: folder of all data sets; its ``celeba`` holds ``img_align_celeba`` (unpacked) and
            ``list_eval_partition.txt``. The files of attributes and identities are not read.
        download: fetch them if they are not there (from Google Drive, with the package gdown).
        image_size: side of the pictures served.
        workers: processes that read ahead.
        flip, shift: see ``PictureSource``.
    """

    def __init__(
        self,
        *,
        root: str = "data",
        download: bool = False,
        image_size: int = 64,
        workers: int = 2,
        flip: bool = False,
        shift: int = 0,
    ) -> None:
        super().__init__((3, image_size, image_size), flip, shift)
        self.root, self.download, self.workers = root, download, workers
        self.folder = Path(root).expanduser()

    def split(self, name: Literal["train", "test"]) -> FileSplit:
        """Files served as bytes (3, image_size, image_size), in the partition's order."""
        files = [_PICTURES, _PARTITION]
        if self.download and not all((self.folder / file).exists() for file in files):
            load("CelebA", self.root, files, True, self._fetch)
        paths = load("CelebA", self.root, files, False, lambda: self._paths(name))
        return FileSplit(PictureFiles(paths, self.shape), self.workers)

    def _fetch(self) -> None:
        datasets.CelebA(self.folder, target_type=[], download=True)

    def _paths(self, name: str) -> list[Path]:
        rows = [
            line.split()
            for line in (self.folder / _PARTITION).read_text().splitlines()
            if line.strip()
        ]
        names = [file for file, part in rows if part == _PART[name]]
        absent = set(names) - set(os.listdir(self.folder / _PICTURES))
        if absent or not names:
            raise ValueError(
                f"{len(absent)} of {len(names)} pictures of the {name} part are missing"
            )
        return [self.folder / _PICTURES / file for file in names]
