"""Compares the quantizer and its search with their peers, on one CPU thread in float32.

    uv run python benchmarks/quantizer.py [--only SECTION ...] [--repeats 7]

Times are medians of the CPU time of interleaved repeats (A B A B ...) after a warm-up round. Memory
is the growth of peak resident memory, in a fresh process for each case (Linux only).
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from vqcore import VectorQuantizer
from vqcore.interfaces.manifold import Manifold
from vqcore.plugin.registry import default_registry
from vqcore.search import tiled

DECAY, COMMITMENT = 0.99, 0.25
TOKENS = 8192
SIZES = [(k, d) for k in (512, 1024, 8192) for d in (2, 16, 64, 256)]
PEER = "vector-quantize-pytorch"


@dataclass(frozen=True)
class Row:
    """One line of the table: a measured ratio and its bound, ``at_least``, ``at_most`` or none."""

    what: str
    against: str
    ratio: float
    detail: str
    at_least: float | None = None
    at_most: float | None = None

    @property
    def passed(self) -> bool:
        """Whether the ratio is within its bound."""
        low = self.at_least is None or self.ratio >= self.at_least
        high = self.at_most is None or self.ratio <= self.at_most
        return low and high

    def __str__(self) -> str:
        bound, verdict = "", "ok" if self.passed else "NOT REACHED"
        if self.at_least is not None:
            bound = f">= {self.at_least:g}x"
        elif self.at_most is not None:
            bound = f"<= {self.at_most:g}x"
        else:
            verdict = ""
        ratio = f"{self.ratio:8.3g}x {bound:>9}"
        return f"{self.what:42} {self.against:30} {ratio}  {verdict:11}  {self.detail}"


def medians(
    repeats: int,
    *functions: Callable[[], object],
    warm_up: int = 1,
    clock: Callable[[], float] = time.process_time,
) -> list[float]:
    """Median CPU seconds of each function, called in turn, without the warm-up rounds."""
    seconds: list[list[float]] = [[] for _ in functions]
    for repeat in range(-warm_up, repeats):
        for function, taken in zip(functions, seconds, strict=True):
            start = clock()
            function()
            if repeat >= 0:
                taken.append(clock() - start)
    return [statistics.median(taken) for taken in seconds]


def both(ours: float, theirs: float) -> str:
    """The two times as text."""
    return f"{1000 * ours:,.1f} ms against {1000 * theirs:,.1f} ms"


@cache
def manifold(name: str, **options: Any) -> Manifold:
    """A manifold by name, with its defaults but for ``options``."""
    registry = default_registry()
    return registry.build(registry.resolve("manifold", {"name": name, **options}))


def points(space: Manifold, n: int, d: int) -> Tensor:
    """Points (n, A) of random latents (n, d)."""
    return space.expmap0(space.tangent(torch.randn(n, d)))


# -- the layer --------------------------------------------------------------


def our_layer(d: int, k: int) -> VectorQuantizer:
    """A Euclidean EMA codebook with the straight-through estimator."""
    options = {"name": "ema", "decay": DECAY, "commitment_weight": COMMITMENT}
    return VectorQuantizer(dim=d, codebook_size=k, quantizer=options)


def their_layer(d: int, k: int) -> nn.Module:
    """The same by vector-quantize-pytorch, which does not replace dead codes by default."""
    from vector_quantize_pytorch import VectorQuantize

    options = {"decay": DECAY, "commitment_weight": COMMITMENT, "rotation_trick": False}
    return VectorQuantize(dim=d, codebook_size=k, **options)


def our_step(layer: VectorQuantizer, z: Tensor) -> None:
    """Forward, backward and update."""
    z = z.clone().requires_grad_()
    out = layer(z)
    (out.quantized.sum() + out.loss).backward()
    layer.update()


def their_step(layer: nn.Module, z: Tensor) -> None:
    """Forward, which includes the update, and backward."""
    z = z.clone().requires_grad_()
    quantized, _, loss = layer(z)
    (quantized.sum() + loss.sum()).backward()


def our_encode(layer: VectorQuantizer, z: Tensor) -> Tensor:
    """Indices of latents."""
    return layer.encode(z)


@torch.no_grad()
def their_encode(layer: nn.Module, z: Tensor) -> Tensor:
    """Indices of latents."""
    return layer(z)[1]


def layer(repeats: int) -> Iterator[Row]:
    """Training steps of the whole layer."""
    for k, d, bound in ((1024, 256, 4), (512, 64, 3)):
        z = torch.randn(8, TOKENS // 8, d)
        runs = (partial(our_step, our_layer(d, k), z), partial(their_step, their_layer(d, k), z))
        ours, theirs = medians(repeats, *runs)
        what = f"training step, EMA, K={k} D={d}"
        yield Row(what, PEER, theirs / ours, both(ours, theirs), at_least=bound)


def encode(repeats: int) -> Iterator[Row]:
    """Time and memory of encoding many tokens. The peer takes half a minute per run."""
    n, k, d = 65536, 8192, 64
    z = torch.randn(1, n, d)
    our_run = partial(our_encode, our_layer(d, k).eval(), z)
    their_run = partial(their_encode, their_layer(d, k).eval(), z)
    ours, theirs = medians(min(repeats, 2), our_run, their_run, warm_up=0)
    what = f"encode {n} tokens, K={k} D={d}"
    yield Row(what, PEER, theirs / ours, both(ours, theirs), at_least=5)
    ours, theirs = peak("our_encode", n, k, d), peak("their_encode", n, k, d)
    detail = f"{ours:.0f} MB against {theirs:,.0f} MB"
    yield Row("  its peak extra memory", PEER, ours / theirs, detail, at_most=0.1)


# -- the search -------------------------------------------------------------


def manifolds(repeats: int) -> Iterator[Row]:
    """The curved search against the flat one."""
    ball, flat = manifold("poincare"), manifold("euclidean")
    for k, d in SIZES:
        curved_run = partial(ball.nearest, points(ball, TOKENS, d), points(ball, k, d))
        flat_run = partial(flat.nearest, torch.randn(TOKENS, d), torch.randn(k, d))
        curved, plain = medians(2 * repeats, curved_run, flat_run)
        what = f"poincare search, K={k} D={d}"
        yield Row(what, "euclidean search", curved / plain, both(curved, plain), at_most=1.15)


def broadcast(repeats: int) -> Iterator[Row]:
    """The search against geoopt's distances, which hold N x K x D numbers at a time."""
    # geoopt warns when it scripts functions at import.
    warnings.filterwarnings("ignore", category=FutureWarning)
    import geoopt

    ball, peer = manifold("poincare"), geoopt.PoincareBall()
    sizes = ((4096, 512, 16), (2048, 1024, 16), (1024, 512, 64), (512, 1024, 256))
    for n, k, d in sizes:  # the largest that fit in memory
        x, codes = points(ball, n, d), points(ball, k, d)

        def their_search(x: Tensor = x, codes: Tensor = codes) -> Tensor:
            return peer.dist(x.unsqueeze(1), codes.unsqueeze(0)).argmin(1)

        ours, theirs = medians(repeats, partial(ball.nearest, x, codes), their_search)
        what = f"poincare search, N={n} K={k} D={d}"
        yield Row(what, "geoopt, broadcast", theirs / ours, both(ours, theirs), at_least=20)


