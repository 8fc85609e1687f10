"""What holds for every registered gradient estimator, and the straight-through's gradient by hand."""

import pytest
import torch

from vqcore.registry import default_registry

REGISTRY = default_registry()
MANIFOLD = REGISTRY.build(REGISTRY.resolve("manifold", "euclidean"))
every = pytest.mark.parametrize("name", REGISTRY.names("estimator"))


def build(name):
    return REGISTRY.build(REGISTRY.resolve("estimator", name), manifold=MANIFOLD)


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_value_is_the_code_to_the_bit(name, dtype):
    estimator = build(name)
    z, z_q = (torch.randn(50, 7, generator=torch.Generator().manual_seed(i)).to(dtype) for i in range(2))
    out = estimator(z, z_q)
    assert out.dtype == dtype
    assert not estimator.exact or torch.equal(out, z_q)


@every
def test_gradients_reach_the_latent_and_are_finite_at_the_edges(name):
    z = torch.tensor([[1.0, 2.0], [0.0, 0.0], [1.0, 2.0], [1.0, 0.0], [3.0, 4.0]], requires_grad=True)
    z_q = torch.tensor([[2.0, 1.0], [1.0, 0.0], [0.0, 0.0], [-2.0, 0.0], [3.0, 4.0]], requires_grad=True)
    estimator = build(name)
    out = estimator(z, z_q)
    out.square().sum().backward()
    assert torch.isfinite(z.grad).all()
    assert z.grad[0].abs().max() > 0
    assert not estimator.exact or z_q.grad is None


def test_straight_through_copies_the_gradient():
    z, g = torch.randn(5, 3, requires_grad=True), torch.randn(5, 3)
    (build("straight-through")(z, torch.randn(5, 3)) * g).sum().backward()
    assert torch.equal(z.grad, g)
