"""From values to places on an axis, and the round numbers that are written beside it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

#: Numbers beside an axis, about.
TICKS = 5


@dataclass(frozen=True)
class Scale:
    """An axis: values from ``low`` to ``high`` on places from ``start`` to ``end``, by their logarithm or not."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Where a value lies."""
        low, high, value = (math.log10(v) if self.log else v for v in (self.low, self.high, value))
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def shows(self, value: float) -> bool:
        """Whether a value has a place."""
        return math.isfinite(value) and (not self.log or value > 0)

    def ticks(self) -> list[float]:
        """Round values within the axis, in rising order."""
        return _powers(self.low, self.high) if self.log else _steps(self.low, self.high)


def fit(
    values: Iterable[float], start: float, end: float, *, log: bool = False, zero: bool = False
) -> Scale:
    """An axis that holds all values that can be shown on it, with a little room; ``zero`` begins it at 0."""
    known = [v for v in values if math.isfinite(v) and (v > 0 or not log)]
    if not known:
        return Scale(1.0 if log else 0.0, 10.0 if log else 1.0, start, end, log)
    low, high = min(known), max(known)
    if log:
        low, high = (low / 1.3, high * 1.3)
        return Scale(low, high, start, end, log)
    if zero and low >= 0:
        return Scale(0.0, high * 1.05 or 1.0, start, end)
    room = 0.05 * (high - low) or abs(high) * 0.1 or 1.0
    return Scale(low - room, high + room, start, end)


def short(value: float) -> str:
    """A number in few characters: 12k, 0.05, 3e-5."""
    if value == 0:
        return "0"
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size * 9.9999:
            return _minus(f"{value / size:.4g}{letter}")
    if abs(value) < 1e-3:
        digits, power = f"{value:.2e}".split("e")
        return _minus(f"{float(digits):g}e{int(power)}")
    return _minus(f"{value:.4g}")


def _minus(text: str) -> str:
    return text.replace("-", "\N{MINUS SIGN}")


def _steps(low: float, high: float) -> list[float]:
    wide = (high - low) / TICKS
    power = 10 ** math.floor(math.log10(wide))
    step = next(
        factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= wide * (1 - 1e-9)
    )
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def _powers(low: float, high: float) -> list[float]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for factors in ((1,), (1, 3), (1, 2, 5)):
        found = [f * 10.0**power for power in range(first, last + 1) for f in factors]
        found = [value for value in found if low <= value <= high]
        if len(found) >= 3:
            return found[:: math.ceil(len(found) / (TICKS + 2))]
    return found if len(found) > 1 else _steps(low, high)