def all_pairs(space: Manifold, codes: Tensor) -> tiled.Distances:
    """Distances from codes by differences of coordinates, of as many as a tile holds."""
    return tiled.in_strips(lambda x, y: space.squared_dist(x.unsqueeze(1), y), codes)


def products(repeats: int) -> Iterator[Row]:
    """The search of a product, against measuring all pairs of points in tiles as large."""
    for factors in ("poincare,sphere,euclidean", "poincare,euclidean"):
        space = manifold("product", factors=factors)
        plain = partial(all_pairs, space)
        for k, d in ((512, 16), (1024, 64), (8192, 64)):
            x, codes = points(space, 2048, d), points(space, k, d)
            flat = partial(manifold("euclidean").nearest, x, codes)
            runs = (partial(space.nearest, x, codes), partial(tiled.search, x, codes, plain), flat)
            ours, theirs, least = medians(repeats, *runs)
            detail = f"{both(ours, theirs)}, flat {1000 * least:,.1f} ms"
            yield Row(f"{factors} search, K={k} D={d}", "all pairs", theirs / ours, detail, 3)


def index(repeats: int) -> Iterator[Row]:
    """The Euclidean search against faiss, whose index is built beforehand."""
    import faiss

    faiss.omp_set_num_threads(1)
    flat = manifold("euclidean")
    for k, d in SIZES:
        x, codes, peer = torch.randn(TOKENS, d), torch.randn(k, d), faiss.IndexFlatL2(d)
        peer.add(codes.numpy())
        runs = (partial(flat.nearest, x, codes), partial(peer.search, x.numpy(), 1))
        ours, theirs = medians(2 * repeats, *runs)
        what, bound = f"euclidean search, K={k} D={d}", 1.5 if d >= 64 else 3
        yield Row(what, "faiss IndexFlatL2", ours / theirs, both(ours, theirs), at_most=bound)


