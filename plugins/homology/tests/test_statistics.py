"""The statistics: values by hand, gradients, invariance to scale, and degenerate clouds."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from vq_homology import backends, distance_matrix, pair_search, persistence, statistics
from vq_homology.pair_search import SearchOptions
from vq_homology.statistics import Measurement
from vq_homology.targets import STATISTICS, Scales, Target, TargetCost
from vqcore.plugin.registry import default_registry

REGISTRY = default_registry()
MANIFOLDS = ["euclidean", "sphere", "poincare"]
#: Of the soft count, and where loops are counted alive; the cloud of ``measured`` has loops there.
WIDTH, AT = 0.1, 0.9


def space(name="euclidean"):
    if name not in REGISTRY.names("manifold"):
        pytest.skip(f"no manifold {name} is installed")
    return REGISTRY.build(REGISTRY.resolve("manifold", name))


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def measured(u, manifold):
    """The measurement of the points expmap0(u), with their pairs."""
    points = manifold.expmap0(u)
    found = pair_search.search(points, manifold, 0, SearchOptions(99, backends.get("gudhi")))
    cloud = statistics.whole_cloud(points, found.edges, found.filled)
    return Measurement(cloud, manifold)


def value_of(statistic, measured):
    """A statistic by name."""
    scales = Scales(max(len(measured.cloud.points), 1), WIDTH, AT)
    return STATISTICS[statistic](measured, scales)


def bars(*pairs, h0=()):
    births, deaths = torch.tensor(pairs, dtype=torch.float64).reshape(-1, 2).unbind(1)
    h0 = torch.tensor(h0, dtype=torch.float64)
    return statistics.PersistenceDiagram(h0, torch.ones_like(h0) / len(h0), births, deaths)


# -- values -----------------------------------------------------------------


def test_equal_points_count_in_the_mean_death():
    """Four points, two of them equal: three deaths, one of them 0."""
    points = torch.tensor([[0.0], [0.0], [1.0], [2.0]])
    edges = torch.from_numpy(
        persistence.search(distance_matrix.distance_matrix(points, space()).numpy()).tree
    )
    cloud = statistics.whole_cloud(points, edges, torch.zeros(0, dtype=torch.bool))
    found = Measurement(cloud, space()).diagram
    assert statistics.mean_death(found, torch.tensor(2.0)).item() == pytest.approx(
        (0 + 1 + 1) / 3 / 2
    )


def test_soft_count_is_zero_safe_and_counts_long_lifetimes_as_one():
    lives = torch.tensor([0.0, 1.0, 1e30], requires_grad=True)
    count = statistics.soft_count(lives, 1.0)
    count.backward()
    assert count.item() == pytest.approx(1 - 0.6065307 + 1)
    assert lives.grad.tolist() == pytest.approx([0, 0.6065307, 0])
    lives.grad = None
    statistics.soft_count(lives, 0.0).backward()
    assert torch.isfinite(lives.grad).all()
    assert statistics.soft_count(torch.tensor([0.0, 0.0]), 0.0).item() == 0
    assert statistics.soft_count(torch.zeros(0), 0.0).item() == 0


def test_a_stale_pair_that_has_crossed_has_no_lifetime():
    diagram = bars((1.0, 3.0), (2.0, 1.0))
    assert diagram.lifetimes.tolist() == [2, 0]
    assert statistics.loops_alive(bars((2.0, 1.0)), torch.tensor(1.0), 1.5).item() == 0


def test_total_persistence_is_the_sum_of_lifetimes_over_the_scale():
    assert (
        statistics.total_persistence(
            bars((1.0, 3.0), (2.0, 2.5)).lifetimes, torch.tensor(0.5)
        ).item()
        == 5
    )


def test_persistent_entropy_by_hand():
    lives = torch.tensor([1.0, 1.0, 2.0, 0.0], dtype=torch.float64)
    entropy = -2 * 0.25 * math.log(0.25) - 0.5 * math.log(0.5)
    assert statistics.persistent_entropy(lives).item() == pytest.approx(entropy)
    assert statistics.normalized_entropy(lives).item() == pytest.approx(entropy / math.log(4))
    assert statistics.persistent_entropy(torch.full((7,), 1e-3)).item() == pytest.approx(
        math.log(7)
    )
    assert statistics.normalized_entropy(torch.full((7,), 1e3)).item() == pytest.approx(1)


@pytest.mark.parametrize("lives", [[], [0.0], [3.0], [0.0, 0.0], [0.0, 5.0]])
def test_persistent_entropy_is_0_for_at_most_one_lifetime(lives):
    lives = torch.tensor(lives, dtype=torch.float64, requires_grad=True)
    entropy = statistics.normalized_entropy(lives)
    entropy.backward()
    assert entropy.item() == pytest.approx(0, abs=1e-15)
    assert torch.isfinite(lives.grad).all()


def test_loops_are_alive_between_birth_and_death():
    """The count is whole far from births and deaths, and a half at one of them."""
    diagram = bars((1.0, 3.0), (2.0, 6.0), (2.0, 2.0))
    counts = {
        at: statistics.loops_alive(diagram, torch.tensor(2.0), at / 2).item()
        for at in (0.1, 1.0, 1.5, 2.5, 3.0, 4.5)
    }
    assert counts == pytest.approx({0.1: 0, 1.0: 0.5, 1.5: 1, 2.5: 2, 3.0: 1.5, 4.5: 1}, abs=0.04)


def test_target_cost_is_the_weighted_sum_of_costs():
    """A rectangle of sides 1 and 2: deaths 1, 1, 2 and a loop from 2 to the diagonal."""
    points = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 2.0], [0.0, 2.0]], dtype=torch.float64)
    found = pair_search.search(points, space(), 0, SearchOptions(99, backends.get("gudhi")))
    spread, life, even = (
        1.25**0.5,
        5**0.5 - 2,
        (0.5 * math.log(4) + 0.5 * math.log(2)) / math.log(3),
    )
    goals = {"h0_entropy": Target(1.0, 2.0), "h1_total": Target(0.2, 3.0), "h1": Target(7.0, 0.0)}
    cloud = statistics.whole_cloud(points, found.edges, found.filled)
    term = TargetCost(goals)(cloud, space(), 0.0)
    assert term.item() == pytest.approx(2 * (1 - even) + 3 * (life / spread / 4 / 0.2 - 1) ** 2)
    low = TargetCost({"h0_entropy": Target(0.9 * even, 2.0)})(cloud, space(), 0.0)
    assert low.item() == 0


def test_only_loop_statistics_need_loops():
    for name in STATISTICS:
        assert TargetCost({name: Target(0.0, 1.0)}).needs_loops == name.startswith("h1")
        assert not TargetCost({name: Target(0.0, 0.0)}).needs_loops


# -- gradients --------------------------------------------------------------


def cloud(manifold):
    """Points with loops whose edge lengths differ by more than finite differences change them."""
    u = 0.4 * draw(12, 3, seed=11)
    distances = distance_matrix.distance_matrix(manifold.expmap0(u), manifold)
    lengths = sorted(distances[i, j].item() for i, j in itertools.combinations(range(12), 2))
    assert min(b - a for a, b in itertools.pairwise(lengths)) > 1e-4
    return u


@pytest.mark.parametrize("manifold", MANIFOLDS)
@pytest.mark.parametrize("statistic", STATISTICS)
def test_gradients_of_statistics_match_finite_differences(manifold, statistic):
    manifold = space(manifold)
    u = cloud(manifold).requires_grad_()
    found = measured(u, manifold)
    assert len(found.diagram.births) > 1
    (gradient,) = torch.autograd.grad(value_of(statistic, found), u)
    assert gradient.abs().max() > 1e-3
    assert torch.autograd.gradcheck(lambda u: value_of(statistic, measured(u, manifold)), u)


@pytest.mark.parametrize("manifold", MANIFOLDS)
def test_the_gradient_of_the_spread_matches_finite_differences(manifold):
    manifold = space(manifold)
    assert torch.autograd.gradcheck(
        lambda u: measured(u, manifold).spread, cloud(manifold).requires_grad_()
    )


def test_a_loop_that_is_not_filled_has_no_gradient_at_its_death():
    points = torch.tensor([[0.0], [1.0], [3.0], [6.0]], requires_grad=True)
    edges = torch.tensor(
        [[0, 1], [1, 2], [2, 3], [0, 1], [2, 3]]
    )  # the tree, a birth of length 1, a death of 3
    loops = statistics.whole_cloud(points, edges, torch.tensor([False]))
    Measurement(loops, space()).diagram.lifetimes.sum().backward()
    assert points.grad[2:].abs().sum() == 0
    assert points.grad[:2].abs().sum() > 0


# -- scale and collapse -----------------------------------------------------


@pytest.mark.parametrize("statistic", sorted(STATISTICS.keys() - {"h1"}))
def test_scaling_the_cloud_changes_no_statistic_and_has_no_gradient(statistic):
    """The soft count's width is the cloud's own only in the regularizer, which is tested there."""
    u = cloud(space()).requires_grad_()
    value = value_of(statistic, measured(u, space()))
    for scale in (1e-5, 1e5):
        scaled = value_of(statistic, measured(scale * u.detach() + 3 * scale, space()))
        assert scaled.item() == pytest.approx(value.item())
    (gradient,) = torch.autograd.grad(value, u)
    assert (gradient * u).sum().abs() < 1e-9 * (gradient * u).abs().sum()


DEGENERATE = {
    "no point": draw(0, 3),
    "one": draw(1, 3),
    "two": draw(2, 3),
    "two equal": torch.ones(2, 3).double(),
    "all equal": torch.ones(9, 3).double(),
    "duplicates": draw(5, 3).repeat(2, 1),
    "all but equal": torch.ones(9, 3).double() + 1e-15 * draw(9, 3),
    "tiny": 1e-200 * draw(9, 3),
    "huge": 1e100 * draw(9, 3),
    "square": torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]).double(),
}


@pytest.mark.parametrize("manifold", ["euclidean", "poincare"])
@pytest.mark.parametrize("statistic", STATISTICS)
@pytest.mark.parametrize("kind", DEGENERATE)
def test_degenerate_clouds_give_a_finite_value_and_gradient(kind, statistic, manifold):
    manifold = space(manifold)
    u = DEGENERATE[kind].clone().requires_grad_()
    found = measured(manifold.tangent(u), manifold)
    value = value_of(statistic, found)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(u.grad).all()
