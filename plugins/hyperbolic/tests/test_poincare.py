"""The ball against geoopt in float64."""

from __future__ import annotations

import pytest
import torch

from vq_hyperbolic.poincare import Poincare
from vq_hyperbolic.riemannian import geoopt

EXACT = "donot_use_mm_for_euclid_dist"
CURVATURES = [0.5, 1.0, 2.0]


def tangents(n, dim=5, seed=0, scale=0.8):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(n, dim, generator=generator, dtype=torch.float64) / dim**0.5


def both(c):
    return Poincare(curvature=c), geoopt.PoincareBall(torch.tensor(c, dtype=torch.float64))


def value_and_gradient(function, *inputs):
    leaves = [x.clone().requires_grad_() for x in inputs]
    value = function(*leaves)
    weights = torch.linspace(1, 2, value.numel(), dtype=value.dtype).view(value.shape)
    return value.detach(), torch.autograd.grad((value * weights).sum(), leaves)


def assert_same(ours, oracle, *inputs):
    (value, gradients), (expected, wanted) = (
        value_and_gradient(ours, *inputs),
        value_and_gradient(oracle, *inputs),
    )
    torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-11)
    for gradient, expected in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(gradient, expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("c", CURVATURES)
def test_maps_agree_with_geoopt(c):
    ours, oracle = both(c)
    u = tangents(50)
    assert_same(ours.expmap0, oracle.expmap0, u)
    assert_same(ours.logmap0, oracle.logmap0, ours.expmap0(u))


@pytest.mark.parametrize("c", CURVATURES)
def test_distances_agree_with_geoopt(c):
    ours, oracle = both(c)
    x, y = ours.expmap0(tangents(50)), ours.expmap0(tangents(50, seed=1))
    assert_same(ours.dist, oracle.dist, x, y)
    assert_same(ours.squared_dist, lambda a, b: oracle.dist(a, b).square(), x, y)
    torch.testing.assert_close(
        ours.pairwise_dist(x, y), oracle.dist(x[:, None], y[None]), rtol=1e-9, atol=1e-11
    )


@pytest.mark.parametrize("c", CURVATURES)
def test_distance_from_the_origin_is_twice_the_tangent_norm(c):
    ours, u = Poincare(curvature=c), tangents(20)
    x = ours.expmap0(u)
    torch.testing.assert_close(ours.dist(x, torch.zeros_like(x)), 2 * u.norm(dim=-1))


@pytest.mark.parametrize("c", CURVATURES)
def test_centroid_is_geoopts_midpoint_and_einsteins(c):
    ours, oracle = both(c)
    x = ours.expmap0(tangents(30))
    weights = torch.linspace(0.1, 3, 30, dtype=torch.float64)
    centroid = ours.from_ambient((weights[:, None] * ours.to_ambient(x)).sum(0))
    torch.testing.assert_close(
        centroid, oracle.weighted_midpoint(x, weights, reducedim=[0]), rtol=0, atol=1e-12
    )
    squared = c * x.square().sum(-1)
    klein = 2 * x / (1 + squared).unsqueeze(-1)
    gamma = weights * (1 + squared) / (1 - squared)
    einstein = (gamma[:, None] * klein).sum(0) / gamma.sum()
    expected = einstein / (1 + (1 - c * einstein.square().sum()).sqrt())
    torch.testing.assert_close(centroid, expected, rtol=0, atol=1e-12)


def test_lift_lies_on_the_hyperboloid():
    ours = Poincare(curvature=0.5)
    m = ours.to_ambient(ours.expmap0(tangents(20)))
    torch.testing.assert_close(
        m[:, 1:].square().sum(-1) - m[:, 0].square(), m.new_full((20,), -2.0)
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_project_brings_back_what_left_the_ball(dtype):
    ours = Poincare(curvature=2.0)
    x = ours.expmap0(10 * tangents(20).to(dtype))
    out = torch.cat([x, 1.01 * x / (2**0.5 * x.norm(dim=-1, keepdim=True))])
    assert ours.check_points(x) is None
    assert torch.equal(ours.project(x), x)
    assert "beyond the edge" in ours.check_points(out)
    assert ours.check_points(ours.project(out)) is None
    assert torch.isfinite(ours.logmap0(out)).all()
    assert torch.isfinite(ours.to_ambient(out)).all()
    distance = ours.squared_dist(out[20:], torch.zeros_like(x))
    assert (distance > 0.99 * ours.squared_dist(x, torch.zeros_like(x))).all()
    assert "not finite" in ours.check_points(x / 0)
    assert ours.check_points(x[:0]) is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_search_in_the_ball_is_flat(dtype):
    """Codes are chosen and averaged by |x - y|; distances and translations stay geodesic."""
    ours, geodesic = (Poincare(search=search, curvature=2.0) for search in ("ball", "geodesic"))
    x, codes = (ours.expmap0(tangents(n, seed=n, scale=3.0).to(dtype)) for n in (200, 20))
    nearest = ours.nearest(x, codes)
    assert torch.equal(nearest, torch.cdist(x, codes, compute_mode=EXACT).argmin(1))
    assert (nearest != geodesic.nearest(x, codes)).any()
    mean = ours.from_ambient(ours.to_ambient(x).mean(0))
    torch.testing.assert_close(mean, x.double().mean(0))
    assert torch.equal(ours.dist(x[:20], codes), geodesic.dist(x[:20], codes))
    assert torch.equal(ours.pairwise_order(x), geodesic.pairwise_order(x))
