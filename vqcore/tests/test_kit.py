"""For every rule of the kit there is a component that breaks it, and the kit finds it."""

import ast
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from vqcore.builtin.estimators.straight_through import StraightThrough
from vqcore.builtin.manifolds.euclidean import Euclidean
from vqcore.builtin.manifolds.sphere import Sphere
from vqcore.errors import SettingError
from vqcore.interfaces.estimator import GradientEstimator
from vqcore.interfaces.loss import TrainedLoss
from vqcore.interfaces.regularizer import Regularizer
from vqcore.numerics.stable import masked_mean, safe_sqrt
from vqcore.testing import (
    ConformanceError,
    EstimatorConformance,
    LossConformance,
    ManifoldConformance,
    RegularizerConformance,
    rules,
    violations,
)
from vqcore.testing.rules import rule
from vqcore.testing.samples import normal

ROOT = Path(__file__).parents[2]


def check(case, rule):
    """Run the check of one rule by hand."""
    getattr(case, f"test_{rule.replace('-', '_')}")()


def assert_broken(case, rule):
    with pytest.raises(ConformanceError) as caught:
        check(case, rule)
    assert caught.value.rule == rule
    assert rule in str(caught.value)
    assert rules(case)[rule] in str(caught.value)
    assert caught.value.detail
    return caught.value.detail


# -- manifolds --------------------------------------------------------------


class Stretched(Euclidean):
    """Euclidean space of a trained scale: a good manifold."""

    def __init__(self):
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(()))

    def squared_dist(self, x, y):
        return (2 * self.log_scale).exp() * Euclidean.squared_dist(self, x, y)

    def pairwise_squared_dist(self, x, y):
        return (2 * self.log_scale).exp() * Euclidean.pairwise_squared_dist(self, x, y)


def half_gradient(x):
    return x.detach() + 0.5 * (x - x.detach())


def second_nearest(self, x, codes):
    return self.pairwise_squared_dist(x, codes).topk(2, largest=False).indices[:, 1]


def last_of_equals(self, x, codes):
    return len(codes) - 1 - self.pairwise_squared_dist(x, codes).flip(1).argmin(1)


