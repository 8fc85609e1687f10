"""MNIST and Fashion-MNIST: 70,000 grey images of 28x28, held in memory."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal, Unpack

import torch.nn.functional as F
from torchvision import datasets

from vq.data.torchvision_files import read_files
from vqcore.data.image_source import Augmentation, ImageSource
from vqcore.data.tensor_split import TensorSplit

_SIDE = 28
_FILES = [
    f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")
]


class Mnist(ImageSource):
    """Handwritten digits with the published splits: 60,000 for training, 10,000 held out.

    The unpacked files are in ``MNIST/raw`` in ``root``. For the options see ``MnistConfig``.
    """

    reader: ClassVar[type[datasets.MNIST]] = datasets.MNIST
    classes = tuple("0123456789")

    def __init__(
        self,
        *,
        root: str = "data",
        download: bool = False,
        pad: int = 0,
        **augmentation: Unpack[Augmentation],
    ) -> None:
        super().__init__((1, _SIDE + 2 * pad, _SIDE + 2 * pad), **augmentation)
        self.root, self.download, self.pad = root, download, pad

    def split(self, name: Literal["train", "test"]) -> TensorSplit:
        """uint8 (N, 1, 28 + 2 pad, 28 + 2 pad)."""
        folder = self.reader.__name__
        files = [f"{folder}/raw/{file}" for file in _FILES]
        read = read_files(folder, self.root, files, self.download, lambda: self._read(name))
        return TensorSplit(F.pad(read.data.unsqueeze(1), [self.pad] * 4), read.targets.long())

    def _read(self, name: str) -> datasets.MNIST:
        root = Path(self.root).expanduser()
        read = self.reader(root, train=name == "train", download=self.download)
        images, labels = len(read.data), len(read.targets)
        if read.data.shape[1:] != (_SIDE, _SIDE):
            found = tuple(read.data.shape)
            raise ValueError(f"images of {_SIDE}x{_SIDE} expected, {found} found")
        if labels != images:
            raise ValueError(f"a label for each of {images} images expected, {labels} found")
        return read


class FashionMnist(Mnist):
    """Images of clothes in MNIST's format; the unpacked files are in ``FashionMNIST/raw``."""

    reader = datasets.FashionMNIST
    classes = datasets.FashionMNIST.classes
