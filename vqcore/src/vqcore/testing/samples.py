"""Inputs of the checks, and snapshots of what a check must find unchanged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from vqcore.testing.rules import expect, same

__tracebackhide__ = True  # see ``rules``


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Standard normal numbers, the same in every dtype up to rounding."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def clustered(n: int, dim: int) -> Tensor:
    """n vectors (n, dim) in five narrow clusters with normal centres."""
    return normal(5, dim)[torch.arange(n) % 5] + 0.05 * normal(n, dim, seed=1)


def some_mask(*shape: int) -> Tensor:
    """A mask that keeps about two thirds."""
    return normal(*shape, seed=5) > -0.5


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's global generator inside, and restore it afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def state_of(module: nn.Module) -> dict[str, Any]:
    """A copy of the state dict."""
    return {
        name: value.detach().clone() if isinstance(value, Tensor) else value
        for name, value in module.state_dict().items()
    }


def same_state(module: nn.Module | dict[str, Any], before: dict[str, Any], what: str) -> None:
    """The state dict is what it was, to the bit."""
    now = state_of(module) if isinstance(module, nn.Module) else module
    names = f"entries {sorted(now)} instead of {sorted(before)}"
    expect(now.keys() == before.keys(), f"{what}: {names}")
    for name, value in before.items():
        same(now[name], value, f"{what}: {name}")


@contextmanager
def untouched(**tensors: Tensor) -> Iterator[None]:
    """Inside, these tensors are not written to."""
    before = {name: (value.detach().clone(), value._version) for name, value in tensors.items()}
    yield
    for name, value in tensors.items():
        expect(value._version == before[name][1], f"{name} was written to in place")
        same(value, before[name][0], f"{name} was changed in place")


def gradients(total: Tensor, inputs: Sequence[Tensor]) -> list[Any]:
    """The gradient of a scalar for each input; None if it does not depend on it."""
    if not total.requires_grad:
        return [None] * len(inputs)
    return list(torch.autograd.grad(total, inputs, allow_unused=True))