#: Rule -> (a good manifold, what is changed in it).
MANIFOLDS = {
    "points-are-valid": (Euclidean, {"point_dim": lambda self, dim: dim + 1}),
    "log-inverts-exp": (Euclidean, {"logmap0": lambda self, x: 1.01 * x}),
    "zero-is-the-origin": (Euclidean, {"tangent": lambda self, z: z + 0.1}),
    "dtype-is-kept": (Euclidean, {"expmap0": lambda self, u: u.float()}),
    "leading-axes-broadcast": (
        Euclidean,
        {"squared_dist": lambda self, x, y: (x - y).square().sum(1)},
    ),
    "input-is-untouched": (Euclidean, {"project": lambda self, x: x.mul_(1)}),
    "distance-is-symmetric": (
        Euclidean,
        {"dist": lambda self, x, y: Euclidean.dist(self, x, y) * (1 + x[..., 0].square())},
    ),
    "distance-is-zero-to-itself": (
        Euclidean,
        {"dist": lambda self, x, y: Euclidean.dist(self, x, y) + 1e-3},
    ),
    "triangle-inequality": (Euclidean, {"dist": Euclidean.squared_dist}),
    "squared-is-the-square": (
        Euclidean,
        {
            "squared_dist": lambda self, x, y: 1.1 * (x - y).square().sum(-1),
            "dist": lambda self, x, y: (x - y).norm(),
        },
    ),
    "radius-follows-the-tangent-norm": (
        Euclidean,
        {"squared_dist": lambda self, x, y: ((x - y) * torch.arange(1, 6)).square().sum(-1)},
    ),
    "rotations-keep-distances": (
        Euclidean,
        {"squared_dist": lambda self, x, y: ((x - y) * torch.arange(1, 6)).square().sum(-1)},
    ),
    "finite-at-the-edges": (Euclidean, {"dist": lambda self, x, y: self.squared_dist(x, y).sqrt()}),
    "gradient-of-squared-distance": (
        Euclidean,
        {"squared_dist": lambda self, x, y: half_gradient((x - y).square().sum(-1))},
    ),
    "gradient-of-distance": (
        Euclidean,
        {"dist": lambda self, x, y: half_gradient(safe_sqrt(self.squared_dist(x, y)))},
    ),
    "gradient-of-maps": (Euclidean, {"expmap0": lambda self, u: half_gradient(u)}),
    "squared-distances-apart": (
        Euclidean,
        {"squared_dist_apart": lambda self, x, y: torch.stack([self.squared_dist(x, y)] * 2)},
    ),
    "gradient-of-parameters": (
        Stretched,
        {
            "squared_dist": lambda self, x, y: (
                self.log_scale.detach().exp().square() * (x - y).square().sum(-1)
            )
        },
    ),
    "nearest-is-the-nearest": (Euclidean, {"nearest": second_nearest}),
    "nearest-at-an-offset": (
        Euclidean,
        {
            "search_query": lambda self, x, centre: x,
            "search_keys": lambda self, codes, centre: (-2 * codes, codes.square().sum(-1)),
        },
    ),
    "no-point-has-no-nearest": (
        Euclidean,
        {"nearest": lambda self, x, c: torch.cdist(x, c).argmin(1, keepdim=x.shape[0] == 0)},
    ),
    "nearest-takes-the-first-of-equals": (Euclidean, {"nearest": last_of_equals}),
    "nearest-has-no-gradient": (
        Euclidean,
        {
            "nearest": lambda self, x, c: torch.from_numpy(
                (x.numpy()[:, None] - c.numpy()).sum(-1).argmin(1)
            )
        },
    ),
    "nearest-ignores-autocast": (
        Euclidean,
        {"nearest": lambda self, x, c: (c.square().sum(-1) - 2 * (x @ c.T).float()).argmin(1)},
    ),
    "distances-from-codes": (
        Euclidean,
        {"squared_dist_from": lambda self, codes: lambda x: self.pairwise_dist(x, codes)},
    ),
    "pairwise-order-rises-with-distances": (
        Euclidean,
        {"pairwise_order": lambda self, x: 1 / (1 + self.pairwise_squared_dist(x, x))},
    ),
    "projection-gives-points": (Sphere, {"project": lambda self, x: x}),
    "projection-keeps-points": (Euclidean, {"project": lambda self, x: 0.99 * x}),
    "bad-points-are-explained": (Euclidean, {"check_points": lambda self, x: None}),
    "random-points": (
        Euclidean,
        {"random": lambda self, n, dim, *, std=1.0, generator=None: std * torch.randn(n, dim)},
    ),
    "centroid-is-a-point": (Sphere, {"from_ambient": lambda self, m: m}),
    "centroid-minimises-the-spread": (Euclidean, {"from_ambient": lambda self, m: m + 1}),
    "one-point-is-its-own-centroid": (Euclidean, {"from_ambient": lambda self, m: 1.1 * m}),
    "translation-moves-the-origin": (Euclidean, {"translate": lambda self, x, y: 2 * x + y}),
    "translation-keeps-distances": (Euclidean, {"translate": lambda self, x, y: x + 2 * y}),
    "translation-is-inverted-by-the-opposite": (Euclidean, {"negate": lambda self, x: -0.5 * x}),
    "volume-matches-translations": (Euclidean, {"log_volume": lambda self, u: u.square().sum(-1)}),
    "negation-is-the-opposite": (Euclidean, {"negate": lambda self, x: x}),
    "codes-are-read-back": (
        Euclidean,
        {"codes": lambda self, parameter: (parameter, 2 * parameter)},
    ),
    "disk-keeps-directions": (Euclidean, {"disk": lambda self, u: u}),
    "state-is-complete": (
        Stretched,
        {"_save_to_state_dict": lambda self, destination, prefix, keep_vars: None},
    ),
    "copies-are-independent": (Stretched, {"__deepcopy__": lambda self, memo: self}),
    "nothing-waits": (Euclidean, {"project": lambda self, x: x / 2 if x.isnan().any() else x}),
    "any-batch-can-be-exported": (
        Euclidean,
        {
            "nearest": lambda self, x, codes: torch.cat(
                [Euclidean.nearest(self, part, codes) for part in x.split(4)]
            )
        },
    ),
    "compiling-changes-nothing": (
        Euclidean,
        {"logmap0": lambda self, x: 2 * x if torch.compiler.is_compiling() else x},
    ),
}


