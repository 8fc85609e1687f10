"""CIFAR-10: 60,000 colour images of 32x32, held in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Unpack

import torch
from torchvision import datasets

from vq.data.torchvision_files import read_files
from vqcore.data.image_source import Augmentation, ImageSource
from vqcore.data.tensor_split import TensorSplit

_CLASSES = "airplane automobile bird cat deer dog frog horse ship truck"


class Cifar10(ImageSource):
    """The published splits: 50,000 for training, 10,000 held out.

    The unpacked files are in the folder ``cifar-10-batches-py`` in ``root``. They are pickles, read
    only if their MD5 sums are the published ones. For the options see ``DownloadConfig``.
    """

    classes = tuple(_CLASSES.split())

    def __init__(
        self, *, root: str = "data", download: bool = False, **augmentation: Unpack[Augmentation]
    ) -> None:
        super().__init__((3, 32, 32), **augmentation)
        self.root, self.download = root, download

    def split(self, name: Literal["train", "test"]) -> TensorSplit:
        """uint8 (N, 3, 32, 32)."""
        read = read_files("CIFAR-10", self.root, _files(), self.download, lambda: self._read(name))
        # torchvision transposes the files' channel-first rows; transposed back, they are contiguous
        images = torch.from_numpy(read.data).permute(0, 3, 1, 2).contiguous()
        return TensorSplit(images, torch.tensor(read.targets))

    def _read(self, name: str) -> datasets.CIFAR10:
        root = Path(self.root).expanduser()
        return datasets.CIFAR10(root, train=name == "train", download=self.download)


def _files() -> list[str]:
    reader = datasets.CIFAR10
    names = [file for file, _ in reader.train_list + reader.test_list] + [reader.meta["filename"]]
    return [f"{reader.base_folder}/{name}" for name in names]
