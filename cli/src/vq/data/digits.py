"""scikit-learn's handwritten digits: real images without a download."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from typing import Literal, Unpack

import numpy as np
import torch
from torch import Tensor

from vqcore.data.image_source import Augmentation, ImageSource
from vqcore.data.partition import train_test_indices
from vqcore.data.tensor_split import TensorSplit


class Digits(ImageSource):
    """The 1,797 8x8 digits of the UCI optical recognition test set; a fixed fifth is held out."""

    classes = tuple("0123456789")

    def __init__(self, **augmentation: Unpack[Augmentation]) -> None:
        super().__init__((1, 8, 8), **augmentation)

    def split(self, name: Literal["train", "test"]) -> TensorSplit:
        """uint8 (N, 1, 8, 8), with 0..16 scaled to 0..255 and rounded."""
        images, digits = _table().split([64, 1], 1)
        images = images.unflatten(1, (1, 8, 8)).mul(255 / 16).round().to(torch.uint8)
        train, test = train_test_indices(len(images), 0.2)
        chosen = train if name == "train" else test
        return TensorSplit(images[chosen], digits[chosen, 0].long())


@cache
def _table() -> Tensor:
    """Float64 (N, 65): the ink of each pixel, 0..16, and the digit.

    Read from scikit-learn's file, since its import would take most of a second.
    """
    try:
        file = distribution("scikit-learn").locate_file("sklearn/datasets/data/digits.csv.gz")
        return torch.from_numpy(np.loadtxt(str(file), delimiter=","))
    except (PackageNotFoundError, OSError):  # it is installed in another way, or keeps it elsewhere
        from sklearn.datasets import load_digits

        images, digits = load_digits(return_X_y=True)
        return torch.from_numpy(np.column_stack((images, digits)))
