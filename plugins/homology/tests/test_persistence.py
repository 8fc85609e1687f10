"""Pairs against known clouds, a reference reduction, ripser, and the backends' own diagrams."""

from __future__ import annotations

import importlib.util
import itertools
import sys

import numpy as np
import pytest

from vq_homology import backends, persistence
from vqcore.errors import SettingError

HAS_GIOTTO, HAS_RIPSER = (importlib.util.find_spec(name) is not None for name in ("gph", "ripser"))
NAMES = [
    "gudhi",
    pytest.param("giotto-ph", marks=pytest.mark.skipif(not HAS_GIOTTO, reason="no giotto-ph here")),
]
METRICS = ["euclidean", "poincare"]


def distances(points, metric="euclidean"):
    """Distances of points; for ``poincare``, of their images in the unit ball, scaled by 0.1."""
    points = np.asarray(points, dtype=np.float64)
    if metric == "euclidean":
        return np.sqrt(np.square(points[:, None] - points[None]).sum(-1))
    norm = np.linalg.norm(points, axis=1, keepdims=True)
    points = points * np.tanh(norm / 10) / np.where(norm > 0, norm, 1)
    depth = 1 - np.square(points).sum(-1)
    return np.arccosh(
        1 + 2 * np.square(points[:, None] - points[None]).sum(-1) / (depth[:, None] * depth)
    )


