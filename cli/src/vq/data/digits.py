"""scikit-learn's handwritten digits: real images without a download."""

from __future__ import annotations

from typing import Literal

import torch

from vqcore.data.image_source import ImageSource
from vqcore.data.partition import train_test_indices
from vqcore.data.tensor_split import TensorSplit


class Digits(ImageSource):
    """The 1,797 8x8 digits of the UCI optical recognition test set; a fixed fifth is held out."""

    classes = tuple("0123456789")

    def __init__(self, *, flip: bool = False, shift: int = 0) -> None:
        super().__init__((1, 8, 8), flip, shift)

    def split(self, name: Literal["train", "test"]) -> TensorSplit:
        """uint8 (N, 1, 8, 8), with 0..16 scaled to 0..255 and rounded."""
        from sklearn.datasets import load_digits

        digits = load_digits()
        ink = torch.from_numpy(digits.images).unsqueeze(1)
        images = ink.mul(255 / 16).round().to(torch.uint8)
        train, test = train_test_indices(len(images), 0.2)
        chosen = train if name == "train" else test
        return TensorSplit(images[chosen], torch.from_numpy(digits.target).long()[chosen])
