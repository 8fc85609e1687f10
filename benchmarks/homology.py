"""Measures what the homology regularizer costs a step, and its search against giotto-ph.

    uv run python benchmarks/homology.py [--only SECTION ...] [--repeats 9]

Times are medians of the CPU time of interleaved repeats (A B A B ...) after a warm-up round, on one
CPU thread. The section ``device`` needs a GPU and measures wall time there.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from quantizer import Row, both, command, manifold, medians
from torch import Tensor, nn

from vq.config.resolved_config import resolve_config
from vq.models.autoencoder import VQModel, build_model
from vq_homology import backends, pair_search, persistence
from vq_homology.distance_matrix import distance_matrix
from vq_homology.pair_search import SearchOptions, SearchResult
from vq_homology.regularizer import Homology
from vq_homology.statistics import Measurement, PersistenceDiagram, whole_cloud
from vqcore import VectorQuantizer
from vqcore.interfaces.dataset import SampleSpec
from vqcore.interfaces.latent_batch import LatentBatch
from vqcore.plugin.registry import default_registry

BATCH, SHAPE = 128, (3, 32, 32)
DIM = 64
QUANTILE, REFRESH = 0.1, 10  # the defaults of the regularizer
EMA_STEPS, TOKENS = 300, 4096
GIOTTO, GUDHI = "giotto-ph", "gudhi"


# -- a training step --------------------------------------------------------


def conv_model(shape: tuple[int, int, int], **settings: Any) -> VQModel:
    """The default model with these settings, for images of a shape."""
    registry = default_registry()
    return build_model(resolve_config(settings, registry), registry, SampleSpec(shape))


def training_step(model: VQModel, x: Tensor, steps: int = 1) -> Callable[[], None]:
    """Forward, backward, AdamW and update of a batch; in bfloat16 and synchronized on a GPU."""
    on_gpu = x.device.type == "cuda"
    model.to(x.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)

    def run() -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            with torch.autocast(x.device.type, torch.bfloat16, enabled=on_gpu):
                out = model(x)
                loss = F.mse_loss(out.reconstruction, x) + out.bottleneck.loss
            loss.backward()
            optimizer.step()
            model.bottleneck.update()
        if on_gpu:
            torch.cuda.synchronize()

    return run


CASES: dict[str, list[Any]] = {
    "off": [],
    "latents (the default)": ["homology"],
    "quantized": [{"name": "homology", "points": "quantized"}],
    "codebook": [{"name": "homology", "points": "codebook"}],
}


def job(repeats: int) -> Iterator[Row]:
    """A whole step of the default job (``vq train``, digits) with the term, against without."""
    shape, steps = (1, 8, 8), REFRESH
    for space in ("euclidean", "poincare"):
        x = torch.rand(64, *shape)
        runs = [
            training_step(conv_model(shape, manifold=space, regularizers=chosen), x, steps)
            for chosen in CASES.values()
        ]
        off, *times = medians(3 * repeats, *runs)
        for name, seconds in zip(list(CASES)[1:], times, strict=True):
            detail = both(seconds / steps, off / steps)
            yield Row(f"{name}, {space}", "the step without", seconds / off, detail, at_most=1.15)


def device(repeats: int) -> Iterator[Row]:
    """The same at CIFAR size in bfloat16 on a GPU, in wall time; nothing without one."""
    if not torch.cuda.is_available():
        return
    x, steps = torch.rand(512, *SHAPE, device="cuda"), 2 * REFRESH
    size = {"backbone": {"name": "conv", "hidden": 128}, "codebook_size": 1024, "dim": 256}
    runs = [
        training_step(conv_model(SHAPE, **size, regularizers=chosen), x, steps)
        for chosen in CASES.values()
    ]
    off, *times = medians(repeats, *runs, clock=time.perf_counter)
    for name, seconds in zip(list(CASES)[1:], times, strict=True):
        detail = both(seconds / steps, off / steps)
        yield Row(f"{name}, CIFAR size", "the step without", seconds / off, detail, at_most=1.1)


def term_steps(layer: Homology, z: Tensor, codes: Tensor, steps: int) -> Callable[[], None]:
    """Forward and backward of the term on the next ``steps`` training steps."""
    space, counter = manifold("euclidean"), itertools.count()
    indices = torch.randint(len(codes), (len(z),))
    z, codes = z.clone().requires_grad_(), codes.clone().requires_grad_()

    def run() -> None:
        for _ in range(steps):
            layer(LatentBatch(z, z.detach(), indices, codes, space, next(counter))).backward()

    return run


def step(repeats: int) -> Iterator[Row]:
    """The term per training step, averaged over the refresh period."""
    for k, dim in ((512, DIM), (512, 8)):
        model = conv_model(SHAPE, codebook_size=k, dim=dim)
        tokens = BATCH * math.prod(model.backbone.latent_shape)
        z, codes = torch.randn(tokens, dim), torch.randn(k, dim)
        cases = {
            "latents (the default)": (Homology(), 1),
            "codebook": (Homology(points="codebook"), REFRESH),
            "codebook, H0 and H1": (Homology(points="codebook", h1_weight=1e-3), REFRESH),
        }
        runs = [term_steps(layer, z, codes, steps) for layer, steps in cases.values()]
        whole, *terms = medians(repeats, training_step(model, torch.randn(BATCH, *SHAPE)), *runs)
        for (name, (_, steps)), seconds in zip(cases.items(), terms, strict=True):
            what, term = f"{name}, K={k} D={dim}", seconds / steps
            yield Row(what, "5 ms", term / 5e-3, f"{1000 * term:.2f} ms a step", at_most=1)
            against = "conv step 32x32, batch 128"
            yield Row(what, against, term / whole, both(term, whole), at_most=0.1)


# -- the search -------------------------------------------------------------


def patches() -> Tensor:
    """All 4x4 patches (N, 16) of scikit-learn's digits."""
    from sklearn.datasets import load_digits

    images = torch.tensor(load_digits().images, dtype=torch.float32) / 16
    return images.unfold(1, 4, 1).unfold(2, 4, 1).reshape(-1, 16)


