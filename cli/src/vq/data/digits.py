"""Handwritten digits, 8x8, that scikit-learn brings along: real pictures with no download."""

from __future__ import annotations

from typing import Literal

import torch

from vq.data.partition import held_out
from vq.data.picture_source import PictureSource
from vq.data.splits import ArraySplit

#: Ink values go from 0 to this.
_LEVELS = 16


class Digits(PictureSource):
    """The 1,797 digits of the UCI optical recognition test set; a fixed fifth of them (359) is held out.

    Args:
        flip, shift: see ``PictureSource``.
    """

    classes = tuple("0123456789")

    def __init__(self, *, flip: bool = False, shift: int = 0) -> None:
        super().__init__((1, 8, 8), flip, shift)

    def split(self, name: Literal["train", "test"]) -> ArraySplit:
        """Bytes (N, 1, 8, 8), 0..16 stretched to 0..255 and rounded."""
        from sklearn.datasets import load_digits

        digits = load_digits()
        pictures = (
            torch.from_numpy(digits.images).mul(255 / _LEVELS).round().to(torch.uint8).unsqueeze(1)
        )
        train, test = held_out(len(pictures), 0.2)
        chosen = train if name == "train" else test
        return ArraySplit(pictures[chosen], torch.from_numpy(digits.target).long()[chosen])
