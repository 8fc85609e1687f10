"""MNIST and Fashion-MNIST: 70,000 grey pictures of 28x28, held whole in memory."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

import torch.nn.functional as F
from torchvision import datasets

from vq.data.fetch import load
from vq.data.picture_source import PictureSource
from vq.data.splits import ArraySplit

_SIDE = 28
_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


class Mnist(PictureSource):
    """Handwritten digits: 60,000 to train, 10,000 held out, as published.

    Args:
        root: folder of all data sets; the files lie unpacked in its ``MNIST/raw``.
        download: fetch them if they are not there.
        pad: pixels of background added on each side.
        flip, shift: see ``PictureSource``.
    """

    reader: ClassVar[type[datasets.MNIST]] = datasets.MNIST
    classes = tuple("0123456789")

    def __init__(
        self,
        *,
        root: str = "data",
        download: bool = False,
        pad: int = 0,
        flip: bool = False,
        shift: int = 0,
    ) -> None:
        super().__init__((1, _SIDE + 2 * pad, _SIDE + 2 * pad), flip, shift)
        self.root, self.download, self.pad = root, download, pad

    def split(self, name: Literal["train", "test"]) -> ArraySplit:
        """Bytes (N, 1, 28 + 2 pad, 28 + 2 pad)."""
        folder = self.reader.__name__
        files = [f"{folder}/raw/{file}" for file in _FILES]
        read = load(folder, self.root, files, self.download, lambda: self._read(name))
        return ArraySplit(F.pad(read.data.unsqueeze(1), [self.pad] * 4), read.targets.long())

    def _read(self, name: str) -> datasets.MNIST:
        root = Path(self.root).expanduser()
        read = self.reader(root, train=name == "train", download=self.download)
        if read.data.shape[1:] != (_SIDE, _SIDE):
            raise ValueError(
                f"pictures of {_SIDE}x{_SIDE} expected, {tuple(read.data.shape)} found"
            )
        if len(read.targets) != len(read.data):
            raise ValueError(
                f"a label for each of {len(read.data)} pictures expected, {len(read.targets)} found"
            )
        return read


class FashionMnist(Mnist):
    """Pictures of clothes in MNIST's format; the files lie unpacked in ``FashionMNIST/raw``."""

    reader = datasets.FashionMNIST
    classes = datasets.FashionMNIST.classes
