"""Every registered backbone keeps the contract: the conformance kit over all."""

import pytest

from vqcore.plugin.registry import default_registry
from vqcore.testing import BackboneConformance, OptimizerConformance

REGISTRY = default_registry()
IMAGES = [(1, 8, 8), (3, 16, 24)]
#: Each backbone with its options, and the samples that it is for beside images.
CHOICES = {
    "conv": ({"hidden": 8}, [*IMAGES, (1, 64), (2, 4, 8, 8)]),
    "resnet": ({"channels": 4, "multipliers": [1, 2], "blocks": 1}, [*IMAGES, (1, 64)]),
    "hierarchical": ({"hidden": 8, "residual_blocks": 1}, IMAGES),
    "vit": ({"width": 12, "depth": 1, "heads": 2}, IMAGES),
    "patches": ({}, IMAGES),
    "classifier": ({"inner": {"name": "conv", "hidden": 8}}, IMAGES),
    "mlp": ({"hidden": 16, "tokens": 3}, [(7,), *IMAGES]),
    "distance": ({}, [(6, 6)]),
}


def test_every_registered_backbone_is_here():
    assert set(CHOICES) == set(REGISTRY.names("backbone"))


@pytest.mark.parametrize("name", CHOICES, scope="class")
class TestBackbones(BackboneConformance):
    @pytest.fixture(autouse=True)
    def _choose(self, name):
        options, self.shapes = CHOICES[name]
        self.choice = REGISTRY.resolve("backbone", {"name": name, **options})
        self.emits = REGISTRY.target(self.choice).emits

    def make(self, **injected):
        return REGISTRY.build(self.choice, **injected)


OPTIMIZERS = {name: ["euclidean"] for name in REGISTRY.names("optimizer")}
POINTS = [{"name": name, "codes": "riemannian"} for name in ("poincare", "lorentz")]
OPTIMIZERS["riemannian-adam"] = ["euclidean", *POINTS]


@pytest.mark.parametrize("name", OPTIMIZERS, scope="class")
class TestOptimizers(OptimizerConformance):
    @pytest.fixture(autouse=True)
    def _choose(self, name):
        self.name = name

    def make(self, params):
        return REGISTRY.build(REGISTRY.resolve("optimizer", self.name), params=params)

    def manifolds(self):
        made = (REGISTRY.resolve("manifold", each) for each in OPTIMIZERS[self.name])
        return [REGISTRY.build(each) for each in made]
