"""Spanning trees of fixed shape: on the host, and by the GPU's kernel under the interpreter."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from contextlib import nullcontext

import pytest
import torch

from vq_homology import persistence, spanning_tree
from vqcore.plugin.registry import default_registry

REGISTRY = default_registry()


def cloud(n, seed=0):
    points = torch.randn(n, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.cdist(points, points)


@pytest.fixture
def find(monkeypatch):
    """The search on the host, or the kernel where Triton interprets it."""
    if "TRITON_INTERPRET" not in os.environ:
        return spanning_tree.find
    monkeypatch.setattr(torch.cuda, "device_of", lambda _: nullcontext())
    return importlib.import_module("vq_homology.prim").find


def check(order, kept, edges, weights):
    """It is a minimum spanning tree of the kept points, and weighted as their means need."""
    rows = kept.nonzero().squeeze(1) if kept.any() else torch.tensor([0])
    own = torch.arange(len(kept))
    root = int(edges[1, (edges[0] == edges[1]).nonzero()[0]])
    hangs = edges[0] != edges[1]
    assert torch.equal(edges[1, hangs], own[hangs])
    assert edges[:, ~hangs].eq(root).all()
    takes_part = hangs | (own == root)
    assert torch.equal(own[takes_part], rows)
    expected = persistence.spanning_tree(order[rows][:, rows].numpy())
    lengths = order[rows][:, rows][tuple(torch.from_numpy(expected).T)]
    found = order[tuple(edges[:, hangs])].sort().values
    torch.testing.assert_close(found, lengths, rtol=1e-9, atol=0)
    torch.testing.assert_close(weights[0], takes_part / takes_part.sum().double())
    torch.testing.assert_close(weights[1], hangs / hangs.sum().clamp(min=1).double())


@pytest.mark.parametrize("n", [1, 2, 5, 40])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_it_spans_the_kept_points_at_least_length(n, share, find):
    order = cloud(n)
    kept = torch.rand(n, generator=torch.Generator().manual_seed(n)) < share
    check(order, kept, *find(order, kept))


def test_equal_points_hang_from_each_other(find):
    order = torch.zeros(9, 9, dtype=torch.float64)
    kept = torch.arange(9) > 1
    edges, _ = find(order, kept)
    check(order, kept, *find(order, kept))
    assert edges[0].eq(2).all()  # the first, on every device


@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
def test_one_point_is_left_where_a_distance_overflows(bad, find):
    order = cloud(6)
    order[2, 4] = order[4, 2] = bad
    edges, weights = find(order, torch.ones(6, dtype=torch.bool))
    assert edges.eq(0).all()
    assert weights.sum(1).tolist() == [1, 0]
    kept = torch.tensor([True, True, False, True, True, True])
    check(order, kept, *find(order, kept))  # not of a pair that takes part


@pytest.mark.parametrize("name", REGISTRY.names("manifold"))
def test_it_is_that_of_the_distances_on_every_manifold(name):
    manifold = REGISTRY.build(REGISTRY.resolve("manifold", name))
    u = torch.randn(60, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    points = manifold.expmap0(manifold.tangent(2 * u))
    distances = manifold.pairwise_dist(points, points)
    order = manifold.pairwise_order(points)
    assert order.min() >= 0
    kept = torch.ones(60, dtype=torch.bool)
    check(distances, kept, *spanning_tree.find(order, kept))


def test_the_kernel_under_the_interpreter():
    """In a process of its own: Triton decides at its import whether it interprets."""
    pytest.importorskip("triton", minversion="3.7", reason="older ones fail with NumPy 2.4")
    chosen = "least_length or equal_points or overflows"
    command = [sys.executable, "-m", "pytest", "-q", "-n0", __file__, "-k", chosen]
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout


@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize("size", [64, 1024])
def test_the_kernel_compiles_for_gpus(capability, size):
    triton = pytest.importorskip("triton")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    kernel = importlib.import_module("vq_homology.prim")._prim
    types = {"ORDER": "*fp64", "KEPT": "*i1", "EDGES": "*i64", "WEIGHTS": "*fp64", "n": "i32"}
    source = ASTSource(kernel, types | {"SIZE": "constexpr"}, {"SIZE": size})
    options = {"num_warps": 4, "enable_fp_fusion": True}
    compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    assert compiled.asm["cubin"]
