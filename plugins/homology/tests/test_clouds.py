"""The distances that a search begins with: exact where a product cancels, symmetric, of finite points only."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from vq_homology import backends, clouds
from vqcore.plugin.registry import default_registry

REGISTRY = default_registry()


def space(name="euclidean"):
    if name not in REGISTRY.names("manifold"):
        pytest.skip(f"no manifold {name} is installed")
    return REGISTRY.build(REGISTRY.resolve("manifold", name))


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def differences(points, manifold):
    return manifold.dist(points.unsqueeze(1), points.unsqueeze(0))


POINTS = {
    "none": draw(0, 3),
    "one": draw(1, 3),
    "random": draw(300, 3),
    "without coordinates": draw(5, 0),
    "equal": torch.ones(40, 3, dtype=torch.float64),
    "equal, of many digits": draw(1, 64).repeat(40, 1),
    "equal, far from the origin": 1e6 + draw(1, 64).repeat(40, 1),
    "duplicated": draw(20, 3).repeat(2, 1),
    "far from the origin": 1e6 + draw(100, 3),
    "tight clusters": torch.cat([draw(50, 3), 5 + 1e-7 * draw(50, 3)]),
    "one far out": torch.cat([1e-6 * draw(70, 3), torch.full((1, 3), 100.0, dtype=torch.float64)]),
    "tiny": 1e-30 * draw(30, 3),
    "huge": 1e37 * draw(30, 3),
}


@pytest.mark.parametrize("kind", POINTS)
@pytest.mark.parametrize("tile", [1, 1000, 10**6])
def test_distances_keep_eleven_digits_where_the_product_cancels(kind, tile, monkeypatch):
    monkeypatch.setattr(clouds, "TILE_CPU", tile)
    monkeypatch.setattr(clouds, "LEAST_ROWS", 1)
    points, manifold = POINTS[kind], space()
    assert clouds._has_product(manifold)
    found, expected = clouds.distance_matrix(points, manifold), differences(points, manifold)
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=0)
    assert torch.equal(found, found.T)
    assert torch.equal(found == 0, expected == 0)


def test_few_distances_of_a_usual_cloud_are_computed_twice(monkeypatch):
    """Only those of points to themselves."""
    counted, manifold = [], space()
    exact = manifold.squared_dist
    monkeypatch.setattr(
        manifold, "squared_dist", lambda x, y: counted.append(len(x)) or exact(x, y)
    )
    clouds.distance_matrix(draw(300, 64), manifold)
    assert sum(counted) == 300


@pytest.mark.parametrize("name", ["sphere", "poincare", "lorentz"])
def test_a_manifold_without_a_product_is_asked_for_distances(name):
    manifold = space(name)
    points = manifold.expmap0(0.5 * draw(80, 4))
    found = clouds.distance_matrix(points, manifold)
    torch.testing.assert_close(found, differences(points, manifold), rtol=1e-12, atol=0)
    assert torch.equal(found, found.T)


@pytest.mark.parametrize("name", ["euclidean", "poincare", "lorentz"])
@pytest.mark.parametrize("first", [True, False])
def test_points_that_are_not_finite_change_nothing_for_the_others(name, first):
    manifold = space(name)
    points = manifold.expmap0(0.5 * draw(30, 4))
    bad = torch.full_like(points[:2], float("nan"))
    mixed = torch.cat([bad, points] if first else [points[:9], bad, points[9:]])
    search = {"step": 3, "limit": 99, "backend": backends.get("gudhi"), "edge_quantile": 1.0}
    one, two = (clouds.search(some, manifold, **search) for some in (points, mixed))
    assert torch.equal(mixed[two.rows], points)
    assert torch.equal(one.edges, two.edges)
    assert torch.equal(one.filled, two.filled)


def test_pairs_are_those_of_exact_distances(monkeypatch):
    points, manifold = draw(200, 16), space()
    search = {"step": 0, "limit": 999, "backend": backends.get("gudhi"), "edge_quantile": 0.3}
    found = clouds.search(points, manifold, **search)
    monkeypatch.setattr(clouds, "_has_product", lambda _: False)
    exact = clouds.search(points, manifold, **search)
    assert torch.equal(found.edges, exact.edges)
    assert found.median == pytest.approx(exact.median)


def test_rounding_gives_no_loops_that_count():
    """A grid moved to where coordinates round: sides of a square differ in their last digits."""
    grid = torch.cartesian_prod(torch.arange(6), torch.arange(6)).double()
    search = {"step": 0, "limit": 99, "backend": backends.get("gudhi"), "edge_quantile": 1.0}
    found = clouds.search(0.1 * grid + 1 / 3, space(), **search)
    assert found.median == pytest.approx(0.1 * (2**0.5 - 1))


def test_equal_distances_stand_in_the_order_of_their_points():
    """The corners of a simplex: whatever their products round to, the first point is joined to all others."""
    found = clouds.search(
        torch.eye(300).double(), space(), step=0, limit=300, backend=None, edge_quantile=1.0
    )
    assert found.edges.tolist() == [[0, point] for point in range(1, 300)]


@pytest.mark.parametrize("name", ["euclidean", "poincare", "lorentz"])
def test_posing_a_problem_reads_no_number_of_the_device(name, monkeypatch):
    """A meta tensor has none, so whatever would wait for one raises."""
    manifold, points = space(name), draw(50, 3).to("meta")
    copied = []
    monkeypatch.setattr(
        torch.Tensor, "cpu", lambda t: copied.append(t.shape) or torch.zeros(t.shape, dtype=t.dtype)
    )
    problem = clouds.pose(points, manifold, step=0, limit=20)
    assert copied == [(20,), (20, 20)]
    assert problem.table == (50, 3)


def test_a_search_reads_distances_once_they_have_arrived():
    points, manifold = draw(20, 3), space()
    there = clouds.pose(points, manifold, step=0, limit=99)

    class Arrival:
        def synchronize(self):
            under_way.finite.copy_(there.finite)
            under_way.distances.copy_(there.distances)

    empty = {
        "finite": torch.zeros_like(there.finite),
        "distances": torch.zeros_like(there.distances),
    }
    under_way = replace(there, **empty, arrived=Arrival())
    found, expected = (clouds.solve(problem, None, 1.0) for problem in (under_way, there))
    assert len(expected.edges) == 19
    assert torch.equal(found.edges, expected.edges)


def test_a_cloud_moves_to_a_device():
    found = clouds.search(draw(9, 2), space(), step=1, limit=99, backend=None, edge_quantile=1.0)
    moved = found.to(torch.device("meta"))
    assert {tensor.device.type for tensor in (moved.rows, moved.edges, moved.filled)} == {"meta"}
    assert (moved.table, moved.step) == (found.table, found.step)