# -- memory -----------------------------------------------------------------


def resident(name: str) -> float:
    """MB of this process: ``VmRSS`` now, ``VmHWM`` at its peak."""
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def growth(case: str, n: int, k: int, d: int) -> float:
    """Growth in MB of this process's peak memory in one case."""
    single_thread()
    z = torch.randn(1, n, d)
    build = their_layer if case == "their_encode" else our_layer
    module = build(d, k).train(case == "our_step")
    run = {"our_encode": our_encode, "their_encode": their_encode, "our_step": our_step}[case]
    before = resident("VmRSS")
    run(module, z)
    return resident("VmHWM") - before


def peak(case: str, n: int, k: int, d: int) -> float:
    """``growth`` in a fresh process, where no freed memory is reused."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(growth, (case, n, k, d))


def memory(repeats: int) -> Iterator[Row]:
    """The memory that grows with tokens times codes, as a share of the N x K scores.

    The mixed difference of four peaks over N and K cancels what grows with N or K alone.
    """
    d, (n, more_n), (k, more_k) = 16, (4096, 32768), (1024, 16384)
    scores = (more_n - n) * (more_k - k) * 4 / 2**20
    for name, case in (("search", "our_encode"), ("training step, EMA", "our_step")):
        sizes = ((n, k), (n, more_k), (more_n, k), (more_n, more_k))
        base, codes, tokens, all_more = (peak(case, *size, d) for size in sizes)
        share = max(all_more - tokens - codes + base, 0) / scores
        grown = f"more codes {codes:.0f}, tokens {tokens:.0f}, both {all_more:.0f}"
        detail = f"{base:.0f} MB, {grown} (scores: {scores:,.0f})"
        yield Row(f"extra memory, {name}", "tokens x codes", share, detail, at_most=0.02)


# -- the command ------------------------------------------------------------

HEADER = f"{'what':42} {'against':30} {'ratio':>9} {'bound':>9}  {'verdict':11}  detail"

SECTIONS = {
    "layer": layer,
    "encode": encode,
    "manifolds": manifolds,
    "broadcast": broadcast,
    "products": products,
    "index": index,
    "memory": memory,
}


def single_thread() -> None:
    """Use one thread, and the same random numbers in each run."""
    torch.set_num_threads(1)
    torch.manual_seed(0)


def command(
    description: str, sections: Mapping[str, Callable[[int], Iterable[Row]]], repeats: int
) -> None:
    """A benchmark's command line: measure the sections and print a line per comparison."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    names = list(sections)
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="SECTION")
    parser.add_argument("--repeats", type=int, default=repeats)
    options = parser.parse_args()
    single_thread()
    print(HEADER)
    missed = 0
    for name in options.only:
        for row in sections[name](options.repeats):
            missed += not row.passed
            print(row, flush=True)
    print(f"{missed} not reached" if missed else "all reached")


if __name__ == "__main__":
    command(__doc__, SECTIONS, repeats=7)
