"""The quantizer and its search against the peers, on one thread of the processor, in float32.

    uv run python benchmarks/quantizer.py [--only layer encode manifolds broadcast index memory] [--repeats 7]

Times are CPU time of this process, which other processes disturb less than wall time; both sides run on one thread.
They are medians of interleaved repeats (A B A B ...) after a round that is not counted. Memory is the growth of the
peak of resident memory over what was resident before, in a fresh process for each figure (Linux only).
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vqcore import VectorQuantizer
from vqcore.interfaces.manifold import Manifold
from vqcore.plugin.registry import default_registry

DECAY, COMMITMENT = 0.99, 0.25
TOKENS = 8192
SIZES = [(k, d) for k in (512, 1024, 8192) for d in (2, 16, 64, 256)]


@dataclass(frozen=True)
class Row:
    """One line of the table; ``asked`` is a lower bound of the ratio where more is better, else an upper one."""

    what: str
    against: str
    ratio: float
    asked: float
    more_is_better: bool
    detail: str

    @property
    def reached(self) -> bool:
        """Whether the ratio is what was asked."""
        return self.ratio >= self.asked if self.more_is_better else self.ratio <= self.asked

    def __str__(self) -> str:
        sign, verdict = (
            ">=" if self.more_is_better else "<=",
            "ok" if self.reached else "NOT REACHED",
        )
        asked = f"{sign} {self.asked:g}x"
        return f"{self.what:42} {self.against:30} {self.ratio:8.3g}x {asked:>9}  {verdict:11}  {self.detail}"


# -- time -------------------------------------------------------------------


def medians(repeats: int, *functions: Callable[[], object], warm_up: int = 1) -> list[float]:
    """Median CPU seconds of each function, called in turn; the rounds that warm up are left out."""
    seconds: list[list[float]] = [[] for _ in functions]
    for repeat in range(-warm_up, repeats):
        for function, taken in zip(functions, seconds, strict=True):
            start = time.process_time()
            function()
            if repeat >= 0:
                taken.append(time.process_time() - start)
    return [statistics.median(taken) for taken in seconds]


def both(ours: float, theirs: float) -> str:
    """The two times."""
    return f"{1000 * ours:,.1f} ms against {1000 * theirs:,.1f} ms"


def our_layer(d: int, k: int) -> VectorQuantizer:
    """An EMA codebook in flat space with the straight-through estimator."""
    options = {"name": "ema", "decay": DECAY, "commitment_weight": COMMITMENT}
    return VectorQuantizer(dim=d, codebook_size=k, quantizer=options)


def their_layer(d: int, k: int) -> nn.Module:
    """The same of vector-quantize-pytorch, which replaces no dead codes by default; ours does."""
    from vector_quantize_pytorch import VectorQuantize

    return VectorQuantize(
        dim=d, codebook_size=k, decay=DECAY, commitment_weight=COMMITMENT, rotation_trick=False
    )


def our_step(layer: VectorQuantizer, z: Tensor) -> None:
    """Forward, backward, update."""
    z = z.clone().requires_grad_()
    out = layer(z)
    (out.quantized.sum() + out.loss).backward()
    layer.update()


def their_step(layer: nn.Module, z: Tensor) -> None:
    """Forward, which updates, and backward."""
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
    for k, d, asked in ((1024, 256, 4), (512, 64, 3)):
        z, a, b = torch.randn(8, TOKENS // 8, d), our_layer(d, k), their_layer(d, k)
        ours, theirs = medians(
            repeats, lambda a=a, z=z: our_step(a, z), lambda b=b, z=z: their_step(b, z)
        )
        what = f"training step, EMA, K={k} D={d}"
        yield Row(what, "vector-quantize-pytorch", theirs / ours, asked, True, both(ours, theirs))


def encode(repeats: int) -> Iterator[Row]:
    """Indices of many tokens: time, then memory. The peer takes half a minute each time."""
    n, k, d = 65536, 8192, 64
    z, a, b = torch.randn(1, n, d), our_layer(d, k).eval(), their_layer(d, k).eval()
    ours, theirs = medians(2, lambda: our_encode(a, z), lambda: their_encode(b, z), warm_up=0)
    what, peer = f"encode {n} tokens, K={k} D={d}", "vector-quantize-pytorch"
    yield Row(what, peer, theirs / ours, 5, True, both(ours, theirs))
    ours, theirs = peak("our_encode", n, k, d), peak("their_encode", n, k, d)
    yield Row(
        "  peak extra memory of it",
        peer,
        ours / theirs,
        0.1,
        False,
        f"{ours:.0f} MB against {theirs:,.0f} MB",
    )


def points(manifold: Manifold, n: int, d: int) -> Tensor:
    """Points of latents that an encoder might give."""
    return manifold.expmap0(manifold.tangent(torch.randn(n, d)))


def manifold(name: str) -> Manifold:
    """A manifold by its name, with its own defaults."""
    registry = default_registry()
    return registry.build(registry.resolve("manifold", name))


def manifolds(repeats: int) -> Iterator[Row]:
    """The curved search against the flat one."""
    ball, flat = manifold("poincare"), manifold("euclidean")
    for k, d in SIZES:
        x, codes, u, flat_codes = (
            points(ball, TOKENS, d),
            points(ball, k, d),
            torch.randn(TOKENS, d),
            torch.randn(k, d),
        )
        curved, plain = medians(
            2 * repeats,
            lambda x=x, codes=codes: ball.nearest(x, codes),
            lambda u=u, flat_codes=flat_codes: flat.nearest(u, flat_codes),
        )
        yield Row(
            f"poincare search, K={k} D={d}",
            "euclidean search",
            curved / plain,
            1.15,
            False,
            both(curved, plain),
        )


def broadcast(repeats: int) -> Iterator[Row]:
    """The search against all distances, N x K x D numbers of which geoopt holds at a time."""
    warnings.filterwarnings(
        "ignore", category=FutureWarning
    )  # geoopt scripts functions when it is imported
    import geoopt

    ball, peer = manifold("poincare"), geoopt.PoincareBall()
    for n, k, d in (
        (4096, 512, 16),
        (2048, 1024, 16),
        (1024, 512, 64),
        (512, 1024, 256),
    ):  # what its memory allows
        x, codes = points(ball, n, d), points(ball, k, d)
        ours, theirs = medians(
            repeats,
            lambda x=x, codes=codes: ball.nearest(x, codes),
            lambda x=x, codes=codes: peer.dist(x.unsqueeze(1), codes.unsqueeze(0)).argmin(1),
        )
        what = f"poincare search, N={n} K={k} D={d}"
        yield Row(what, "geoopt, broadcast", theirs / ours, 20, True, both(ours, theirs))


def index(repeats: int) -> Iterator[Row]:
    """The flat search against the library that does nothing else; its table is filled beforehand."""
    import faiss

    faiss.omp_set_num_threads(1)
    flat = manifold("euclidean")
    for k, d in SIZES:
        x, codes, peer = torch.randn(TOKENS, d), torch.randn(k, d), faiss.IndexFlatL2(d)
        peer.add(codes.numpy())
        ours, theirs = medians(
            2 * repeats,
            lambda x=x, codes=codes: flat.nearest(x, codes),
            lambda x=x, peer=peer: peer.search(x.numpy(), 1),
        )
        what, asked = f"euclidean search, K={k} D={d}", 1.5 if d >= 64 else 3
        yield Row(what, "faiss IndexFlatL2", ours / theirs, asked, False, both(ours, theirs))


# -- memory -----------------------------------------------------------------


def resident(name: str) -> float:
    """MB of this process: ``VmRSS`` now, ``VmHWM`` at its peak."""
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def grown(case: str, n: int, k: int, d: int) -> float:
    """Peak MB over what was resident before, of one case in this process."""
    single_thread()
    z, build = torch.randn(1, n, d), their_layer if case == "their_encode" else our_layer
    module = build(d, k).train(case == "our_step")
    run = {"our_encode": our_encode, "their_encode": their_encode, "our_step": our_step}[case]
    before = resident("VmRSS")
    run(module, z)
    return resident("VmHWM") - before


def peak(case: str, n: int, k: int, d: int) -> float:
    """``grown`` in a fresh process, where no freed memory hides what is new."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(grown, (case, n, k, d))