def manifold_case(cls):
    class Case(ManifoldConformance):
        def make(self):
            return cls()

    return Case()


@pytest.mark.parametrize("rule", MANIFOLDS)
def test_a_broken_manifold_violates_its_rule(rule):
    good, changes = MANIFOLDS[rule]
    check(manifold_case(good), rule)
    assert_broken(manifold_case(type("Broken", (good,), changes)), rule)


def test_distances_that_a_manifold_keeps_violate_their_rule():
    class Keeping(Euclidean):
        def squared_dist_from(self, codes):
            found = []

            def distances(x):
                found.append(self.pairwise_squared_dist(x, codes))
                return found[0]

            return distances

    assert_broken(manifold_case(Keeping), "distances-from-codes")


@pytest.mark.parametrize("rule", ["radius-follows-the-tangent-norm", "rotations-keep-distances"])
def test_a_manifold_states_facts_and_a_test_class_may_say_otherwise(rule):
    good, changes = MANIFOLDS[rule]
    case = manifold_case(type("Directed", (good,), {**changes, "isotropic": False}))
    check(case, rule)
    case.isotropic = True
    assert "set `isotropic = False` on the class Directed if" in assert_broken(case, rule)


def test_a_manifold_is_checked_in_a_dimension_that_it_takes():
    class Blocks(Euclidean):
        def check_dim(self, dim):
            if dim % 3:
                raise SettingError("size", 3, f"a divisor of D = {dim}")

        def expmap0(self, u):
            return u.unflatten(-1, (-1, 3)).flatten(-2)

    case = manifold_case(Blocks)
    assert (manifold_case(Euclidean).dim, case.dim) == (5, 6)
    check(case, "log-inverts-exp")
    check(case, "one-point-is-its-own-centroid")


def test_good_manifolds_break_nothing():
    assert violations(manifold_case(Stretched)) == []


# -- estimators -------------------------------------------------------------


class Counting(GradientEstimator):
    """Depends on a count that is no state."""

    exact = False

    def forward(self, z, z_q):
        if not self.training:
            return z_q.detach() + (z - z.detach())
        self.count = getattr(self, "count", 0) + 1
        return z + (z_q - z) / self.count


def more_each_time(self, z, z_q):
    """Counts its calls, so that a recomputed forward is another one."""
    self.calls = getattr(self, "calls", 0) + 1
    return z_q.detach() + self.calls * (z - z.detach())


def rescaled(z, z_q):
    moved = z * (z_q.norm(dim=-1, keepdim=True) / z.norm(dim=-1, keepdim=True)).detach()
    return z_q.detach() + moved - moved.detach()


#: Rule -> what is changed in the straight-through estimator.
ESTIMATORS = {
    "value-is-the-code": {"forward": lambda self, z, z_q: z + (z_q - z).detach()},
    "eval-value-is-the-code": {
        "forward": lambda self, z, z_q: z_q + 0.1 * (z - z_q),
        "exact": False,
    },
    "dtype-is-kept": {
        "forward": lambda self, z, z_q: StraightThrough.forward(self, z, z_q).float()
    },
    "finite-at-the-edges": {"forward": lambda self, z, z_q: rescaled(z, z_q)},
    "gradient-reaches-the-latent": {"forward": lambda self, z, z_q: z_q.detach()},
    "codes-get-no-gradient": {"forward": lambda self, z, z_q: z_q + (z - z.detach())},
    "masked-tokens-stay-zero": {
        "forward": lambda self, z, z_q: z + torch.randn_like(z),
        "exact": False,
    },
    "input-is-untouched": {
        "forward": lambda self, z, z_q: StraightThrough.forward(self, z, z_q.mul_(1))
    },
    "state-is-complete": {"forward": Counting.forward, "exact": False},
    "activation-checkpointing": {"forward": more_each_time},
    "no-step-waits": {
        "forward": lambda self, z, z_q: StraightThrough.forward(
            self, z, z_q * (z[0, 0].item() > -9)
        )
    },
    "works-in-the-layer": {
        "estimate": lambda self, z, result, quantizer: self(z, result.z_q) + 1e-6
    },
}


