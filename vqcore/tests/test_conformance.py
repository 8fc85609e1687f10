"""Every registered component holds what its interface promises: the conformance kit, run over the registry."""

from itertools import product

import pytest

from vqcore.plugin.registry import default_registry
from vqcore.testing import (
    EstimatorConformance,
    ManifoldConformance,
    PluginConformance,
    QuantizerConformance,
    RegularizerConformance,
)

REGISTRY = default_registry()
MANIFOLDS, QUANTIZERS = REGISTRY.names("manifold"), REGISTRY.names("quantizer")
#: Options that change what a component computes; the defaults of every component are checked anyway.
SPACES = [
    *({"name": name} for name in MANIFOLDS),
    *(
        {"name": name, "curvature": 0.5, "learn_curvature": True}
        for name in ("sphere", "poincare", "lorentz")
    ),
    *({"name": name, "codes": "riemannian"} for name in ("poincare", "lorentz")),
    *({"name": name, "max_radius": 3.1} for name in ("poincare", "lorentz")),
]
CODEBOOKS = [
    {
        "name": "codebook",
        "init": "kmeans",
        "dead_codes": "least-recently-used",
        "dead_code_patience": 3,
    },
    {"name": "codebook", "init": "wrapped-normal", "affine_lr": 0.5, "synchronized": 0.5},
    {
        "name": "ema",
        "decay": 0.5,
        "init": "uniform",
        "dead_code_threshold": 0.5,
        "usage_decay": 0.5,
    },
    {"name": "grouped", "groups": 4, "shared": True, "inner": "ema"},
    {"name": "residual", "stages": 3, "shared": True, "inner": "ema"},
    # Codes that start on latents would leave a rest of rounding alone there, which translations do not give exactly 0.
    {
        "name": "residual",
        "stages": 3,
        "residuals": "manifold",
        "stage_dropout": 0.5,
        "inner": {"init": "normal"},
    },
    {"name": "residual", "stages": 2, "inner": {"name": "grouped", "inner": "ema"}},
]


def build(kind, choice, **injected):
    return REGISTRY.build(REGISTRY.resolve(kind, choice), **injected)


def told(choice):
    """A choice in a test's name."""
    return "-".join(map(told, choice.values())) if isinstance(choice, dict) else str(choice)


class Chosen:
    """A case whose component, and the space it is checked on, a test's parameter says."""

    @pytest.fixture(autouse=True)
    def _choose(self, choice, space):
        self.choice, self.space = choice, space

    def manifolds(self):
        return [build("manifold", self.space)]

    def quantizers(self):
        return QUANTIZERS


def over(choices, spaces=MANIFOLDS):
    pairs = list(product(choices, spaces))
    names = ["-".join(told(part) for part in pair if part is not None) for pair in pairs]
    return pytest.mark.parametrize(("choice", "space"), pairs, ids=names)


@over(SPACES, [None])
class TestManifolds(Chosen, ManifoldConformance):
    def make(self):
        return build("manifold", self.choice)


@over(QUANTIZERS)
class TestQuantizers(Chosen, QuantizerConformance):
    def make(self, **injected):
        return build("quantizer", self.choice, **injected)


@over(CODEBOOKS, ["euclidean", "poincare"])
class TestQuantizersWithOptions(Chosen, QuantizerConformance):
    def make(self, **injected):
        return build("quantizer", self.choice, **injected)


@over(REGISTRY.names("estimator"))
class TestEstimators(Chosen, EstimatorConformance):
    def make(self, manifold):
        return build("estimator", self.choice, manifold=manifold)


@over(REGISTRY.names("regularizer"))
class TestRegularizers(Chosen, RegularizerConformance):
    def make(self, **options):
        return build("regularizer", {"name": self.choice, **options})


@over(sorted({plugin.package for plugin in REGISTRY.plugins}), [None])
class TestPlugins(Chosen, PluginConformance):
    @property
    def package(self):
        return self.choice
