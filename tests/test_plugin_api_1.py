"""A plugin that was written against VQ_API = 1, and is never edited, does all that it did."""

import hashlib
import importlib
import json
import sys
from pathlib import Path

import pytest
import torch

from vq.testing import HooksConformance
from vqcore import default_registry
from vqcore.plugin import hooks
from vqcore.testing import (
    BackboneConformance,
    DatasetConformance,
    EstimatorConformance,
    LossConformance,
    ManifoldConformance,
    OptimizerConformance,
    PluginConformance,
    QuantizerConformance,
    RegularizerConformance,
)

FOLDER = Path(__file__).parent / "fixtures" / "plugin-api-1"
#: Of the names and contents of its files: nobody has a reason to change them.
DIGEST = "a1f0754bdb78bbe729ec6219e45933ef54c93e40fc9bac0954e1ce04cf145dd7"
#: The hooks that there were when the plugin was written; it has them all.
HOOKS = {
    "vq_manifolds", "vq_quantizers", "vq_estimators", "vq_regularizers", "vq_losses",
    "vq_optimizers", "vq_datasets", "vq_backbones", "vq_presets", "vq_settings", "vq_check_config",
    "vq_run_start", "vq_metrics", "vq_step_end", "vq_log", "vq_run_end", "vq_report", "vq_commands",
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _installed():
    """The plugin as an installed package, for this module alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        default_registry.cache_clear()
        yield
    default_registry.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "steady"]:
        del sys.modules[name]


def component(name):
    """A class of the plugin."""
    return getattr(importlib.import_module("steady.components"), name)


# -- what it is ----------------------------------------------------------------------


def test_it_is_as_it_was_written():
    found = hashlib.sha256()
    for path in sorted(FOLDER.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            found.update(path.relative_to(FOLDER).as_posix().encode() + b"\0" + path.read_bytes())
    assert found.hexdigest() == DIGEST, f"{FOLDER} is never edited: see its README.md"


def test_it_has_every_hook_and_loads_without_a_note():
    assert {name for name in vars(hooks) if name.startswith("vq_")} >= HOOKS
    registry = default_registry()
    (record,) = [each for each in registry.plugins if each.plugin == "steady"]
    assert (record.status, record.error, record.notes) == ("ok", None, [])
    module = registry.manager.get_plugin("steady-plugin:steady")
    assert {caller.name for caller in registry.manager.get_hookcallers(module)} == HOOKS


# -- the conformance kit ---------------------------------------------------------------


class TestPlugin(PluginConformance):
    package = "steady-plugin"


class TestStretched(ManifoldConformance):
    isotropic = False

    def make(self):
        return component("Stretched")()


class TestAveraged(QuantizerConformance):
    def make(self, **sizes):
        return component("Averaged")(**sizes)


class TestWrapping(QuantizerConformance):
    test_any_batch_can_be_exported = test_compiling_changes_nothing = None  # as the inner one

    def make(self, **sizes):
        return component("Wrapping")(inner=component("Averaged"), **sizes)


class TestDamped(EstimatorConformance):
    def make(self, manifold):
        return component("Damped")(manifold=manifold)


class TestLatentSize(RegularizerConformance):
    def make(self, **options):
        return component("LatentSize")(**options)


class TestLogCosh(LossConformance):
    def make(self, **options):
        return component("LogCosh")(samples=self.samples, **options)


class TestMomentum(OptimizerConformance):
    def make(self, params):
        return component("momentum")(params, lr=0.01, momentum=0.9, weight_decay=0.0)


class TestWaves(DatasetConformance):
    def make(self, **options):
        return component("Waves")(samples=64, **options)


class TestLinear(BackboneConformance):
    def make(self, **sizes):
        return component("Linear")(**sizes)


class TestHooks(HooksConformance):
    plugin = "steady.plugin"


# -- a run, its report and the command ----------------------------------------------------


def test_its_preset_trains_and_is_resumed_and_its_command_reads_the_run(
    vq, without_plots, tmp_path
):
    copy = ("--plugins.steady.copy_to", "ended.txt", "--quantizer", "wrapping")
    inner = ("--set", "quantizer.inner=averaged", "--backbone.size", "small")
    run = tmp_path / "run"
    done = vq("train", "--preset", "steady", *copy, *inner, "--steps", 4, "--run-dir", run)
    assert done.code == 0, done.err
    assert "steady follows the run" in (run / "log.txt").read_text()
    done = vq("train", "--resume", run, "--steps", 6)
    assert done.code == 0, done.err
    own = run / "plugins" / "steady"
    terms = "commitment log-cosh reconstruction size"
    assert [line.partition(" ")[0] for line in (own / "steps.txt").open()] == ["2", "4", "6"]
    assert set((own / "steps.txt").read_text().split()) <= {"2", "4", "6", *terms.split()}
    facts = json.loads((own / "facts.json").read_text())
    assert facts["title"] == "waves-stretched-wrapping-damped-size-log-cosh"
    assert (facts["train"], facts["test"], facts["shape"]) == (256, 64, [16])
    ended = {"status": "done", "step": 6}
    assert json.loads((tmp_path / "ended.txt").read_text()) == ended
    assert json.loads(vq("steady", run).out) == ended
    refused = vq("train", "--preset", "steady", "--weight-ema", "0.123", "--dry-run")
    assert (refused.code, "weight_ema = 0.123: expected another decay" in refused.err) == (2, True)


def test_its_layer_works_without_a_run():
    from vqcore import VectorQuantizer

    layer = VectorQuantizer(
        dim=4, codebook_size=8, manifold="stretched", quantizer="steady-plugin/averaged",
        estimator={"name": "damped", "share": 0.25}, regularizers=["size"],
    )  # fmt: skip
    z = torch.randn(32, 4, requires_grad=True)
    out = layer(z)
    out.quantized.sum().backward()
    assert out.quantized.shape == z.shape
    assert torch.allclose(z.grad, torch.full_like(z, 0.25))