def estimator_case(cls):
    class Case(EstimatorConformance):
        def make(self, manifold):
            return cls(manifold=manifold)

    return Case()


@pytest.mark.parametrize("rule", ESTIMATORS)
def test_a_broken_estimator_violates_its_rule(rule):
    check(estimator_case(StraightThrough), rule)
    assert_broken(estimator_case(type("Broken", (StraightThrough,), ESTIMATORS[rule])), rule)


# -- regularizers -----------------------------------------------------------


class ShortCodes(Regularizer):
    """Mean squared length of the chosen codes: a good regularizer."""

    def forward(self, batch):
        return masked_mean(batch.z_q.square().mean(-1).flatten(), batch.indices.flatten() >= 0)


def short(batch, kept):
    squares = batch.z.square().mean(-1)
    return squares.mean() if kept is None else masked_mean(squares, kept)


def write_to_latents(self, batch):
    batch.z.detach().mul_(1)
    return ShortCodes.forward(self, batch)


def count_calls(self, batch):
    self.calls = getattr(self, "calls", 0) + 1
    return self.calls * ShortCodes.forward(self, batch)


def remember(self, batch):
    """Depends on the first step seen, which no state holds."""
    self.first = getattr(self, "first", batch.step)
    return (1 + self.first) * ShortCodes.forward(self, batch)


#: Rule -> what is changed in ShortCodes.
REGULARIZERS = {
    "term-is-a-scalar": {"forward": lambda self, batch: batch.z_q.square().mean(-1)},
    "gradient-is-finite": {"forward": lambda self, batch: ShortCodes.forward(self, batch).detach()},
    "collapse-is-finite": {"forward": lambda self, batch: 1 / torch.pdist(batch.codebook).mean()},
    "no-token-is-finite": {"forward": lambda self, batch: batch.z_q.square().mean()},
    "implicit-codebook-works": {"forward": lambda self, batch: batch.codebook.square().mean()},
    "mask-is-trimming": {"forward": lambda self, batch: short(batch, None)},
    "minus-one-is-ignored": {"forward": lambda self, batch: short(batch, batch.mask)},
    "masked-samples-have-no-effect": {"forward": lambda self, batch: batch.z_q.square().mean()},
    "schedule-is-kept": {"acts_on": lambda self, step: True},
    "acts-in-training-alone": {"acts_on": lambda self, step: True},
    "input-is-untouched": {"forward": write_to_latents},
    "repeated-calls-agree": {"forward": count_calls},
    "state-is-complete": {"forward": remember},
    "degenerate-batches-in-the-layer": {
        "forward": lambda self, batch: (batch.z - batch.z_q).norm(dim=-1).sum() ** -1
    },
    "no-step-waits": {
        "forward": lambda self, batch: batch.z_q.new_tensor(2.0) * ShortCodes.forward(self, batch)
    },
    "works-in-the-layer": {"__name__": "Commitment"},
}


def regularizer_case(cls):
    class Case(RegularizerConformance):
        def make(self, **options):
            return cls(**options)

    return Case()


@pytest.mark.parametrize("rule", REGULARIZERS)
def test_a_broken_regularizer_violates_its_rule(rule):
    check(regularizer_case(ShortCodes), rule)
    changes = dict(REGULARIZERS[rule])
    broken = type(changes.pop("__name__", "Broken"), (ShortCodes,), changes)
    found = assert_broken(regularizer_case(broken), rule)
    assert ("set `computes_on_host = True`" in found) == (rule == "no-step-waits")


def test_a_good_regularizer_breaks_nothing():
    assert violations(regularizer_case(ShortCodes)) == []


# -- losses -----------------------------------------------------------------


