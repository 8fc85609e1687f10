"""The homology regularizer: what a step pays for it, and its search against giotto-ph, on one thread of the processor.

    uv run python benchmarks/homology.py [--only step search gradient degenerate] [--repeats 9]

CPU time of this process; medians of interleaved repeats (A B A B ...) after a round that is not counted.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import numpy as np
import torch
from quantizer import Row, both, command, manifold, medians
from torch import Tensor, nn

from vq.config.run_config import resolve_config
from vq.models.autoencoder import VQModel, build_model
from vq_homology import backends, clouds, persistence
from vq_homology import statistics as diagrams
from vq_homology.regularizer import Homology
from vqcore import VectorQuantizer
from vqcore.interfaces.latent_batch import LatentBatch
from vqcore.plugin.registry import default_registry

BATCH, SHAPE = 128, (3, 32, 32)
DIM = 64
QUANTILE, REFRESH = 0.1, 10  # the defaults of the regularizer
TRAINING, TOKENS = 300, 4096  # steps of EMA, and vectors in each
GIOTTO, GUDHI = "giotto-ph", "gudhi"


# -- a training step --------------------------------------------------------


def conv_model(k: int, dim: int) -> VQModel:
    """The pipeline's default model with K codes, for 32x32 pictures."""
    registry = default_registry()
    config = resolve_config({"codebook_size": k, "dim": dim}, registry)
    return build_model(config, registry, SimpleNamespace(shape=SHAPE, likelihood="gaussian"))


def training_step(model: VQModel) -> Callable[[], None]:
    """Forward, backward, AdamW and update of a batch."""
    optimizer, x = torch.optim.AdamW(model.parameters(), lr=1e-3), torch.randn(BATCH, *SHAPE)

    def step() -> None:
        optimizer.zero_grad()
        model(x).loss.backward()
        optimizer.step()
        model.bottleneck.update()

    return step


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
    """The term of one training step, amortized over the refresh period, against 5 ms and against the step."""
    for k, dim in ((512, DIM), (512, 8)):
        model = conv_model(k, dim)
        tokens = BATCH * math.prod(model.backbone.latent_shape)
        z, codes = torch.randn(tokens, dim), torch.randn(k, dim)
        cases = {
            "latents (the default)": (Homology(), 1),
            "codebook": (Homology(points="codebook"), REFRESH),
            "codebook, H0 and H1": (Homology(points="codebook", h1_weight=1e-3), REFRESH),
        }
        runs = [term_steps(layer, z, codes, steps) for layer, steps in cases.values()]
        whole, *terms = medians(repeats, training_step(model), *runs)
        for (name, (_, steps)), term in zip(cases.items(), terms, strict=True):
            what, term = f"{name}, K={k} D={dim}", term / steps
            yield Row(what, "5 ms", term / 5e-3, 1, False, f"{1000 * term:.2f} ms a step")
            yield Row(
                what, "conv step 32x32, batch 128", term / whole, 0.1, False, both(term, whole)
            )


# -- the search -------------------------------------------------------------


def patches() -> Tensor:
    """All 4x4 patches (N, 16) of scikit-learn's digits."""
    from sklearn.datasets import load_digits

    images = torch.tensor(load_digits().images, dtype=torch.float32) / 16
    return images.unfold(1, 4, 1).unfold(2, 4, 1).reshape(-1, 16)


def surface() -> Tensor:
    """Points (N, 64) of a bent surface of 6 dimensions: a random network of normal vectors."""
    network = nn.Sequential(nn.Linear(6, DIM), nn.Tanh(), nn.Linear(DIM, DIM)).requires_grad_(False)
    return network(torch.randn(50_000, 6))


def trained(data: Tensor, k: int) -> Tensor:
    """Codes (K, D) of an EMA codebook after some hundred steps on data (N, D)."""
    layer = VectorQuantizer(dim=data.shape[1], codebook_size=k, quantizer="ema")
    for _ in range(TRAINING):
        layer(data[torch.randint(len(data), (TOKENS,))])
        layer.update()
    return layer.quantizer.codebook.detach().double()


def total_persistence(distances: np.ndarray, quantile: float) -> float:
    """Sum of the lives of all loops."""
    pairs = persistence.search(distances, backends.get(GUDHI), quantile)
    births, deaths = (distances[edges[:, 0], edges[:, 1]] for edges in (pairs.births, pairs.deaths))
    return float((deaths - births).sum())


