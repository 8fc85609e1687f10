"""The term on a GPU: its tree, no wait in a step, and a step as a CUDA graph. Skipped without."""

from __future__ import annotations

import copy

import pytest
import torch

from vq_homology import spanning_tree
from vqcore import VectorQuantizer
from vqcore.testing.waits import no_waits

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

POINTS = ["latents", "quantized"]


def layer(points, manifold):
    torch.manual_seed(0)
    chosen = {"name": "homology", "points": points, "weight": 1.0}
    return VectorQuantizer(dim=8, codebook_size=64, manifold=manifold, regularizers=[chosen]).cuda()


def latents(step):
    return torch.randn(2000, 8, generator=torch.Generator().manual_seed(step)).cuda()


def step(one, z):
    z = z.detach().requires_grad_()
    out = one(z)
    out.loss.backward()
    one.update()
    return out.losses["homology"].detach(), z.grad


@pytest.mark.parametrize("n", [1, 5, 256, 1000])
def test_the_tree_is_that_of_the_host(n):
    points = torch.randn(n, 16, generator=torch.Generator().manual_seed(n), dtype=torch.float64)
    order, kept = torch.cdist(points, points), torch.arange(n) % 7 != 3
    expected, weights = spanning_tree.find(order, kept)
    assert spanning_tree._kernel_runs(torch.device("cuda:0"))
    found, there = spanning_tree.find(order.cuda(), kept.cuda())
    assert torch.equal(found.cpu(), expected)
    torch.testing.assert_close(there.cpu(), weights)


@pytest.mark.parametrize("manifold", ["euclidean", "poincare"])
@pytest.mark.parametrize("points", POINTS)
def test_steps_do_not_wait_and_have_the_term_of_the_cpu(points, manifold):
    one = layer(points, manifold)
    step(one, latents(0))
    other, batches = copy.deepcopy(one).cpu(), [latents(k) for k in range(1, 4)]
    with no_waits("a step"):
        found = [step(one, z) for z in batches]
    expected = [step(other, z.cpu()) for z in batches]
    for (term, gradient), (same, also) in zip(found, expected, strict=True):
        torch.testing.assert_close(term.cpu(), same, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(gradient.cpu(), also, rtol=1e-2, atol=1e-5)


@pytest.mark.parametrize("points", POINTS)
def test_a_replayed_graph_draws_the_points_of_its_step(points):
    eager, graphed = layer(points, "poincare"), layer(points, "poincare")
    assert graphed.unrecordable == ()
    static, side = latents(0), torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for k in range(3):
            step(eager, latents(k))
            step(graphed, static.copy_(latents(k)))
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        term, gradient = step(graphed, static)
    for k in range(3, 8):
        expected, also = step(eager, latents(k))
        static.copy_(latents(k))
        graph.replay()
        torch.testing.assert_close(term, expected, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(gradient, also, rtol=1e-2, atol=1e-5)
