"""Random draws as a pure function of a key: on any device, under any compiler, the same on every rank.

A generator of torch has a state, lives on one device and cannot be traced. Here number i of a draw is a hash of
(key, i), by the finalizer of SplitMix64 (Steele et al. 2014, "Fast splittable pseudorandom number generators").
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_GOLDEN, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def key_of(*numbers: int) -> int:
    """One key (63 bits) of several numbers, as in ``key_of(seed, step)``; close numbers give keys far apart."""
    key = 0
    for number in numbers:
        key = (key + number + 1) * _GOLDEN % 2**64
        key = (key ^ (key >> 30)) * _FIRST % 2**64
        key = (key ^ (key >> 27)) * _SECOND % 2**64
        key ^= key >> 31
    return key >> 1


def uniform(key: int, *shape: int, device: torch.device | None = None) -> Tensor:
    """Uniform float64 in [0, 1)."""
    return uniform_at(key, torch.arange(math.prod(shape), device=device)).view(shape)


def uniform_at(key: int, numbers: Tensor) -> Tensor:
    """The draws of ``uniform`` with these numbers (int64, any shape): whoever asks for number i gets the same."""
    # The key's bits first: a compiler that sees the product of a range as an index computes it without wrapping around.
    x = (numbers ^ key_of(key)) * _signed(_GOLDEN)
    x = (x ^ _shifted(x, 30)) * _signed(_FIRST)
    x = (x ^ _shifted(x, 27)) * _signed(_SECOND)
    x = x ^ _shifted(x, 31)
    return _shifted(x, 11).double() * 2.0**-53


def normal(key: int, *shape: int, device: torch.device | None = None) -> Tensor:
    """Standard normal float64 (Box and Muller 1958)."""
    radius, angle = uniform(key, 2, *shape, device=device).unbind()
    return (-2 * torch.log1p(-radius)).sqrt() * torch.cos(2 * math.pi * angle)


def permutation(key: int, count: int, *, device: torch.device | None = None) -> Tensor:
    """The numbers below ``count`` in random order, int64."""
    return uniform(key, count, device=device).argsort()


def _signed(constant: int) -> int:
    """The int64 of the same bits."""
    return constant - 2**64


def _shifted(x: Tensor, bits: int) -> Tensor:
    """Logical right shift of int64; torch's own keeps the sign."""
    return (x >> bits) & (2 ** (64 - bits) - 1)
