"""Gradients in closed form: against finite differences, of second order, and under torch.func."""

from __future__ import annotations

import math
import warnings

import pytest
import torch

from vqcore.numerics.pair_distance import squared_distance
from vqcore.numerics.radial import clip_norm, lifted_map, radial_map
from vqcore.plugin.registry import default_registry

REGISTRY = default_registry()

tanh_map = radial_map(
    lambda a, limit: a.clamp(max=limit).tanh() / a,
    lambda a, f, limit: torch.where(a < limit, 1 - (a * f).square(), 0),
)
sphere_map = lifted_map(lambda a, limit: (a.cos(), a.sin() / a), turn=-1.0)
sheet_map = lifted_map(
    lambda a, limit: ((2 * a.clamp(max=limit)).cosh(), (2 * a.clamp(max=limit)).sinh() / a),
    turn=2.0,
)
flat_distance = squared_distance(
    lambda x, y: ((x - y).square().sum(-1, keepdim=True), x - y),
    lambda kept: (lambda weight: 2 * weight * kept[0], lambda weight: -2 * weight * kept[0]),
)

#: On vectors of lengths 0.3 to 3.
MAPS = {
    "clip": lambda x, rho: clip_norm(x, rho, 0.7),
    "tanh": lambda x, rho: tanh_map(x, rho, 1.0),
    "sphere": lambda x, rho: sphere_map(x, rho, math.inf),
    "sheet": lambda x, rho: sheet_map(x, rho, 1.0),
}


def normal(*shape, seed=0):
    return torch.randn(
        *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    ).requires_grad_()


@pytest.mark.parametrize("name", MAPS)
def test_maps_have_two_derivatives_for_vectors_and_scale(name):
    x, rho = normal(4, 2), torch.tensor(0.8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(MAPS[name], (x, rho))
    assert torch.autograd.gradgradcheck(MAPS[name], (x, rho))
    number, tensor = MAPS[name](x, 0.8), MAPS[name](x, rho.detach())
    torch.testing.assert_close(number, tensor)


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_maps_are_finite_at_zero_and_at_the_smallest_numbers(name, dtype):
    x = torch.zeros(4, 3, dtype=dtype)
    x[1:, 0] = torch.tensor([1e-40, 1e-20, 1e-9], dtype=dtype)
    x.requires_grad_()
    slopes = torch.autograd.functional.jacobian(lambda x: MAPS[name](x, 1.0)[..., -3:].sum(0), x)
    assert slopes.isfinite().all()
    torch.testing.assert_close(slopes, slopes[:, :1].expand_as(slopes))


@pytest.mark.parametrize("apart", [False, True])
def test_distances_broadcast_and_have_two_derivatives(apart):
    x, y, rho = normal(4, 1, 3), normal(2, 3, seed=1), torch.tensor(0.8, dtype=torch.float64)

    def one_side(x, y, rho):  # the other row has no gradient for x, as finite differences would
        found = flat_distance(x, y.detach(), rho, apart)
        return found[0] if apart else found

    assert flat_distance(x, y, rho, apart).shape == ((2, 4, 2) if apart else (4, 2))
    assert torch.autograd.gradcheck(one_side, (x, y.detach(), rho.requires_grad_()))
    assert torch.autograd.gradgradcheck(one_side, (x, y.detach(), rho))


@pytest.mark.parametrize("name", REGISTRY.names("manifold"))
def test_manifolds_have_second_derivatives_and_vectorize_without_a_warning(name):
    manifold = REGISTRY.build(REGISTRY.resolve("manifold", name)).double()
    u, v = (0.5 * normal(3, 3, seed=seed).detach() for seed in (0, 1))

    def distance(u, v):
        return manifold.squared_dist(manifold.expmap0(manifold.tangent(u)), manifold.expmap0(v))

    assert torch.autograd.gradgradcheck(distance, (u.requires_grad_(), v.requires_grad_()))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        x = manifold.expmap0(u).expand(2, -1, -1)
        found = torch.vmap(manifold.pairwise_squared_dist)(x, x)
        torch.testing.assert_close(found[0], manifold.pairwise_squared_dist(x[0], x[0]))
        found.sum().backward()
        twice = torch.func.jacrev(torch.func.jacrev(lambda u: distance(u, v.detach()).sum()))
        expected = torch.autograd.functional.hessian(lambda u: distance(u, v.detach()).sum(), u)
        torch.testing.assert_close(twice(u.detach()), expected)
