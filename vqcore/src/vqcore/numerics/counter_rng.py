"""Random draws as a pure function of a key: the same on every device, rank and compiler.

A torch generator has a state, lives on one device and cannot be traced. Here number i of a draw is
a hash of (key, i), the finalizer of SplitMix64 (Steele et al. 2014, "Fast splittable pseudorandom
number generators").
"""

from __future__ import annotations

import math
from typing import TypeAlias

import torch
from torch import Tensor

from vqcore.numerics.stable import in_widest, widest

#: What a draw depends on: a number, or a scalar int64 tensor, which a replayed graph reads anew.
Key: TypeAlias = int | Tensor

_GOLDEN = 0x9E3779B97F4A7C15
_FIRST = 0xBF58476D1CE4E5B9
_SECOND = 0x94D049BB133111EB


def key_of(*numbers: int) -> int:
    """One key (63 bits) from several numbers, as in ``key_of(seed, step)``.

    Similar numbers give unrelated keys.
    """
    key = 0
    for number in numbers:
        key = (key + number + 1) * _GOLDEN % 2**64
        key = (key ^ (key >> 30)) * _FIRST % 2**64
        key = (key ^ (key >> 27)) * _SECOND % 2**64
        key ^= key >> 31
    return key >> 1


def key_on_device(*numbers: Key) -> Tensor:
    """``key_of``, where at least one number is a tensor; the others are below 2^63."""
    like = next(number for number in numbers if isinstance(number, Tensor))
    key = torch.zeros_like(like)
    for number in numbers:
        key = _finalized((key + number + 1) * _signed(_GOLDEN))
    return _shifted(key, 1)


def uniform(key: Key, *shape: int, device: torch.device | None = None) -> Tensor:
    """Uniform float64 in [0, 1)."""
    return uniform_at(key, torch.arange(math.prod(shape), device=device)).view(shape)


def uniform_at(key: Key, numbers: Tensor) -> Tensor:
    """The draws of ``uniform`` at these positions (int64, any shape)."""
    # The key's bits come first: a compiler that sees the product of a range as an index would
    # compute it without overflow.
    mixed = key_on_device(key) if isinstance(key, Tensor) else key_of(key)
    drawn = _finalized((numbers ^ mixed) * _signed(_GOLDEN))
    bits = 53 if widest(drawn.device) == torch.float64 else 24
    return in_widest(_shifted(drawn, 64 - bits)) * 2.0**-bits


def normal(key: Key, *shape: int, device: torch.device | None = None) -> Tensor:
    """Standard normal float64 (Box and Muller 1958)."""
    radius, angle = uniform(key, 2, *shape, device=device).unbind()
    return (-2 * torch.log1p(-radius)).sqrt() * torch.cos(2 * math.pi * angle)


def permutation(key: Key, count: int, *, device: torch.device | None = None) -> Tensor:
    """The numbers 0 to ``count`` - 1 in random order, int64."""
    return uniform(key, count, device=device).argsort()


def _finalized(x: Tensor) -> Tensor:
    x = (x ^ _shifted(x, 30)) * _signed(_FIRST)
    x = (x ^ _shifted(x, 27)) * _signed(_SECOND)
    return x ^ _shifted(x, 31)


def _signed(constant: int) -> int:
    """The int64 with the same bits."""
    return constant - 2**64


def _shifted(x: Tensor, bits: int) -> Tensor:
    """Logical right shift of int64; torch's own is arithmetic."""
    return (x >> bits) & (2 ** (64 - bits) - 1)
