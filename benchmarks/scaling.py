"""Measures how a training step of the layer grows with tokens, codes, width, stages and ranks.

    uv run python benchmarks/scaling.py [--only SECTION ...] [--repeats 7]

Times are medians of the CPU time of interleaved repeats on one thread. Each line compares a size
with the first of its section; the step is forward, backward and update of an EMA codebook. What
ranks exchange is counted, in bytes a step, at the collectives that two of them would enter.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
import torch.distributed as dist
from quantizer import Row, command, medians, our_step
from torch import Tensor

from vqcore import VectorQuantizer

#: The sizes that a section leaves as they are.
TOKENS, CODES, WIDTH = 8192, 1024, 64
#: Steps over which what ranks exchange is averaged: dead codes are replaced on every tenth.
PERIOD = 10


def ema(k: int, d: int, **options: Any) -> VectorQuantizer:
    """A layer with EMA codes."""
    return VectorQuantizer(dim=d, codebook_size=k, **{"quantizer": "ema", **options})


def grown(what: str, runs: dict[int, partial[None]], repeats: int) -> Iterator[Row]:
    """A row for each size: its time against that of the first."""
    times = dict(zip(runs, medians(repeats, *runs.values()), strict=True))
    first, *others = times
    for size in others:
        detail = f"{1e3 * times[first]:.1f} ms, {1e3 * times[size]:.1f} ms"
        growth = times[size] / times[first]
        yield Row(f"{what}={size:,}", f"{what}={first:,}, x{size / first:g}", growth, detail)


def tokens(repeats: int) -> Iterator[Row]:
    """N, at K=1024 D=64."""
    sizes = (2048, 8192, 32768)
    runs = {n: partial(our_step, ema(CODES, WIDTH), torch.randn(n, WIDTH)) for n in sizes}
    return grown("N", runs, repeats)


def codes(repeats: int) -> Iterator[Row]:
    """K, at N=8192 D=64."""
    sizes = (256, 1024, 4096, 16384, 65536)
    runs = {k: partial(our_step, ema(k, WIDTH), torch.randn(TOKENS, WIDTH)) for k in sizes}
    return grown("K", runs, repeats)


def width(repeats: int) -> Iterator[Row]:
    """D, at N=8192 K=1024."""
    sizes = (4, 16, 64, 256)
    runs = {d: partial(our_step, ema(CODES, d), torch.randn(TOKENS, d)) for d in sizes}
    return grown("D", runs, repeats)


def stages(repeats: int) -> Iterator[Row]:
    """Stages of a residual quantizer, at N=8192 K=1024 D=64."""
    runs = {
        count: partial(
            our_step,
            ema(CODES, WIDTH, quantizer={"name": "residual", "stages": count, "inner": "ema"}),
            torch.randn(TOKENS, WIDTH),
        )
        for count in (1, 2, 4, 8)
    }
    return grown("stages", runs, repeats)


def ranks(repeats: int) -> Iterator[Row]:
    """What a rank hands to collectives in a step, besides the gradients of the network."""
    for k in (1024, 16384):
        for name, options in (
            ("ema", {}),
            ("ema poincare", {"manifold": "poincare"}),
            ("codebook", {"quantizer": "codebook"}),
        ):
            layer, z = ema(k, WIDTH, **options), torch.randn(TOKENS, WIDTH)
            our_step(layer, z)  # which starts the codes
            with counted() as sent:
                for _ in range(PERIOD):
                    our_step(layer, z)
            parameters = sum(p.numel() * p.element_size() for p in layer.parameters())
            bytes_a_step, table = sum(sent) / PERIOD + parameters, 4 * k * WIDTH
            detail = f"{bytes_a_step / 2**20:.2f} MB a step, {len(sent) / PERIOD:.1f} collectives"
            what = f"exchanged, {name} K={k} D={WIDTH}"
            yield Row(what, "the codes in float32", bytes_a_step / table, detail)


@contextmanager
def counted() -> Iterator[list[int]]:
    """The bytes of each collective that this process, as rank 0 of two, enters inside."""
    sent: list[int] = []

    def exchange(tensor: Tensor, *_: Any) -> None:
        sent.append(tensor.numel() * tensor.element_size())

    answers = {"is_initialized": True, "get_world_size": 2, "get_rank": 0}
    with ExitStack() as stack:
        for name, answer in answers.items():
            stack.enter_context(patch.object(dist, name, lambda answer=answer: answer))
        for name in ("all_reduce", "broadcast"):
            stack.enter_context(patch.object(dist, name, exchange))
        yield sent


SECTIONS = {"tokens": tokens, "codes": codes, "width": width, "stages": stages, "ranks": ranks}


if __name__ == "__main__":
    command(__doc__, SECTIONS, repeats=7)