def surface() -> Tensor:
    """Points (N, 64) of a curved 6-dimensional surface: a random network of normal vectors."""
    network = nn.Sequential(nn.Linear(6, DIM), nn.Tanh(), nn.Linear(DIM, DIM)).requires_grad_(False)
    return network(torch.randn(50_000, 6))


def trained(data: Tensor, k: int) -> Tensor:
    """Codes (K, D) of an EMA codebook trained on data (N, D)."""
    layer = VectorQuantizer(dim=data.shape[1], codebook_size=k, quantizer="ema")
    for _ in range(EMA_STEPS):
        layer(data[torch.randint(len(data), (TOKENS,))])
        layer.update()
    return layer.quantizer.codebook.detach().double()


def total_persistence(distances: np.ndarray, quantile: float) -> float:
    """Sum of the lifetimes of all loops."""
    pairs = persistence.search(distances, backends.get(GUDHI), quantile)
    births, deaths = (distances[edges[:, 0], edges[:, 1]] for edges in (pairs.births, pairs.deaths))
    return float((deaths - births).sum())


def search(repeats: int) -> Iterator[Row]:
    """The whole search, distances included, against H0 and H1 of giotto-ph from given distances."""
    from gph import ripser_parallel

    options = {"metric": "precomputed", "maxdim": 1, "n_threads": 1, "return_generators": True}
    space, k = manifold("euclidean"), 1024
    for name, data in (("digits' patches", patches()), ("a surface", surface())):
        codes = trained(data, k)
        distances = distance_matrix(codes, space).numpy()
        found = [SearchOptions(k, backends.get(each), QUANTILE) for each in (GIOTTO, GUDHI)]
        ours = [partial(pair_search.search, codes, space, 0, each) for each in found]
        full, *times = medians(repeats, partial(ripser_parallel, distances, **options), *ours)
        for backend, seconds in zip((GIOTTO, GUDHI), times, strict=True):
            what = f"{name}, K={k} D={codes.shape[1]}, {backend}"
            yield Row(what, "giotto-ph, full", full / seconds, both(seconds, full), at_least=4)
        kept = total_persistence(distances, QUANTILE) / total_persistence(distances, 1.0)
        detail = f"of {QUANTILE:.0%} of the edges"
        yield Row("  total H1 persistence kept", "all edges", kept, detail, at_least=0.97)