def search(repeats: int) -> Iterator[Row]:
    """All of our search, distances included, against H0 and H1 of giotto-ph, which is given the distances."""
    from gph import ripser_parallel

    options = {"metric": "precomputed", "maxdim": 1, "n_threads": 1, "return_generators": True}
    space, k = manifold("euclidean"), 1024
    for name, data in (("digits' patches", patches()), ("a surface", surface())):
        codes = trained(data, k)
        distances = clouds.distance_matrix(codes, space).numpy()
        ours = {
            backend: lambda codes=codes, backend=backend: clouds.search(
                codes, space, step=0, limit=k, backend=backends.get(backend), edge_quantile=QUANTILE
            )
            for backend in (GIOTTO, GUDHI)
        }
        full, *times = medians(
            repeats, lambda d=distances: ripser_parallel(d, **options), *ours.values()
        )
        for backend, time in zip(ours, times, strict=True):
            what = f"{name}, K={k} D={codes.shape[1]}, {backend}"
            yield Row(what, "giotto-ph, full", full / time, 4, True, both(time, full))
        kept = total_persistence(distances, QUANTILE) / total_persistence(distances, 1.0)
        what = "  total H1 persistence kept"
        yield Row(what, "all edges", kept, 0.97, True, f"of {QUANTILE:.0%} of the edges")


# -- the gradient -----------------------------------------------------------


def gradient(repeats: int) -> Iterator[Row]:
    """The gradient of total persistence, from the lengths of the chosen edges alone and from the matrix of all."""
    space = manifold("euclidean")
    for k in (512, 1024):
        codes = trained(surface(), k).requires_grad_()
        options = {"step": 0, "limit": k, "backend": backends.get(GUDHI), "edge_quantile": QUANTILE}
        found = clouds.search(codes, space, **options)

        def chosen(codes: Tensor = codes, found: clouds.Cloud = found) -> Tensor:
            return total(diagrams.measure(codes, space, found.edges, found.filled))

        def among_all(codes: Tensor = codes, found: clouds.Cloud = found) -> Tensor:
            lengths, loops = torch.cdist(codes, codes)[tuple(found.edges.T)], len(found.filled)
            h0, births, deaths = lengths.split([len(lengths) - 2 * loops, loops, loops])
            return total(
                diagrams.Diagram(h0, births, torch.where(found.filled, deaths, deaths.detach()))
            )

        built = chosen(), among_all()
        runs = [lambda value=value: value.backward(retain_graph=True) for value in built]
        runs += [lambda make=make: make().backward() for make in (chosen, among_all)]
        mine, whole, mine_both, whole_both = medians(3 * repeats, *runs)
        what, against = f"{len(found.edges)} edges, K={k}", "through the whole matrix"
        yield Row(f"backward, {what}", against, whole / mine, 4, True, both(mine, whole))
        what = f"forward and backward, {what}"
        yield Row(what, against, whole_both / mine_both, 4, True, both(mine_both, whole_both))


def total(diagram: diagrams.Diagram) -> Tensor:
    """Sum of all lives."""
    return diagram.h0.sum() + diagram.lives.sum()


# -- clouds that are hard ---------------------------------------------------


def degenerate(repeats: int) -> Iterator[Row]:
    """Forward, with a search, and backward of clouds of 1024 points."""
    n = 1024
    angle = 2 * math.pi * torch.arange(n) / n
    hard = {
        "circle": torch.stack([angle.cos(), angle.sin()], 1),
        "equal": torch.ones(n, DIM),
        "two places": torch.randn(2, DIM).repeat(n // 2, 1),
        "collinear": torch.linspace(0, 1, n)[:, None] * torch.ones(DIM),
        "corners of a simplex": torch.eye(n),
        "huge": 1e37 * torch.randn(n, DIM),
    }
    for backend in (GIOTTO, GUDHI):
        layers = [
            Homology(points="codebook", h1_weight=1.0, refresh=1, backend=backend) for _ in hard
        ]
        runs = [
            term_steps(layer, points[:8], points, 1)
            for layer, points in zip(layers, hard.values(), strict=True)
        ]
        for name, seconds in zip(hard, medians(min(repeats, 3), *runs), strict=True):
            yield Row(
                f"{name}, {n} points, {backend}",
                "0.5 s",
                seconds / 0.5,
                1,
                False,
                f"{1000 * seconds:.0f} ms",
            )


# -- the command ------------------------------------------------------------

SECTIONS = {"step": step, "search": search, "gradient": gradient, "degenerate": degenerate}


if __name__ == "__main__":
    command(__doc__, SECTIONS, repeats=9)
