"""Searches, and their distances: exact where a product cancels, symmetric, of finite points."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from vq_homology import backends, distance_matrix, pair_search
from vq_homology.pair_search import SearchOptions
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
    monkeypatch.setattr(distance_matrix, "TILE_CPU", tile)
    monkeypatch.setattr(distance_matrix, "MIN_ROWS", 1)
    points, manifold = POINTS[kind], space()
    assert distance_matrix._has_product(manifold)
    found, expected = (
        distance_matrix.distance_matrix(points, manifold),
        differences(points, manifold),
    )
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=0)
    assert torch.equal(found, found.T)
    assert torch.equal(found == 0, expected == 0)


def test_only_distances_to_themselves_are_recomputed_in_a_usual_cloud(monkeypatch):
    counted, manifold = [], space()
    exact = manifold.squared_dist
    monkeypatch.setattr(
        manifold, "squared_dist", lambda x, y: counted.append(len(x)) or exact(x, y)
    )
    distance_matrix.distance_matrix(draw(300, 64), manifold)
    assert sum(counted) == 300


@pytest.mark.parametrize("name", ["sphere", "poincare", "lorentz"])
def test_a_manifold_without_a_product_computes_its_own_distances(name):
    manifold = space(name)
    points = manifold.expmap0(0.5 * draw(80, 4))
    found = distance_matrix.distance_matrix(points, manifold)
    torch.testing.assert_close(found, differences(points, manifold), rtol=1e-12, atol=0)
    assert torch.equal(found, found.T)


@pytest.mark.parametrize("name", ["euclidean", "poincare", "lorentz"])
@pytest.mark.parametrize("first", [True, False])
def test_non_finite_points_do_not_affect_the_others(name, first):
    manifold = space(name)
    points = manifold.expmap0(0.5 * draw(30, 4))
    bad = torch.full_like(points[:2], float("nan"))
    mixed = torch.cat([bad, points] if first else [points[:9], bad, points[9:]])
    options = SearchOptions(99, backends.get("gudhi"))
    one, two = (pair_search.search(some, manifold, 3, options) for some in (points, mixed))
    assert torch.equal(mixed[two.rows], points)
    assert torch.equal(one.edges, two.edges)
    assert torch.equal(one.filled, two.filled)


def test_pairs_are_those_of_exact_distances(monkeypatch):
    points, manifold = draw(200, 16), space()
    options = SearchOptions(999, backends.get("gudhi"), 0.3)
    found = pair_search.search(points, manifold, 0, options)
    monkeypatch.setattr(distance_matrix, "_has_product", lambda _: False)
    exact = pair_search.search(points, manifold, 0, options)
    assert torch.equal(found.edges, exact.edges)
    assert found.median_lifetime == pytest.approx(exact.median_lifetime)


def test_rounding_creates_no_loops_with_a_lifetime():
    """A grid moved to where coordinates round: sides of a square differ in their last digits."""
    grid = torch.cartesian_prod(torch.arange(6), torch.arange(6)).double()
    options = SearchOptions(99, backends.get("gudhi"))
    found = pair_search.search(0.1 * grid + 1 / 3, space(), 0, options)
    assert found.median_lifetime == pytest.approx(0.1 * (2**0.5 - 1))


def test_equal_distances_follow_the_order_of_the_points():
    """The corners of a simplex: however products round, the first point is joined to all others."""
    found = pair_search.search(torch.eye(300).double(), space(), 0, SearchOptions(300))
    assert found.edges.tolist() == [[0, point] for point in range(1, 300)]


@pytest.mark.parametrize("name", ["euclidean", "poincare", "lorentz"])
def test_preparing_a_search_does_not_synchronise_with_the_device(name, monkeypatch):
    """Reading a value of a meta tensor raises."""
    manifold, points = space(name), draw(50, 3).to("meta")
    copied = []
    monkeypatch.setattr(
        torch.Tensor, "cpu", lambda t: copied.append(t.shape) or torch.zeros(t.shape, dtype=t.dtype)
    )
    problem = pair_search.prepare(points, manifold, step=0, limit=20)
    assert copied == [(20,), (20, 20)]
    assert problem.shape == (50, 3)


def test_a_search_reads_distances_after_they_are_copied():
    points, manifold = draw(20, 3), space()
    there = pair_search.prepare(points, manifold, step=0, limit=99)

    class Copy:
        def synchronize(self):
            under_way.finite.copy_(there.finite)
            under_way.distances.copy_(there.distances)

    empty = {
        "finite": torch.zeros_like(there.finite),
        "distances": torch.zeros_like(there.distances),
    }
    under_way = replace(there, **empty, copied=Copy())
    found, expected = (
        pair_search.find_pairs(each, SearchOptions(99)) for each in (under_way, there)
    )
    assert len(expected.edges) == 19
    assert torch.equal(found.edges, expected.edges)


def test_a_result_moves_to_a_device():
    found = pair_search.search(draw(9, 2), space(), 1, SearchOptions(99))
    moved = found.to(torch.device("meta"))
    assert {tensor.device.type for tensor in (moved.rows, moved.edges, moved.filled)} == {"meta"}
    assert (moved.shape, moved.step) == (found.shape, found.step)
