"""What ``--dry-run`` accepts neither fails nor hangs for its mere size."""

import pkgutil

import pytest

from vq.config.resolved_config import resolve_config
from vq.config.run_config import RunConfig
from vq_prior.prior_config import PriorConfig
from vqcore.errors import VQError
from vqcore.plugin.component import KINDS
from vqcore.plugin.registry import default_registry
from vqcore.testing.declarations import unbounded

REGISTRY = default_registry()
MODELS = {
    f"{kind} {plugin.package}/{spec.name}": pkgutil.resolve_name(spec.config)
    for plugin in REGISTRY.plugins
    for kind in KINDS
    for spec in plugin.provides.get(kind, ())
    if spec.config
} | {"run": RunConfig, "prior": PriorConfig}
TOO_LARGE = [
    ("accumulate", 10**12),
    ("dataset", {"name": "trees", "samples": 2**63}),
    ("optimizer", {"weight_decay": 1e308}),
    ("backbone", {"downsamplings": 10**9}),
    ("backbone", {"name": "hierarchical", "levels": 10**12}),
    ("backbone", {"name": "vit", "width": 2**16, "depth": 1024}),
    ("backbone", {"residual_blocks": 10**30}),
    ("backbone", {"hidden": 2**63}),
    ("quantizer", {"name": "grouped", "groups": 10**12}),
    ("codebook_size", 2**63),
    ("dim", float("inf")),
    ("kl_weight", float("nan")),
]
#: Each number is within its bounds, and their product beyond every machine.
TOO_LARGE_TOGETHER = [
    ("backbone", {"hidden": 2**16, "residual_blocks": 1000}),
    ("backbone", {"name": "mlp", "hidden": 2**16, "layers": 1000}),
    ("backbone", {"name": "resnet", "channels": 2**16, "blocks": 1000}),
    ("dataset", {"name": "trees", "depth": 12, "samples": 10**9}),
    ("dataset", {"name": "hierarchy", "depth": 5, "cell": 32, "samples": 10**9}),
    ("codebook_size", 2**40),
    ("accumulate", 65),
]


@pytest.mark.parametrize("name", MODELS)
def test_every_number_of_a_config_is_bounded_and_finite(name):
    assert unbounded(MODELS[name]) == []


@pytest.mark.parametrize(("setting", "value"), TOO_LARGE + TOO_LARGE_TOGETHER)
def test_what_no_machine_can_hold_is_refused_by_name(setting, value):
    with pytest.raises(VQError, match=rf"^{setting}\b"):
        resolve_config({setting: value}, REGISTRY)


def test_a_large_codebook_without_a_table_is_accepted():
    values = {"quantizer": "lfq", "codebook_size": 2**40, "dim": 64}
    assert resolve_config(values, REGISTRY).settings.codebook_size == 2**40
