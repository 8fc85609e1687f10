"""Pictures of discs and squares, drawn at random."""

from typing import Literal

import torch
from vqcore import DataSource, TensorSplit


class MyPart(DataSource):
    """White shapes on black, (1, side, side) in [-1, 1], with their names as classes."""

    classes = ("disc", "square")

    def __init__(self, *, samples: int = 2000, side: int = 16) -> None:
        self.samples, self.shape = samples, (1, side, side)

    def split(self, name: Literal["train", "test"]) -> TensorSplit:
        count = self.samples if name == "train" else -(-self.samples // 4)
        draws = torch.Generator().manual_seed(0 if name == "train" else 1)
        size, *centre = torch.rand(3, count, 1, 1, 1, generator=draws)
        labels = torch.randint(2, (count,), generator=draws)
        pixels = torch.linspace(-1, 1, self.shape[1])
        x, y = centre[0] - 0.5 - pixels, centre[1] - 0.5 - pixels.unsqueeze(1)
        square = labels.view(-1, 1, 1, 1) == self.classes.index("square")
        distance = torch.where(square, x.abs().maximum(y.abs()), x.hypot(y))
        return TensorSplit(torch.tanh(8 * (0.2 + 0.5 * size - distance)), labels)
