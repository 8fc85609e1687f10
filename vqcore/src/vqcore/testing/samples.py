"""Numbers that the checks are made with, and snapshots of what a check must find unchanged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from vqcore.testing.rules import expect, same


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Standard normal numbers, the same in every number type but for rounding."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)


def clustered(n: int, dim: int, *, width: float, seed: int = 0) -> Tensor:
    """n vectors (n, dim) in a few clusters of the given width, their centres normal."""
    centres = normal(5, dim, seed=seed)
    return centres[torch.arange(n) % 5] + width * normal(n, dim, seed=seed + 1)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """torch's global generator at a seed; afterwards where it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def state_of(module: nn.Module) -> dict[str, Any]:
    """A copy of the state dict."""
    return {
        k: v.detach().clone() if isinstance(v, Tensor) else v
        for k, v in module.state_dict().items()
    }


def same_state(module: nn.Module | dict[str, Any], before: dict[str, Any], what: str) -> None:
    """The state dict is what it was, to the bit."""
    __tracebackhide__ = True
    now = state_of(module) if isinstance(module, nn.Module) else module
    expect(
        now.keys() == before.keys(), f"{what}: entries {sorted(now)} instead of {sorted(before)}"
    )
    for name, value in before.items():
        same(now[name], value, f"{what}: {name}")


@contextmanager
def untouched(**tensors: Tensor) -> Iterator[None]:
    """Inside, these tensors are not written to."""
    __tracebackhide__ = True
    before = {name: (value.detach().clone(), value._version) for name, value in tensors.items()}
    yield
    for name, value in tensors.items():
        expect(value._version == before[name][1], f"{name} was written to in place")
        same(value.detach(), before[name][0], f"{name} was changed in place")


def gradients(total: Tensor, inputs: Sequence[Tensor]) -> list[Tensor | None]:
    """Gradients of a scalar; None where it does not depend on an input, also where it depends on none."""
    if not total.requires_grad:
        return [None] * len(inputs)
    return list(torch.autograd.grad(total, inputs, allow_unused=True))