class Critic(TrainedLoss):
    """Tells samples from reconstructions by one linear map: a good loss."""

    recordable = True

    def __init__(self, *, samples, **options):
        super().__init__(samples=samples, **options)
        self.network = nn.Linear(math.prod(samples.shape), 1)
        self.optimizer = torch.optim.SGD(self.network.parameters())

    def forward(self, batch):
        return -self.network(batch.reconstruction.flatten(1)).mean()

    def opponent(self, batch):
        real, fake = (self.network(x.flatten(1)) for x in (batch.inputs, batch.reconstruction))
        return fake.mean() - real.mean()


def write_to_reconstructions(self, batch):
    batch.reconstruction.detach().mul_(1)
    return Critic.forward(self, batch)


def count_terms(self, batch):
    self.calls = getattr(self, "calls", 0) + 1
    return self.calls * Critic.forward(self, batch)


#: Rule -> what is changed in Critic.
LOSSES = {
    "term-is-a-scalar": {"forward": lambda self, batch: batch.reconstruction.mean(0)},
    "gradient-reaches-the-decoder": {
        "forward": lambda self, batch: Critic.forward(self, batch.detach())
    },
    "edges-are-finite": {
        "forward": lambda self, batch: (batch.inputs - batch.reconstruction).square().mean().sqrt()
    },
    "terms-are-means-over-samples": {"forward": lambda self, batch: batch.reconstruction.sum()},
    "schedule-is-kept": {"acts_on": lambda self, step: True},
    "input-is-untouched": {"forward": write_to_reconstructions},
    "state-is-complete": {"forward": count_terms},
    "turns-are-separate": {"opponent": lambda self, batch: self.network.bias.sum()},
    "no-step-waits": {
        "forward": lambda self, batch: Critic.forward(self, batch) * float(batch.inputs.mean())
    },
}


def loss_case(cls):
    class Case(LossConformance):
        def make(self, **options):
            torch.manual_seed(0)
            return cls(samples=self.samples, **options)

    return Case()


@pytest.mark.parametrize("rule", LOSSES)
def test_a_broken_loss_violates_its_rule(rule):
    check(loss_case(Critic), rule)
    assert_broken(loss_case(type("Broken", (Critic,), LOSSES[rule])), rule)


def test_a_good_loss_breaks_nothing():
    assert violations(loss_case(Critic)) == []


# -- the kit itself ---------------------------------------------------------


@pytest.mark.parametrize(
    ("cls", "shown"),
    [
        (ManifoldConformance, MANIFOLDS),
        (EstimatorConformance, ESTIMATORS),
        (RegularizerConformance, REGULARIZERS),
        (LossConformance, LOSSES),
    ],
)
def test_every_rule_has_a_violation_and_a_sentence(cls, shown):
    assert set(shown) == set(rules(cls))
    assert all(sentence.endswith(".") and " " in sentence for sentence in rules(cls).values())


def test_violations_are_collected_from_all_checks():
    found = violations(
        estimator_case(type("Broken", (StraightThrough,), ESTIMATORS["finite-at-the-edges"]))
    )
    assert "finite-at-the-edges" in {error.rule for error in found}
    assert all(isinstance(error, AssertionError) for error in found)


def test_a_rule_is_called_what_its_class_calls_it():
    class First:
        @rule
        def test_first(self):
            """It fails."""
            raise AssertionError("found")

    class Second(First):
        test_first = None
        test_second = First.test_first

    assert rules(Second) == {"second": "It fails."}
    assert [error.rule for error in violations(Second())] == ["second"]
    assert violations(Second(), skip=["second"]) == []


def test_a_crash_is_a_violation_too():
    def crash(self, z, z_q):
        raise RuntimeError("no such thing")

    with pytest.raises(ConformanceError, match="on Euclidean: RuntimeError: no such thing"):
        check(
            estimator_case(type("Broken", (StraightThrough,), {"forward": crash})),
            "value-is-the-code",
        )


def test_the_kit_needs_no_test_runner():
    for path in (ROOT / "vqcore" / "src" / "vqcore" / "testing").rglob("*.py"):
        imported = {
            alias.name if isinstance(node, ast.Import) else node.module
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        }
        assert not any(name.startswith("pytest") for name in imported), path


def test_samples_are_the_same_in_every_dtype():
    assert torch.equal(normal(5, 3), normal(5, 3, dtype=torch.float64).float())