def memory(repeats: int) -> Iterator[Row]:
    """What grows with tokens times codes, as a share of the scores N x K.

    That is the peak's mixed difference over N and K: codes alone and tokens alone take what they take.
    """
    d, (n, more_n), (k, more_k) = 16, (4096, 32768), (1024, 16384)
    scores = (more_n - n) * (more_k - k) * 4 / 2**20
    for what, case in (("search", "our_encode"), ("training step, EMA", "our_step")):
        peaks = [
            peak(case, *size, d) for size in ((n, k), (n, more_k), (more_n, k), (more_n, more_k))
        ]
        share = max(peaks[3] - peaks[2] - peaks[1] + peaks[0], 0) / scores
        detail = f"{peaks[0]:.0f} MB, more codes {peaks[1]:.0f}, tokens {peaks[2]:.0f}, both {peaks[3]:.0f}"
        row = Row(
            f"extra memory, {what}",
            "tokens x codes",
            share,
            0.02,
            False,
            f"{detail} (scores: {scores:,.0f})",
        )
        yield row


# -- the command ------------------------------------------------------------

SECTIONS = {
    "layer": layer,
    "encode": encode,
    "manifolds": manifolds,
    "broadcast": broadcast,
    "index": index,
}
SECTIONS["memory"] = memory


def single_thread() -> None:
    """One thread for everybody, and the same numbers each time."""
    torch.set_num_threads(1)
    torch.manual_seed(0)


def command(
    description: str, sections: Mapping[str, Callable[[int], Iterable[Row]]], repeats: int
) -> None:
    """A benchmark's command line: measure the sections and print one line a comparison."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument(
        "--only", nargs="+", choices=sections, default=list(sections), metavar="SECTION"
    )
    parser.add_argument("--repeats", type=int, default=repeats)
    options = parser.parse_args()
    single_thread()
    print(f"{'what':42} {'against':30} {'ratio':>9} {'asked':>9}  {'verdict':11}  detail")
    missed = 0
    for name in options.only:
        for row in sections[name](options.repeats):
            missed += not row.reached
            print(row, flush=True)
    print(f"{missed} not reached" if missed else "all reached")


if __name__ == "__main__":
    command(__doc__, SECTIONS, repeats=7)
