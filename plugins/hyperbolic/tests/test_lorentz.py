"""The hyperboloid against geoopt and against the ball."""

from __future__ import annotations

import pytest
import torch

from vq_hyperbolic.lorentz import Lorentz
from vq_hyperbolic.poincare import Poincare
from vq_hyperbolic.riemannian import geoopt

CURVATURES = [0.5, 1.0, 2.0]


def tangents(n, dim=5, seed=0, scale=0.8):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(n, dim, generator=generator, dtype=torch.float64) / dim**0.5


def oracle(c):
    return geoopt.Lorentz(torch.tensor(1 / c, dtype=torch.float64))


@pytest.mark.parametrize("c", CURVATURES)
@pytest.mark.parametrize(
    "scale", [0.8, 20.0]
)  # 20: beyond what the type can hold, clipped alike in both
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_points_are_the_lifts_of_the_balls(c, scale, dtype):
    u = tangents(50, scale=scale).to(dtype)
    ball, lorentz = Poincare(curvature=c), Lorentz(curvature=c)
    lift, tolerance = ball.to_ambient(ball.expmap0(u)), 1e3 * torch.finfo(dtype).eps
    if scale > 1:  # the ball's own rounding, cosh^2 of half the radius
        tolerance *= 2e5 if dtype == torch.float64 else 1
    torch.testing.assert_close(lorentz.expmap0(u), lift.to(dtype), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("c", CURVATURES)
def test_maps_agree_with_geoopt_at_twice_the_tangent_vector(c):
    lorentz, u = Lorentz(curvature=c), tangents(50)
    doubled = torch.cat([torch.zeros(50, 1, dtype=u.dtype), 2 * u], -1)
    x = lorentz.expmap0(u)
    torch.testing.assert_close(x, oracle(c).expmap0(doubled), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(lorentz.logmap0(x), u, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(
        lorentz.logmap0(x), oracle(c).logmap0(x)[:, 1:] / 2, rtol=1e-7, atol=1e-9
    )


@pytest.mark.parametrize("c", CURVATURES)
def test_distances_agree_with_geoopt_and_their_gradients_with_the_ball(c):
    ball, lorentz = Poincare(curvature=c), Lorentz(curvature=c)
    u, w = tangents(50), tangents(50, seed=1)
    x, y = lorentz.expmap0(u), lorentz.expmap0(w)
    torch.testing.assert_close(lorentz.dist(x, y), oracle(c).dist(x, y), rtol=1e-9, atol=1e-11)
    gradients = []
    for manifold in (ball, lorentz):
        leaf = u.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(
            manifold.squared_dist(manifold.expmap0(leaf), manifold.expmap0(w)).sum(), leaf
        )
        gradients.append(gradient)
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("c", CURVATURES)
def test_the_riemannian_gradient_is_geoopts(c):
    """Ambient gradients may differ by a normal part, which projection to the tangent removes."""
    lorentz, geo = Lorentz(curvature=c), oracle(c)
    x, y = lorentz.expmap0(tangents(50)), lorentz.expmap0(tangents(50, seed=1))
    gradients = []
    for function in (lorentz.dist, geo.dist):
        leaf = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(function(leaf, y).sum(), leaf)
        gradients.append(geo.egrad2rgrad(x, gradient))
    torch.testing.assert_close(*gradients, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("c", CURVATURES)
def test_centroid_is_the_lift_of_the_balls(c):
    ball, lorentz = Poincare(curvature=c), Lorentz(curvature=c)
    u = tangents(30)
    m = lorentz.to_ambient(lorentz.expmap0(u)).sum(0)
    expected = ball.to_ambient(ball.from_ambient(ball.to_ambient(ball.expmap0(u)).mean(0)))
    torch.testing.assert_close(lorentz.from_ambient(m), expected, rtol=0, atol=1e-12)


def test_a_small_distance_far_out_keeps_its_digits():
    """At distance 5 from the origin, the float32 inner product would give 0 or 100 % error."""
    lorentz = Lorentz(max_radius=2.5)
    w = 2.5 * torch.nn.functional.normalize(tangents(200, dim=8), dim=-1)
    u = w * 0.9995
    exact = 2 * (w - u).norm(dim=-1)
    got = lorentz.dist(lorentz.expmap0(u.float()), lorentz.expmap0(w.float()))
    torch.testing.assert_close(got.double(), exact, rtol=2e-3, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_project_brings_back_what_left_the_hyperboloid(dtype):
    lorentz = Lorentz(curvature=2.0)
    x = lorentz.expmap0(10 * tangents(20).to(dtype))
    off = x * torch.tensor([1.01, 1, 1, 1, 1, 1], dtype=dtype)
    far = 100 * lorentz.expmap0(tangents(20, scale=1e6).to(dtype))
    far[:, 0] = (far[:, 1:].square().sum(-1) + 0.5).sqrt()
    assert lorentz.check_points(x) is None
    torch.testing.assert_close(lorentz.project(x), x)
    assert "off the hyperboloid" in lorentz.check_points(off)
    assert "beyond" in lorentz.check_points(far)
    for bad in (off, far):
        assert lorentz.check_points(lorentz.project(bad)) is None
    opposite = torch.cat([far[:, :1], -far[:, 1:]], -1)
    for other in (far, far.roll(1, 0), opposite, 1.5 * opposite):
        assert torch.isfinite(lorentz.squared_dist(far, other)).all()
    assert "not finite" in lorentz.check_points(x / 0)
    assert lorentz.check_points(x[:0]) is None
