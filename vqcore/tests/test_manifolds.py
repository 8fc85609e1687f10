"""What holds on every registered manifold."""

import pytest
import torch

from vqcore.registry import default_registry

REGISTRY = default_registry()
pytestmark = pytest.mark.parametrize("name", REGISTRY.names("manifold"))
DIM = 5


@pytest.fixture
def manifold(name):
    return REGISTRY.build(REGISTRY.resolve("manifold", name))


@pytest.fixture
def tangents(manifold):
    generator = torch.Generator().manual_seed(0)
    return manifold.tangent(2 * torch.randn(40, DIM, generator=generator, dtype=torch.float64))


def test_the_log_map_inverts_the_exponential_map(manifold, tangents):
    points = manifold.expmap0(tangents)
    assert points.shape == (40, manifold.point_dim(DIM))
    assert points.dtype == torch.float64
    assert manifold.check_points(points) is None
    torch.testing.assert_close(manifold.logmap0(points), tangents, rtol=1e-6, atol=1e-9)


def test_the_distance_from_the_origin_grows_with_the_tangent_norm_alone(manifold, tangents):
    origin = manifold.expmap0(torch.zeros(1, DIM, dtype=torch.float64))
    ratio = manifold.dist(origin, manifold.expmap0(tangents)) / tangents.norm(dim=1)
    torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio), rtol=1e-6, atol=0)


def test_distance_is_a_metric(manifold, tangents):
    points = manifold.expmap0(tangents)
    d = manifold.pairwise_dist(points, points)
    torch.testing.assert_close(d, d.T)
    torch.testing.assert_close(d.diagonal(), torch.zeros(40, dtype=torch.float64), rtol=0, atol=1e-6)
    assert (d + d[:, :1] >= d[:1] - 1e-9).all()  # d(i, j) + d(i, 0) >= d(0, j)
    torch.testing.assert_close(manifold.pairwise_squared_dist(points, points), d.square(), atol=1e-9, rtol=1e-9)


def test_rotations_about_the_origin_keep_distances(manifold, tangents):
    rotation, _ = torch.linalg.qr(torch.randn(DIM, DIM, generator=torch.Generator().manual_seed(1)).double())
    a, b = manifold.expmap0(tangents[:20]), manifold.expmap0(tangents[20:])
    c, d = manifold.expmap0(tangents[:20] @ rotation), manifold.expmap0(tangents[20:] @ rotation)
    torch.testing.assert_close(manifold.dist(a, b), manifold.dist(c, d))


@pytest.mark.parametrize("function", ["dist", "squared_dist"])
def test_gradients_are_finite_where_points_coincide(manifold, tangents, function):
    for dtype in (torch.float32, torch.float64):
        u = torch.cat([tangents, torch.zeros(1, DIM)]).to(dtype).requires_grad_()
        value = getattr(manifold, function)(manifold.expmap0(u), manifold.expmap0(u.detach()))
        value.sum().backward()
        assert torch.isfinite(value).all()
        assert torch.isfinite(u.grad).all()


def test_squared_distance_passes_a_finite_difference_check(manifold, tangents):
    a, b = tangents[:4].clone().requires_grad_(), tangents[4:8].clone().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda u, v: manifold.squared_dist(manifold.expmap0(u), manifold.expmap0(v)), (a, b)
    )


def test_the_centroid_of_a_cloud_minimises_its_spread(manifold, tangents):
    points = manifold.expmap0(0.3 * tangents)
    centroid = manifold.from_ambient(manifold.to_ambient(points).mean(0, keepdim=True))
    assert manifold.check_points(centroid) is None

    def spread(at):
        return manifold.squared_dist(points, at).mean()

    nudges = 0.2 * torch.eye(DIM, dtype=torch.float64)
    moved = [manifold.expmap0(manifold.logmap0(centroid) + sign * nudge) for nudge in nudges for sign in (1, -1)]
    assert all(spread(centroid) < spread(at) for at in moved)


def test_one_point_is_its_own_centroid(manifold, tangents):
    points = manifold.expmap0(tangents)
    torch.testing.assert_close(manifold.from_ambient(3 * manifold.to_ambient(points) / 3), points, rtol=1e-6, atol=1e-8)


def test_codes_read_back_what_a_parameter_was_made_of(manifold, tangents):
    points = manifold.expmap0(tangents)
    parameter = manifold.parameter(points)
    assert isinstance(parameter, torch.nn.Parameter)
    u, x = manifold.codes(parameter)
    torch.testing.assert_close(u.detach(), tangents, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(x.detach(), points, rtol=1e-6, atol=1e-9)


def test_random_points_are_points_and_repeat_with_the_generator(manifold):
    first, again = (manifold.random(30, DIM, std=0.5, generator=torch.Generator().manual_seed(3)) for _ in range(2))
    assert first.shape == (30, manifold.point_dim(DIM))
    assert manifold.check_points(first) is None
    assert torch.equal(first, again)


def test_projection_mends_points_and_leaves_good_ones_alone(manifold, tangents):
    points = manifold.expmap0(tangents)
    torch.testing.assert_close(manifold.project(points), points, rtol=1e-9, atol=1e-12)
    assert manifold.check_points(manifold.project(points * 1.3)) is None


def test_check_points_says_why(manifold, tangents):
    points = manifold.expmap0(tangents)
    points[0] = float("nan")
    assert manifold.check_points(points)


def test_the_disk_is_open_and_keeps_directions(manifold, tangents):
    flat = tangents[:, :2]
    disk = manifold.disk(flat)
    if disk is None:
        return
    assert (disk.norm(dim=1) < 1).all()
    torch.testing.assert_close(torch.atan2(*disk.T), torch.atan2(*flat.T))