def cloud(kind, n=40):
    rng = np.random.default_rng(7)
    angles = 2 * np.pi * np.arange(n) / n
    return {
        "random": lambda: rng.normal(size=(n, 3)),
        "clustered": lambda: (
            rng.normal(size=(4, 3))[rng.integers(4, size=n)] * 5 + 0.1 * rng.normal(size=(n, 3))
        ),
        "circular": lambda: np.stack([np.cos(angles), np.sin(angles)], 1),
        "duplicated": lambda: np.repeat(rng.normal(size=(n // 2, 2)), 2, axis=0),
        "collinear": lambda: np.linspace(0, 1, n)[:, None] * [[1.0, 2.0]],
        "grid": lambda: np.stack(np.meshgrid(np.arange(5), np.arange(n // 5)), -1).reshape(-1, 2),
        "equal": lambda: np.ones((n, 2)),
    }[kind]()


KINDS = ["random", "clustered", "circular", "duplicated", "collinear", "grid", "equal"]


def lengths(matrix, edges):
    return matrix[edges[:, 0], edges[:, 1]]


def diagram(matrix, pairs, least=1e-6):
    """Births and deaths of loops with a lifetime, sorted."""
    found = np.stack([lengths(matrix, pairs.births), lengths(matrix, pairs.deaths)], 1)
    return sorted_rows(found, least)


def sorted_rows(found, least=1e-6):
    found = np.asarray(found, dtype=np.float64).reshape(-1, 2)
    found = found[found[:, 1] - found[:, 0] > least]
    return found[np.lexsort((found[:, 1].round(6), found[:, 0].round(6)))]


def reduce_by_hand(matrix):
    """H1 of the Vietoris-Rips filtration in float64, by the textbook column reduction over Z/2.

    The birth and death edges of each pair, where death follows birth in (length, vertices) order.
    """
    n = len(matrix)
    edges = sorted(itertools.combinations(range(n), 2), key=lambda e: (matrix[e], e))
    place = {edge: k for k, edge in enumerate(edges)}
    triangles = [
        sorted(place[e] for e in itertools.combinations(t, 2))
        for t in itertools.combinations(range(n), 3)
    ]
    columns, found = {}, []
    for triangle in sorted(triangles, key=lambda t: t[::-1]):
        column = set(triangle)
        while column and max(column) in columns:
            column ^= columns[max(column)]
        if column:
            columns[max(column)] = column
            found.append((max(column), triangle[-1]))
    return [(edges[birth], edges[death]) for birth, death in sorted(found) if birth < death]


def edges_of(pairs):
    return [
        (tuple(birth), tuple(death))
        for birth, death in zip(pairs.births, pairs.deaths, strict=True)
    ]


def test_a_line_dies_gap_by_gap():
    pairs = persistence.search(distances([[0.0], [7.0], [1.0], [3.0]]), backends.get("gudhi"))
    assert {frozenset(edge) for edge in pairs.tree.tolist()} == {
        frozenset(e) for e in ((0, 2), (2, 3), (3, 1))
    }
    assert lengths(distances([[0.0], [7.0], [1.0], [3.0]]), pairs.tree).tolist() == [1, 2, 4]
    assert len(pairs.births) == 0


@pytest.mark.parametrize("name", NAMES)
def test_a_square_has_one_loop_from_side_to_diagonal(name):
    matrix = distances([[0, 0], [1, 0], [1, 1], [0, 1]])
    pairs = persistence.search(matrix, backends.get(name))
    assert lengths(matrix, pairs.tree).tolist() == [1, 1, 1]
    assert diagram(matrix, pairs) == pytest.approx(np.array([[1, 2**0.5]]))
    assert pairs.filled.tolist() == [True]


@pytest.mark.parametrize("name", NAMES)
def test_the_loop_of_a_circle_dies_at_a_third_of_the_circumference(name):
    matrix = distances(cloud("circular", 12))
    found = diagram(matrix, persistence.search(matrix, backends.get(name)))
    assert found == pytest.approx(np.array([[2 * np.sin(np.pi / 12), 3**0.5]]))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", KINDS)
def test_loops_are_those_of_the_textbook_reduction_edge_by_edge(kind, metric):
    matrix = distances(cloud(kind, 20), metric)
    expected = reduce_by_hand(matrix)
    for name in ["gudhi", "giotto-ph"] if HAS_GIOTTO else ["gudhi"]:
        assert edges_of(persistence.search(matrix, backends.get(name))) == expected, name


@pytest.mark.skipif(not HAS_RIPSER, reason="no ripser here")
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", KINDS)
def test_diagrams_are_those_of_ripser_on_lengths(kind, name, metric):
    from ripser import ripser

    matrix = distances(cloud(kind, 60), metric)
    merges, loops = ripser(matrix, maxdim=1, distance_matrix=True)["dgms"]
    pairs = persistence.search(matrix, backends.get(name))
    expected = sorted_rows(loops, 1e-5)  # ripser computes in float32
    assert diagram(matrix, pairs, 1e-5).shape == expected.shape
    assert diagram(matrix, pairs, 1e-5) == pytest.approx(expected, rel=1e-6, abs=1e-6)
    merges = np.sort(merges[np.isfinite(merges[:, 1]), 1])
    kept = lengths(matrix, pairs.tree)[-len(merges) :] if len(merges) else np.empty(0)
    assert kept == pytest.approx(merges, rel=1e-6, abs=1e-6)
    assert lengths(matrix, pairs.tree)[: len(pairs.tree) - len(merges)] == pytest.approx(
        0, abs=1e-6
    )  # it drops zeros


@pytest.mark.skipif(not HAS_GIOTTO, reason="no giotto-ph here")
@pytest.mark.parametrize("threads", [1, 2, 4])
def test_edges_are_exact_whatever_the_number_of_threads(threads):
    """giotto-ph's own generators are wrong with two threads; those read off the ranks are not."""
    matrix, backend = distances(cloud("random", 200)), backends.GiottoPH()
    ripser = backend._ripser
    backend._ripser = lambda *args, **options: ripser(*args, **options | {"n_threads": threads})
    expected = edges_of(persistence.search(matrix, backends.get("gudhi")))
    for _ in range(3):
        assert edges_of(persistence.search(matrix, backend)) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_diagrams_are_those_of_gudhis_own_filtration(kind):
    """Lengths instead of ranks, float64, through gudhi's public complex."""
    import gudhi

    matrix = distances(cloud(kind, 40))
    tree = gudhi.RipsComplex(distance_matrix=matrix).create_simplex_tree(max_dimension=2)
    tree.compute_persistence(homology_coeff_field=2, min_persistence=-1)
    pairs = persistence.search(matrix, backends.get("auto"))
    expected = sorted_rows(tree.persistence_intervals_in_dimension(1))
    assert diagram(matrix, pairs).shape == expected.shape
    assert diagram(matrix, pairs) == pytest.approx(expected, abs=1e-12)
    merges = tree.persistence_intervals_in_dimension(0)[:, 1]
    assert lengths(matrix, pairs.tree) == pytest.approx(
        np.sort(merges[np.isfinite(merges)]), abs=1e-12
    )


@pytest.mark.skipif(not HAS_GIOTTO, reason="no giotto-ph here")
@pytest.mark.parametrize("kind", KINDS)
def test_diagrams_are_those_of_giotto_ph_on_lengths(kind):
    from gph import ripser_parallel

    matrix = distances(cloud(kind, 60))
    expected = ripser_parallel(
        matrix.astype(np.float32), metric="precomputed", maxdim=1, n_threads=1
    )["dgms"]
    pairs = persistence.search(matrix, backends.get("gudhi"))
    assert diagram(matrix, pairs) == pytest.approx(sorted_rows(expected[1]), abs=1e-5)
    merges = expected[0][np.isfinite(expected[0][:, 1]), 1]  # giotto-ph leaves out those at 0
    kept = lengths(matrix, pairs.tree)
    assert kept[kept > 1e-6] == pytest.approx(np.sort(merges[merges > 1e-6]), abs=1e-5)


@pytest.mark.skipif(not HAS_GIOTTO, reason="no giotto-ph here")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("quantile", [1.0, 0.2])
def test_backends_find_the_same_edges(kind, quantile, monkeypatch):
    monkeypatch.setattr(persistence, "FULL_SIZE", 0)
    matrix = distances(cloud(kind, 60))
    one, two = (
        persistence.search(matrix, backends.get(name), quantile) for name in ("gudhi", "giotto-ph")
    )
    for field in ("tree", "births", "deaths", "filled"):
        assert np.array_equal(getattr(one, field), getattr(two, field)), field


@pytest.mark.parametrize("kind", KINDS)
def test_h0_always_has_n_minus_1_pairs_that_join_every_point(kind):
    matrix = distances(cloud(kind))
    tree = persistence.search(matrix).tree
    assert tree.shape == (len(matrix) - 1, 2)
    assert np.all(np.diff(lengths(matrix, tree)) >= 0)
    joined = {0}
    for _ in tree:
        joined |= {b for edge in tree.tolist() if joined & set(edge) for b in edge}
    assert joined == set(range(len(matrix)))


def test_the_quantile_limits_the_search_and_bounds_later_deaths(monkeypatch):
    monkeypatch.setattr(persistence, "FULL_SIZE", 0)
    matrix = distances(cloud("random", 60))
    backend = backends.get("gudhi")
    full, short = persistence.search(matrix, backend), persistence.search(matrix, backend, 0.2)
    assert full.filled.all()
    assert 0 < len(short.births) < len(full.births)
    deaths = {
        tuple(birth): death
        for birth, death in zip(full.births.tolist(), full.deaths.tolist(), strict=True)
    }
    longest = persistence.shortest_edges(matrix, 0.2)[-1].tolist()
    for birth, death, filled in zip(
        short.births.tolist(), short.deaths.tolist(), short.filled, strict=True
    ):
        true = deaths[tuple(birth)]
        assert death == (true if filled else longest)
        assert matrix[tuple(death)] <= matrix[tuple(true)]


def test_clouds_of_up_to_128_points_are_searched_in_full():
    matrix = distances(cloud("random", 40))
    assert persistence.search(matrix, backends.get("gudhi"), 0.01).filled.all()


def test_edges_beyond_the_enclosing_radius_are_left_out():
    matrix = distances(cloud("random", 40))
    edges = persistence.shortest_edges(matrix)
    radius = matrix.max(1).min()
    assert len(edges) == (matrix[np.triu_indices(40, 1)] <= radius).sum() < 40 * 39 / 2


def test_equal_edges_follow_the_order_of_their_points():
    edges = persistence.shortest_edges(distances(cloud("equal", 5)))
    assert edges.tolist() == [list(pair) for pair in itertools.combinations(range(5), 2)]


class Counting(backends.Gudhi):
    """Records how many edges it received."""

    def loops(self, edges, points):
        self.given = len(edges)
        return super().loops(edges, points)


LARGE = {
    "circle": cloud("circular", 1024),
    "uneven circle": (lambda a: np.stack([np.cos(a), np.sin(a)], 1))(
        np.random.default_rng(0).uniform(0, 6.2832, 1024)
    ),
    "equal": np.ones((1024, 2)),
    "duplicated": np.random.default_rng(0).normal(size=(2, 8)).repeat(512, 0),
    "collinear": cloud("collinear", 1024),
    "simplex": np.eye(1024),
    "huge": 1e150 * np.random.default_rng(0).normal(size=(1024, 2)),
}


@pytest.mark.parametrize("kind", LARGE)
def test_large_clouds_take_a_tenth_of_their_edges_however_many_are_equal(kind):
    """Counts edges; benchmarks/homology.py measures time. All edges would take seconds."""
    gram = LARGE[kind] @ LARGE[kind].T
    square = np.diag(gram)
    matrix = np.sqrt(np.maximum(square[:, None] + square - 2 * gram, 0))
    matrix, backend = np.maximum(matrix, matrix.T), Counting()
    pairs = persistence.search(matrix, backend, 0.1)
    assert backend.given <= 0.1 * 1024 * 1023 / 2 + 1
    assert len(pairs.tree) == 1023
    if "circle" in kind:  # one loop outlives the edges looked at
        assert np.flatnonzero(~pairs.filled).tolist() == [len(pairs.filled) - 1]


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_few_points_have_no_loops(n):
    pairs = persistence.search(distances(np.arange(2.0 * n).reshape(n, 2)), backends.get("gudhi"))
    assert pairs.tree.shape == (max(n - 1, 0), 2)
    assert pairs.births.shape == pairs.deaths.shape == (0, 2)


# -- backends ---------------------------------------------------------------


def test_gudhi_without_its_ripser_finds_the_same_pairs(monkeypatch):
    matrix = distances(cloud("random", 40))
    fast = persistence.search(matrix, backends.Gudhi())
    monkeypatch.setitem(sys.modules, "gudhi._ripser_ext", None)
    fallback = backends.Gudhi()
    assert fallback._ripser is None
    slow = persistence.search(matrix, fallback)
    assert np.array_equal(fast.births, slow.births)
    assert np.array_equal(fast.deaths, slow.deaths)


@pytest.fixture
def forget():
    backends.get.cache_clear()
    yield
    backends.get.cache_clear()


@pytest.mark.usefixtures("forget")
def test_auto_is_giotto_ph_if_installed_and_gudhi_otherwise(monkeypatch):
    assert backends.get("auto").name == ("giotto-ph" if HAS_GIOTTO else "gudhi")
    backends.get.cache_clear()
    monkeypatch.setitem(sys.modules, "gph", None)
    assert backends.get("auto").name == "gudhi"


@pytest.mark.usefixtures("forget")
def test_a_missing_backend_is_refused_with_a_fix(monkeypatch):
    monkeypatch.setitem(sys.modules, "gph", None)
    with pytest.raises(SettingError, match=r"backend = 'giotto-ph'.*set backend to gudhi"):
        backends.get("giotto-ph")


@pytest.mark.skipif(not HAS_GIOTTO, reason="no giotto-ph here")
def test_giotto_ph_refuses_more_edges_than_float32_can_number(monkeypatch):
    monkeypatch.setattr(backends, "MAX_FLOAT32_INTEGER", 5)
    with pytest.raises(SettingError, match="at most 5 edges"):
        persistence.search(distances(cloud("random", 20)), backends.get("giotto-ph"))
