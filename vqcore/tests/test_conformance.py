"""Every registered component keeps its interface's contract: the conformance kit over all."""

from itertools import product

import pytest

from vqcore.interfaces.dataset import SampleSpec
from vqcore.plugin.registry import default_registry
from vqcore.testing import (
    EstimatorConformance,
    LossConformance,
    ManifoldConformance,
    PluginConformance,
    QuantizerConformance,
    RegularizerConformance,
)

REGISTRY = default_registry()
MANIFOLDS, QUANTIZERS = REGISTRY.names("manifold"), REGISTRY.names("quantizer")
#: Options that change what a component computes; defaults are checked for every component.
SPACES = [
    *({"name": name} for name in MANIFOLDS),
    *(
        {"name": name, "curvature": 0.5, "learn_curvature": True}
        for name in ("sphere", "poincare", "lorentz")
    ),
    *({"name": name, "codes": "riemannian"} for name in ("poincare", "lorentz")),
    *({"name": name, "max_radius": 3.1} for name in ("poincare", "lorentz")),
]
PRODUCTS = [
    {"name": "product", "factors": "euclidean,euclidean"},
    {"name": "product", "factors": "poincare,lorentz,sphere,euclidean"},
    {
        "name": "product",
        "factors": [{"name": "poincare", "curvature": 0.5, "learn_curvature": True}, "lorentz"],
        "dims": [3, 2],
    },
]
CODEBOOKS = [
    {
        "name": "codebook",
        "init": "kmeans",
        "dead_codes": "least-recently-used",
        "dead_code_patience": 3,
        "drift": 1.0,
    },
    {"name": "codebook", "init": "wrapped-normal", "affine_lr": 0.5, "synchronized": 0.5},
    {
        "name": "ema",
        "decay": 0.5,
        "drift": 0.5,
        "init": "uniform",
        "dead_code_threshold": 0.5,
        "usage_decay": 0.5,
    },
    {"name": "grouped", "groups": 4, "shared": True, "inner": "ema"},
    {"name": "residual", "stages": 3, "shared": True, "inner": "ema"},
    # Codes that start on latents would leave residuals of rounding alone, which are not exactly 0
    # after translations.
    {
        "name": "residual",
        "stages": 3,
        "residuals": "manifold",
        "stage_dropout": 0.5,
        "inner": {"init": "normal"},
    },
    {"name": "residual", "stages": 2, "inner": {"name": "grouped", "inner": "ema"}},
]

#: Rules that are checked on the first space alone.
TRACED = ("test_any_batch_can_be_exported", "test_compiling_changes_nothing")


def build(kind, choice, **injected):
    return REGISTRY.build(REGISTRY.resolve(kind, choice), **injected)


def describe_choice(choice):
    """A choice in a test's name."""
    parts = choice.values() if isinstance(choice, dict) else choice
    return "-".join(map(describe_choice, parts)) if isinstance(choice, dict | list) else str(choice)


class Chosen:
    """A case whose component, and the space it is checked on, are parameters of the test."""

    spaces = MANIFOLDS

    @pytest.fixture(autouse=True)
    def _choose(self, choice, space):
        self.choice, self.space = choice, space

    def manifolds(self):
        return [build("manifold", self.space)]

    def quantizers(self):
        return QUANTIZERS


def pairs(choices, spaces, full):
    """Each choice on the first space and on one of the others in turn; with ``--full`` on all."""
    if full or len(spaces) < 3:
        return list(product(choices, spaces))
    first, *others = spaces
    turns = [(first, others[place % len(others)]) for place in range(len(choices))]
    return [(choice, space) for choice, met in zip(choices, turns, strict=True) for space in met]


def pytest_generate_tests(metafunc):
    owner = metafunc.cls
    if "choice" in metafunc.fixturenames:
        full = metafunc.config.getoption("--full")
        # tracing takes long, and what it meets depends on the space in the space's own methods
        once = not full and metafunc.definition.originalname in TRACED
        chosen = pairs(owner.choices, owner.spaces[:1] if once else owner.spaces, full)
        names = ["-".join(describe_choice(part) for part in pair if part) for pair in chosen]
        metafunc.parametrize(("choice", "space"), chosen, ids=names)


def test_full_runs_each_choice_on_every_space_and_the_default_on_two():
    choices = ["a", "b", "c", "d"]
    assert len(pairs(choices, MANIFOLDS, full=True)) == len(choices) * len(MANIFOLDS)
    chosen = pairs(choices, MANIFOLDS, full=False)
    assert {space for _, space in chosen} == set(MANIFOLDS)
    assert [choice for choice, _ in chosen] == [each for each in choices for _ in range(2)]


class TestManifolds(ManifoldConformance, Chosen):
    choices, spaces = SPACES, [None]

    def make(self):
        return build("manifold", self.choice)


class TestProducts(ManifoldConformance, Chosen):
    choices, spaces = PRODUCTS, [None]
    test_compiling_changes_nothing = test_any_batch_can_be_exported = None  # as the default one's

    def make(self):
        return build("manifold", self.choice)


class TestQuantizers(Chosen, QuantizerConformance):
    choices = QUANTIZERS

    def make(self, **injected):
        return build("quantizer", self.choice, **injected)


class TestQuantizersWithOptions(Chosen, QuantizerConformance):
    choices, spaces = CODEBOOKS, ["euclidean", "poincare"]
    test_compiling_changes_nothing = None  # which test_compile.py does, for more steps

    def make(self, **injected):
        return build("quantizer", self.choice, **injected)


class TestEstimators(Chosen, EstimatorConformance):
    choices = (
        *REGISTRY.names("estimator"),
        {"name": "rotation", "radial": False, "rescale": False},
    )

    def make(self, manifold):
        return build("estimator", self.choice, manifold=manifold)


class TestRegularizers(Chosen, RegularizerConformance):
    choices = REGISTRY.names("regularizer")

    def make(self, **options):
        return build("regularizer", {"name": self.choice, **options})


class TestLosses(Chosen, LossConformance):
    choices, spaces = REGISTRY.names("loss"), [None]
    shapes = {"spectral": (2, 80), "perceptual": (3, 32, 32), "links": (12, 12)}
    required = {"perceptual": {"weights": "random", "network": "squeeze"}}

    @property
    def samples(self):
        return SampleSpec(self.shapes.get(self.choice, (3, 16, 16)), (0.0, 1.0))

    def make(self, **options):
        choice = {"name": self.choice, **self.required.get(self.choice, {}), **options}
        return build("loss", choice, samples=self.samples)


class TestPlugins(Chosen, PluginConformance):
    choices, spaces = sorted({plugin.package for plugin in REGISTRY.plugins}), [None]

    @property
    def package(self):
        return self.choice
