"""Values of many steps that stay on the device until a log step reads them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

#: Rows after which they are folded, so that a long interval needs no memory.
FOLDED = 256


class Series:
    """The values of some terms in each forward pass. To add a row costs no kernel.

    Args:
        terms: T, the number of values in a row.
        device: where they are summed.
    """

    def __init__(self, terms: int, device: torch.device) -> None:
        self._sums = torch.zeros(terms, dtype=torch.float64, device=device)
        self._first_bad = torch.full_like(self._sums, math.inf)
        self._seen = 0.0
        self._rows: list[Tensor] = []
        self._steps: list[int] = []
        self._shares: list[float] = []

    def add(self, row: Tensor, step: int, share: float) -> None:
        """Add the values (T,) of a step, from this share of the step's samples."""
        self._rows.append(row)
        self._steps.append(step)
        self._shares.append(share)
        self._seen += share
        if len(self._rows) == FOLDED:
            self._fold()

    def totals(self) -> Tensor:
        """Of each term, (T, 3) float64: the sum of its values times their shares, the sum of the
        shares, and the first step at which it was NaN or inf (inf if at none).

        Does not wait for the device.
        """
        if self._rows:
            self._fold()
        seen = torch.full_like(self._sums, self._seen)
        return torch.stack([self._sums, seen, self._first_bad], 1)

    def _fold(self) -> None:
        rows = torch.stack(self._rows).to(self._sums.dtype)
        numbers = torch.tensor([self._steps, self._shares], dtype=torch.float64)
        steps, shares = numbers.unsqueeze(2).to(self._sums, non_blocking=True)
        self._sums = self._sums + (rows * shares).sum(0)
        first = torch.where(rows.isfinite(), math.inf, steps).amin(0)
        self._first_bad = torch.minimum(self._first_bad, first)
        self._rows, self._steps, self._shares = [], [], []