# -- the gradient -----------------------------------------------------------


def chosen(codes: Tensor, found: SearchResult) -> Tensor:
    """Total persistence from the lengths of the chosen edges."""
    cloud = whole_cloud(codes, found.edges, found.filled)
    return total(Measurement(cloud, manifold("euclidean")).diagram)


def among_all(codes: Tensor, found: SearchResult) -> Tensor:
    """Total persistence from the matrix of all distances."""
    lengths, loops = torch.cdist(codes, codes)[tuple(found.edges.T)], len(found.filled)
    h0, births, deaths = lengths.split([len(lengths) - 2 * loops, loops, loops])
    deaths = torch.where(found.filled, deaths, deaths.detach())
    return total(PersistenceDiagram(h0, torch.ones_like(h0), births, deaths))


def total(diagram: PersistenceDiagram) -> Tensor:
    """Sum of all lifetimes."""
    return diagram.h0.sum() + diagram.lifetimes.sum()


def backward(
    make: Callable[[Tensor, SearchResult], Tensor], codes: Tensor, found: SearchResult
) -> None:
    """Forward and backward of ``chosen`` or ``among_all``."""
    make(codes, found).backward()


def gradient(repeats: int) -> Iterator[Row]:
    """The gradient of total persistence, through the chosen edges and through the whole matrix."""
    for k in (512, 1024):
        codes = trained(surface(), k).requires_grad_()
        options = SearchOptions(k, backends.get(GUDHI), QUANTILE)
        found = pair_search.search(codes, manifold("euclidean"), 0, options)
        values = [make(codes, found) for make in (chosen, among_all)]
        runs = [partial(value.backward, retain_graph=True) for value in values]
        runs += [partial(backward, make, codes, found) for make in (chosen, among_all)]
        ours, whole, ours_both, whole_both = medians(3 * repeats, *runs)
        what, against = f"{len(found.edges)} edges, K={k}", "through the whole matrix"
        yield Row(f"backward, {what}", against, whole / ours, both(ours, whole), at_least=4)
        what, ratio = f"forward and backward, {what}", whole_both / ours_both
        yield Row(what, against, ratio, both(ours_both, whole_both), at_least=4)


# -- degenerate clouds ------------------------------------------------------


def degenerate(repeats: int) -> Iterator[Row]:
    """Forward, with a search, and backward of clouds of 1024 points."""
    n = 1024
    angle = 2 * math.pi * torch.arange(n) / n
    clouds = {
        "circle": torch.stack([angle.cos(), angle.sin()], 1),
        "equal": torch.ones(n, DIM),
        "two places": torch.randn(2, DIM).repeat(n // 2, 1),
        "collinear": torch.linspace(0, 1, n)[:, None] * torch.ones(DIM),
        "corners of a simplex": torch.eye(n),
        "huge": 1e37 * torch.randn(n, DIM),
    }
    options = {"points": "codebook", "h1_weight": 1.0, "refresh": 1}
    for backend in (GIOTTO, GUDHI):
        runs = [
            term_steps(Homology(**options, backend=backend), points[:8], points, 1)
            for points in clouds.values()
        ]
        for name, seconds in zip(clouds, medians(min(repeats, 3), *runs), strict=True):
            what, detail = f"{name}, {n} points, {backend}", f"{1000 * seconds:.0f} ms"
            yield Row(what, "0.5 s", seconds / 0.5, detail, at_most=1)


SECTIONS = {
    "job": job,
    "device": device,
    "step": step,
    "search": search,
    "gradient": gradient,
    "degenerate": degenerate,
}


if __name__ == "__main__":
    command(__doc__, SECTIONS, repeats=9)
