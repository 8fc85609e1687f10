"""The Jacobian of the rotation trick in float64, and its straight-through cases."""

import pytest
import torch

from vqcore.plugin.registry import default_registry

REGISTRY = default_registry()
MANIFOLD = REGISTRY.build(REGISTRY.resolve("manifold", "euclidean"))
DIM = 6


def build(**options):
    return REGISTRY.build(
        REGISTRY.resolve("estimator", {"name": "rotation", **options}), manifold=MANIFOLD
    )


ROTATION, TURN, ISOMETRY = build(), build(radial=False), build(rescale=False)


def jacobian(z, z_q, estimator=ROTATION):
    return torch.autograd.functional.jacobian(lambda e: estimator(e, z_q), z)


def by_formula(z, z_q, radial=True, rescale=True):
    """lam R, R = I - 2 r r^T + 2 v u^T; without the radial part lam R (I - u u^T)."""
    eye, u, v = torch.eye(len(z)).double(), z / z.norm(), z_q / z_q.norm()
    r = (u + v) / (u + v).norm()
    turn = eye - 2 * torch.outer(r, r) + 2 * torch.outer(v, u)
    lam = z_q.norm() / z.norm() if rescale else 1
    return lam * turn @ (eye if radial else eye - torch.outer(u, u))


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


@pytest.mark.parametrize("radial", [True, False])
def test_rotating_the_pair_rotates_the_jacobian(pair, radial):
    z, z_q = pair
    turn, _ = torch.linalg.qr(
        torch.randn(DIM, DIM, generator=torch.Generator().manual_seed(1)).double()
    )
    estimator = build(radial=radial)
    there, here = jacobian(turn @ z, turn @ z_q, estimator), jacobian(z, z_q, estimator)
    torch.testing.assert_close(there, turn @ here @ turn.T)


@pytest.mark.parametrize("radial", [True, False])
def test_the_jacobian_is_the_papers_formula_and_that_of_finite_differences(pair, radial):
    z, z_q = pair
    expected, step = by_formula(z, z_q, radial), 1e-6
    torch.testing.assert_close(jacobian(z, z_q, build(radial=radial)), expected)

    def held(e):  # lam, R and u as constants
        u = z / z.norm()
        return by_formula(z, z_q) @ (e if radial else e - (e @ u) * u)

    moved = [(held(z + n) - held(z - n)) / (2 * step) for n in step * torch.eye(DIM).double()]
    torch.testing.assert_close(torch.stack(moved, 1), expected, rtol=1e-7, atol=1e-9)


def test_without_its_radial_part_the_gradient_can_only_turn_the_latent(pair):
    z, z_q = pair
    j, scale, u = jacobian(z, z_q, TURN), z_q.norm() / z.norm(), z / z.norm()
    assert torch.equal(TURN(z, z_q), z_q)
    torch.testing.assert_close(j @ z, torch.zeros(DIM).double(), rtol=0, atol=1e-14)
    torch.testing.assert_close(z_q @ j, torch.zeros(DIM).double(), rtol=0, atol=1e-14)
    torch.testing.assert_close(j.T @ j, scale**2 * (torch.eye(DIM).double() - torch.outer(u, u)))
    basis, _ = torch.linalg.qr(torch.stack([z, z_q, *torch.eye(DIM, dtype=torch.float64)[:4]], 1))
    torch.testing.assert_close(j @ basis[:, 2:], scale * basis[:, 2:])


@pytest.mark.parametrize("radial", [True, False])
def test_without_rescaling_the_jacobian_is_the_rotation_alone(pair, radial):
    z, z_q = pair
    j = jacobian(z, 7 * z_q, build(rescale=False, radial=radial))
    torch.testing.assert_close(j, by_formula(z, z_q, radial, rescale=False))
    torch.testing.assert_close(j, jacobian(z, z_q * z.norm() / z_q.norm(), build(radial=radial)))
    g = torch.randn(DIM, generator=torch.Generator().manual_seed(2)).double()
    if radial:
        torch.testing.assert_close((g @ j).norm(), g.norm())
        torch.testing.assert_close(j @ (z / z.norm()), z_q / z_q.norm())


