"""Axis scales: from values to positions, and the round numbers written beside an axis."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

#: Approximate number of ticks on an axis.
TICKS = 5
#: Ticks need normal numbers: an axis is no shorter, and one of logarithms starts no lower.
SMALLEST = 1e-290


@dataclass(frozen=True)
class Scale:
    """Maps values in [low, high] to positions in [start, end], linearly or by their logarithm."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The position of a value."""
        low, high, value = (math.log10(v) if self.log else v for v in (self.low, self.high, value))
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def shows(self, value: float) -> bool:
        """Whether a value has a position."""
        return math.isfinite(value) and (not self.log or value > SMALLEST)

    def ticks(self) -> list[float]:
        """Round values within the axis, in ascending order."""
        return _log_ticks(self.low, self.high) if self.log else _linear_ticks(self.low, self.high)


def fit(
    values: Iterable[float], start: float, end: float, *, log: bool = False, zero: bool = False
) -> Scale:
    """A scale that holds all values it can show, with a small margin; ``zero`` starts it at 0."""
    shown = [v for v in values if math.isfinite(v) and (v > SMALLEST or not log)]
    if not shown:
        return Scale(1.0 if log else 0.0, 10.0 if log else 1.0, start, end, log)
    low, high = min(shown), max(shown)
    if log:
        return Scale(low / 1.3, high * 1.3, start, end, log)
    if zero and low >= 0:
        return Scale(0.0, high * 1.05 if high > SMALLEST else 1.0, start, end)
    margins = 0.05 * (high - low), abs(high) * 0.1
    fitting = (each for each in margins if each > SMALLEST and low - each < high + each)
    margin = next(fitting, 1.0)
    return Scale(low - margin, high + margin, start, end)


def short(value: float) -> str:
    """A number in few characters: 12k, 0.05, 3e-5."""
    text = f"{value:.4g}"
    for size, letter in ((1e3, "k"), (1e6, "M"), (1e9, "G")):
        if abs(value) >= size * 9.9999:
            text = f"{value / size:.4g}{letter}"
    if 0 < abs(value) < 1e-3:
        digits, power = f"{value:.2e}".split("e")
        text = f"{float(digits):g}e{int(power)}"
    return text.replace("-", "\N{MINUS SIGN}")


def _linear_ticks(low: float, high: float) -> list[float]:
    target = (high - low) / TICKS
    power = 10 ** math.floor(math.log10(target))
    factors = (1, 2, 2.5, 5, 10)
    step = next(f * power for f in factors if f * power >= target * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for factors in ((1,), (1, 3), (1, 2, 5)):
        ticks = [f * 10.0**power for power in range(first, last + 1) for f in factors]
        ticks = [value for value in ticks if low <= value <= high]
        if len(ticks) >= 3:
            return ticks[:: math.ceil(len(ticks) / (TICKS + 2))]
    return ticks if len(ticks) > 1 else _linear_ticks(low, high)
