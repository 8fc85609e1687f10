"""CIFAR-10: 60,000 colour pictures of 32x32, held whole in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from torchvision import datasets

from vq.data.fetch import load
from vq.data.picture_source import PictureSource
from vq.data.splits import ArraySplit

_FOLDER = datasets.CIFAR10.base_folder


class Cifar10(PictureSource):
    """50,000 pictures to train, 10,000 held out, as published.

    Args:
        root: folder of all data sets; the files lie unpacked in its ``cifar-10-batches-py``. They are pickles, read
            only where their MD5 sums are the published ones.
        download: fetch them if they are not there.
        flip, shift: see ``PictureSource``.
    """

    classes = (
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    )

    def __init__(
        self, *, root: str = "data", download: bool = False, flip: bool = False, shift: int = 0
    ) -> None:
        super().__init__((3, 32, 32), flip, shift)
        self.root, self.download = root, download

    def split(self, name: Literal["train", "test"]) -> ArraySplit:
        """Bytes (N, 3, 32, 32)."""
        read = load("CIFAR-10", self.root, _files(), self.download, lambda: self._read(name))
        # torchvision shows the files' channel-first rows as channel-last: turned back, they are contiguous uncopied
        pictures = torch.from_numpy(read.data).permute(0, 3, 1, 2).contiguous()
        return ArraySplit(pictures, torch.tensor(read.targets))

    def _read(self, name: str) -> datasets.CIFAR10:
        root = Path(self.root).expanduser()
        return datasets.CIFAR10(root, train=name == "train", download=self.download)


def _files() -> list[str]:
    reader = datasets.CIFAR10
    names = [file for file, _ in reader.train_list + reader.test_list] + [reader.meta["filename"]]
    return [f"{_FOLDER}/{name}" for name in names]
