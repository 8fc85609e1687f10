"""The rotation trick's Jacobian, in float64, and where it falls back."""

import pytest
import torch

from vqcore.registry import default_registry

REGISTRY = default_registry()
MANIFOLD = REGISTRY.build(REGISTRY.resolve("manifold", "euclidean"))
ROTATION = REGISTRY.build(REGISTRY.resolve("estimator", "rotation"), manifold=MANIFOLD)
DIM = 6


def jacobian(z, z_q):
    return torch.autograd.functional.jacobian(lambda e: ROTATION(e, z_q), z)


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, DIM, dtype=torch.float64, generator=generator)


def test_the_jacobian_is_a_scaled_rotation_that_takes_the_latent_to_its_code(pair):
    z, z_q = pair
    j, scale = jacobian(z, z_q), z_q.norm() / z.norm()
    torch.testing.assert_close(j.T @ j, scale**2 * torch.eye(DIM, dtype=torch.float64))
    torch.testing.assert_close(torch.det(j / scale), torch.tensor(1.0, dtype=torch.float64))
    torch.testing.assert_close(j @ z, z_q)


def test_directions_outside_the_plane_are_only_scaled(pair):
    z, z_q = pair
    basis, _ = torch.linalg.qr(torch.stack([z, z_q, *torch.eye(DIM, dtype=torch.float64)[:4]], 1))
    outside = basis[:, 2:]
    scale = z_q.norm() / z.norm()
    torch.testing.assert_close(jacobian(z, z_q) @ outside, scale * outside)


def test_rotating_the_pair_rotates_the_jacobian(pair):
    z, z_q = pair
    turn, _ = torch.linalg.qr(torch.randn(DIM, DIM, generator=torch.Generator().manual_seed(1)).double())
    torch.testing.assert_close(jacobian(turn @ z, turn @ z_q), turn @ jacobian(z, z_q) @ turn.T)


def test_the_gradient_that_arrives_is_turned_back_not_copied(pair):
    z, z_q = pair
    e, g = z.clone().requires_grad_(), torch.randn(DIM).double()
    (ROTATION(e, z_q) * g).sum().backward()
    torch.testing.assert_close(e.grad, jacobian(z, z_q).T @ g)
    assert not torch.allclose(e.grad, g)


@pytest.mark.parametrize(
    ("z", "z_q"),
    [([0.0, 0.0], [1.0, 0.0]), ([1e-9, 1e-9], [1.0, 0.0]), ([1.0, 0.0], [0.0, 0.0]), ([1.0, 0.0], [-2.0, 0.0])],
    ids=["zero latent", "tiny latent", "zero code", "opposite"],
)
def test_where_no_rotation_is_defined_the_gradient_is_copied(z, z_q):
    z, z_q = torch.tensor(z, dtype=torch.float64), torch.tensor(z_q, dtype=torch.float64)
    assert torch.equal(ROTATION(z, z_q), z_q)
    assert torch.equal(jacobian(z, z_q), torch.eye(2, dtype=torch.float64))


def test_parallel_vectors_are_only_scaled():
    z = torch.tensor([3.0, 4.0], dtype=torch.float64)
    torch.testing.assert_close(jacobian(z, 2 * z), 2 * torch.eye(2, dtype=torch.float64))


def test_half_precision_gradients_are_those_of_float32():
    generator = torch.Generator().manual_seed(0)
    z, z_q = (torch.randn(64, 8, generator=generator).bfloat16() for _ in range(2))
    grads = []
    for dtype in (torch.bfloat16, torch.float32):
        e = z.clone().to(dtype).requires_grad_()
        ROTATION(e, z_q.to(dtype)).sum().backward()
        grads.append(e.grad.float())
    error = (grads[0] - grads[1]).norm() / grads[1].norm()
    assert error < 4e-3  # the rounding of one bfloat16, not of the whole computation


def test_it_does_not_depend_on_the_other_tokens(pair):
    z, z_q = pair
    batch = ROTATION(torch.stack([z, 5 * z_q]), torch.stack([z_q, z]))
    assert torch.equal(batch[0], z_q)