def test_turning_by_hand():
    """A quarter turn and twice the length: R = [[0, -1], [1, 0]], with and without radial part."""
    z, z_q = torch.tensor([3.0, 0.0]).double(), torch.tensor([0.0, 6.0]).double()
    torch.testing.assert_close(jacobian(z, z_q), torch.tensor([[0.0, -2.0], [2.0, 0.0]]).double())
    torch.testing.assert_close(
        jacobian(z, z_q, TURN), torch.tensor([[0.0, -2.0], [0.0, 0.0]]).double()
    )
    quarter = torch.tensor([[0.0, -1.0], [1.0, 0.0]]).double()
    torch.testing.assert_close(jacobian(z, z_q, ISOMETRY), quarter)


@pytest.mark.parametrize("gap", [1e-1, 1e-3, 1e-5])
def test_nearly_opposite_directions_keep_the_rotation_orthogonal_in_float32(gap):
    z, z_q = torch.tensor([1.0, 0.2, -0.3]), torch.tensor([-1.0, -0.2 + gap, 0.3])
    j, scale = jacobian(z, z_q), z_q.norm() / z.norm()
    torch.testing.assert_close(j.T @ j, scale**2 * torch.eye(3), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        j @ z, z_q, rtol=0, atol=1e-6 / gap
    )  # the bisector holds no more digits than that


def test_the_gradient_is_rotated_not_copied(pair):
    z, z_q = pair
    e, g = z.clone().requires_grad_(), torch.randn(DIM).double()
    (ROTATION(e, z_q) * g).sum().backward()
    torch.testing.assert_close(e.grad, jacobian(z, z_q).T @ g)
    assert not torch.allclose(e.grad, g)


@pytest.mark.parametrize(
    ("z", "z_q"),
    [
        ([0.0, 0.0], [1.0, 0.0]),
        ([1e-9, 1e-9], [1.0, 0.0]),
        ([1.0, 0.0], [0.0, 0.0]),
        ([1.0, 0.0], [-2.0, 0.0]),
    ],
    ids=["zero latent", "tiny latent", "zero code", "opposite"],
)
def test_where_no_rotation_is_defined_the_gradient_is_copied(z, z_q):
    z, z_q = torch.tensor(z, dtype=torch.float64), torch.tensor(z_q, dtype=torch.float64)
    assert torch.equal(ROTATION(z, z_q), z_q)
    eye, u = torch.eye(2, dtype=torch.float64), z / z.norm().clamp(min=1e-300)
    assert torch.equal(jacobian(z, z_q), eye)
    assert torch.equal(jacobian(z, z_q, ISOMETRY), eye)
    torch.testing.assert_close(jacobian(z, z_q, TURN), eye - torch.outer(u, u))


def test_parallel_vectors_are_only_scaled():
    z = torch.tensor([3.0, 4.0], dtype=torch.float64)
    eye, u = torch.eye(2, dtype=torch.float64), z / 5
    torch.testing.assert_close(jacobian(z, 2 * z), 2 * eye)
    torch.testing.assert_close(jacobian(z, 2 * z, TURN), 2 * (eye - torch.outer(u, u)))


@pytest.mark.parametrize("estimator", [ROTATION, TURN, ISOMETRY], ids=["whole", "turn", "isometry"])
def test_half_precision_gradients_are_those_of_float32(estimator):
    generator = torch.Generator().manual_seed(0)
    z, z_q = (torch.randn(64, 8, generator=generator).bfloat16() for _ in range(2))
    grads = []
    for dtype in (torch.bfloat16, torch.float32):
        e = z.clone().to(dtype).requires_grad_()
        estimator(e, z_q.to(dtype)).sum().backward()
        grads.append(e.grad.float())
    error = (grads[0] - grads[1]).norm() / grads[1].norm()
    assert error < 4e-3  # the rounding of one bfloat16, not of the whole computation


def test_tokens_are_independent(pair):
    z, z_q = pair
    batch = ROTATION(torch.stack([z, 5 * z_q]), torch.stack([z_q, z]))
    assert torch.equal(batch[0], z_q)
