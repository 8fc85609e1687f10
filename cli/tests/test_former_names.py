"""Former names at the command: one warning each, no traceback, and nothing for recorded runs."""

from contextlib import nullcontext

import pytest
import torch
import yaml

from vq.composition import base_values, compose, given_values
from vq.config.run_config import RunConfig
from vq.data.hierarchy import Hierarchy
from vq.data.trees import Trees
from vq.runs.trust import sign
from vqcore.errors import VQError
from vqcore.plugin import hooks
from vqcore.plugin.deprecation import FormerName, VQDeprecationWarning, VQFutureWarning
from vqcore.plugin.registry import Registry

PLUGIN = """
from typing import Annotated
from vqcore import RegularizerConfig
from vqcore.plugin.bounds import Scale
from vqcore.plugin.deprecation import FormerName, deprecated

class SizeConfig(RegularizerConfig):
    scale: Annotated[Scale, FormerName("factor", gone_in="0.4")] = 1.0

class Size(Regularizer):
    def __init__(self, *, scale=1.0, **options):
        super().__init__(**options)
        self.scale = scale

    def forward(self, batch):
        return self.scale * batch.z.square().mean()

@deprecated("something else", gone_in="0.4")
def of_before():
    pass

@hookimpl
def vq_regularizers():
    of_before()
    former = (FormerName("length", gone_in="0.3"),)
    return [ComponentSpec(
        name="size", target="sizes:Size", config="sizes:SizeConfig", summary="size of latents",
        former_names=former,
    )]
"""


def test_former_names_are_told_once_and_recorded_under_the_new_ones(train, resume, plugin_file):
    words = ("--plugin-file", plugin_file("sizes", PLUGIN))
    run = train(*words, "--regularizer", "length", "--set", "regularizers.length.factor=2")
    told = [line for line in (run.result.out + run.result.err).splitlines() if "is called" in line]
    assert len(told) == 2, told
    assert "warning: regularizer 'length' is called regularizer 'size' now; the former" in told[0]
    assert "warning: regularizers.length.factor is called regularizers.length.scale" in told[1]
    config = run.path / "config.yaml"
    assert "sizes.py/size:" in config.read_text()
    assert "scale: 2.0" in config.read_text()
    again = resume(run, "--max-steps", 10)
    assert "is called" not in again.result.out + again.result.err


FORMER, TODAY = {"length": {"factor": 2}}, {"size": {"scale": 3}}


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (FORMER, TODAY, 3.0),
        (TODAY, FORMER, 2.0),
        ({"size": {"factor": 2}}, TODAY, 3.0),
        ({"sizes.py/length": {"factor": 2}}, TODAY, 3.0),
        ("length", TODAY, 3.0),
        (FORMER, ["size"], 2.0),
    ],
)
@pytest.mark.filterwarnings("ignore:.*is called")
def test_a_later_source_overrides_whatever_names_each_has(plugin_file, first, second, expected):
    registry = Registry(files=[plugin_file("sizes", PLUGIN)])
    base = base_values(config={"regularizers": first})
    config, _ = compose({"regularizers": second}, base=base, registry=registry)
    (size,) = config.regularizers.values()
    assert size.options.scale == expected


def test_one_source_has_one_name(plugin_file):
    registry = Registry(files=[plugin_file("sizes", PLUGIN)])
    for both in ({"size": {"factor": 2, "scale": 3}}, {**FORMER, **TODAY}):
        with (
            pytest.warns(FutureWarning, match="is called") if "length" in both else nullcontext(),
            pytest.raises(VQError, match=r"a former name of scale, which|two of these names mean"),
        ):
            compose({"regularizers": both}, registry=registry)


def test_a_recorded_former_name_is_overridden(train, resume, plugin_file):
    run = train("--plugin-file", plugin_file("sizes", PLUGIN), "--regularizer", "size")
    config = yaml.safe_load((run.path / "config.yaml").read_text())
    recorded = config["regularizers"].pop("sizes.py/size")
    recorded["factor"] = recorded.pop("scale")
    config["regularizers"]["sizes.py/length"] = recorded
    sign(run.path, config)
    (run.path / "config.yaml").write_text(yaml.safe_dump(config))
    plugins = run.path / "plugins.json"
    plugins.write_text(plugins.read_text().replace('"size"', '"length"'))
    same = ("--set", "regularizers.size.scale=1")
    again = resume(run, "--max-steps", 10, *same)
    assert "is called" not in again.result.err
    assert "sizes.py/size:" in (run.path / "config.yaml").read_text()


@pytest.fixture
def former(monkeypatch):
    """A function that gives an option of a model a former name."""

    def name(model, option, before):
        field = model.model_fields[option]
        monkeypatch.setattr(field, "metadata", [*field.metadata, FormerName(before, "0.4")])

    return name


def test_options_of_a_component_that_another_source_chooses(former):
    from vq_ema.ema_config import EMAConfig

    former(EMAConfig, "decay", "momentum")
    base = {"quantizer": {"name": "residual", "inner": {"name": "ema", "momentum": 0.5}}}
    with pytest.warns(VQFutureWarning, match=r"quantizer.inner.momentum is called quantizer.inner"):
        config, _ = compose({"quantizer": {"inner": {"decay": 0.25}}}, base=base)
    assert config.dump()["quantizer"]["inner"]["decay"] == 0.25
    with pytest.warns(VQFutureWarning):
        config, _ = compose({"quantizer": {"inner": {"momentum": 0.75}}}, base=config.dump())
    assert config.dump()["quantizer"]["inner"]["decay"] == 0.75


@pytest.mark.parametrize(
    "base",
    [
        [{"name": "poincare:4", "bend": 0.5}, "sphere:4"],
        {"0": {"name": "poincare", "bend": 0.5}},
        {"0": {"name": "poincare"}, "1": {"curvature": 3}},
        "poincare,sphere",
    ],
)
@pytest.mark.parametrize("option", ["bend", "curvature"])
@pytest.mark.filterwarnings("ignore:.*is called")
def test_options_of_one_of_several_components(former, base, option):
    from vq_hyperbolic.hyperbolic_config import PoincareConfig

    former(PoincareConfig, "curvature", "bend")
    base = {"manifold": {"name": "product", "factors": base}}
    config, _ = compose({"manifold": {"factors": {"0": {option: 0.25}}}}, base=base)
    assert config.dump()["manifold"]["factors"][0]["curvature"] == 0.25


def test_a_setting_of_a_run_may_have_a_former_name(former):
    former(RunConfig, "codebook_size", "codes")
    with pytest.warns(VQFutureWarning, match="^codes is called codebook_size now"):
        config, _ = compose(given_values({"codes": 32}), base={"codebook_size": 64})
    assert config.settings.codebook_size == 32
    with pytest.warns(VQFutureWarning):
        config, _ = compose({"codebook_size": 16}, base={"codes": 64})
    assert config.settings.codebook_size == 16
    with pytest.raises(VQError, match="codes: a former name of codebook_size, which is given, too"):
        compose({"codebook_size": 16, "codes": 8})


def test_what_the_code_of_a_plugin_calls_is_told_with_debug_alone(vq, plugin_file):
    words = ("show", "size", "--plugin-file", plugin_file("sizes", PLUGIN))
    assert "is called" not in vq(*words).err
    told = vq("--debug", *words).err
    assert "of_before is called something else now; the former name goes in version 0.4" in told
    assert "sizes.py:" in told


@pytest.mark.parametrize("source", [Trees(depth=3), Hierarchy(depth=2, samples=4)])
def test_tree_distance_is_deprecated(source):
    nodes = torch.arange(3)
    with pytest.warns(VQDeprecationWarning, match=r"is called source.tree.distance now"):
        found = source.tree_distance(nodes, nodes[:1])
    assert found.tolist() == source.tree.distance(nodes, nodes[:1]).tolist()


def test_an_earlier_version_of_the_interface_may_be_accepted_for_a_while(plugin_file, monkeypatch):
    path = plugin_file("earlier", "@hookimpl\ndef vq_manifolds():\n    return []\n")
    monkeypatch.setattr(hooks, "API_VERSION", 2)
    refused = Registry(files=[path], discover=False).plugins[-1]
    assert (refused.status, "upgrade the plugin" in refused.error) == ("incompatible", True)
    monkeypatch.setattr(hooks, "ACCEPTED", {1: "0.5"})
    accepted = Registry(files=[path], discover=False).plugins[-1]
    assert accepted.status == "ok"
    assert accepted.earlier == ("is of VQ_API = 1, which vqcore 0.5 will not accept; upgrade it",)
