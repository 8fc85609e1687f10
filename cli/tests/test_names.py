"""Names in files say the package: what is installed later changes nothing in an old run."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml

import vq as api
from vq.config.config_file import read_config
from vq.config.merging import merge, shown_names
from vq.runs.plugin_rows import providers
from vqcore.errors import ComponentError, VQError
from vqcore.plugin.registry import PluginRecord, Registry, default_registry

#: A plugin that claims the names of every component that ``complete_run`` uses.
CLAIMS = """
def _claim(name):
    return [ComponentSpec(name=name, target="nowhere:Nothing", summary="of another package")]
""" + "\n".join(
    f"@hookimpl\ndef vq_{kind}s(): return _claim({name!r})"
    for kind, name in {
        "manifold": "poincare",
        "quantizer": "ema",
        "estimator": "rotation",
        "regularizer": "entropy",
        "optimizer": "adamw",
        "dataset": "digits",
        "backbone": "conv",
    }.items()
)
QUALIFIED = {
    "manifold": "vqcore-hyperbolic/poincare",
    "quantizer": "vqcore-ema/ema",
    "estimator": "vqcore-householder-rotation/rotation",
    "optimizer": "vq-cli/adamw",
    "dataset": "vq-cli/digits",
    "backbone": "vq-cli/conv",
}
SAMPLES = torch.zeros(2, 1, 8, 8)


@pytest.fixture
def clashing(plugin_file):
    """The installed plugins, and one that claims names of theirs."""
    return Registry(files=[plugin_file("my_claims", CLAIMS)])


def rewrite(run, change):
    """Change the values of a run's config in place."""
    file = run.path / "config.yaml"
    values = yaml.safe_load(file.read_text())
    change(values)
    file.write_text(yaml.safe_dump(values, sort_keys=False))
    return run


def as_of_before(run):
    """A run whose config has names without packages."""
    return rewrite(run, lambda values: values.update(shown_names(dict(values))))


def record(run, *rows):
    (run.path / "plugins.json").write_text(json.dumps(rows))


def row(package, version, kind, *names):
    provided = [{"kind": kind, "name": name} for name in names]
    return {"package": package, "version": version, "provides": provided}


# -- what files hold, and what people see -----------------------------------


def test_a_config_has_qualified_names_and_everything_shown_has_not(complete_run, vq):
    config = read_config(complete_run.path / "config.yaml")
    assert {kind: config[kind]["name"] for kind in QUALIFIED} == QUALIFIED
    assert list(config["regularizers"]) == ["vqcore/entropy"]
    assert "entropy" in complete_run.metrics[-1]
    assert complete_run.json("data")
    run = api.load_run(complete_run.path)
    assert run.config.title() == "digits-poincare-ema-rotation-entropy"
    assert list(run.config.regularizers) == ["entropy"]
    assert api.evaluate(run)["dataset"]["name"] == "digits"


def test_names_of_inner_components_are_qualified_too(vq):
    nested = "{name: grouped, groups: 2, inner: {name: residual, inner: ema}}"
    result = vq("train", "--print-config", "--set", f"quantizer={nested}")
    quantizer = yaml.safe_load(result.out)["quantizer"]
    assert quantizer["name"] == "vqcore-grouped/grouped"
    assert quantizer["inner"]["name"] == "vqcore-grouped/residual"
    assert quantizer["inner"]["inner"]["name"] == "vqcore-ema/ema"


def test_a_config_is_the_same_when_it_is_read_again(complete_run, vq):
    path = complete_run.path / "config.yaml"
    result = vq("train", "--config", path, "--print-config")
    assert yaml.safe_load(result.out) == read_config(path)


@pytest.mark.parametrize(
    ("base", "over", "merged"),
    [
        ("a/one", "one", {"name": "a/one", "x": 1}),
        ("one", "a/one", {"name": "a/one", "x": 1}),
        ("a/one", "b/one", {"name": "b/one"}),
        ("a/one", "two", {"name": "two"}),
        ("a/one", "a/one", {"name": "a/one", "x": 1}),
        ("one", "one", {"name": "one", "x": 1}),
    ],
)
def test_a_name_without_its_package_means_the_one_that_is_there(base, over, merged):
    assert merge({"quantizer": {"name": base, "x": 1}}, {"quantizer": over}) == {
        "quantizer": merged
    }
    regularizers = {"regularizers": {base: {"x": 1}}}
    found = merge(regularizers, {"regularizers": {over: {"y": 2}}})["regularizers"]
    same = merged.get("x") == 1
    assert found == (
        {merged["name"]: {"x": 1, "y": 2}} if same else {base: {"x": 1}, over: {"y": 2}}
    )


def test_options_of_the_default_stay_with_its_name():
    for name in ("codebook", "vqcore/codebook"):
        merged = merge({"quantizer": {"init": "data"}}, {"quantizer": name})
        assert merged == {"quantizer": {"init": "data", "name": name}}


def test_settings_given_by_bare_names_reach_a_saved_config(complete_run, vq):
    path = complete_run.path / "config.yaml"
    result = vq(
        "train", "--config", path, "--print-config", "--quantizer", "ema", "--set",
        "regularizers.entropy.weight=3",
    )  # fmt: skip
    before, after = read_config(path), yaml.safe_load(result.out)
    before["regularizers"]["vqcore/entropy"]["weight"] = 3.0
    assert after == before


def test_packages_are_shown_where_they_tell_names_apart():
    one, two = (
        {"quantizer": {"name": "a/x"}},
        {"quantizer": {"name": "b/x", "inner": {"name": "c/y"}}},
    )
    assert shown_names(one) == {"quantizer": {"name": "x"}}
    assert shown_names(one, [one, two]) == one
    assert shown_names(two, [one, two])["quantizer"] == {"name": "b/x", "inner": {"name": "y"}}
    regularizers = {"regularizers": {"a/x": {"name": "n/m"}, "y": {}}}
    assert shown_names(regularizers) == {"regularizers": {"x": {"name": "m"}, "y": {}}}


def test_an_old_and_a_new_run_compare_as_the_same(complete_run, copied_run):
    as_of_before(copied_run)
    assert api.compare([complete_run.path, copied_run.path]).settings == []

    def other(values):
        values["quantizer"]["name"] = "elsewhere/ema"

    found = api.compare([complete_run.path, rewrite(copied_run, other).path])
    assert found.settings == ["quantizer"]
    assert [run.settings["quantizer"] for run in found.runs] == ["vqcore-ema/ema", "elsewhere/ema"]


# -- a package with the same names, installed later --------------------------


def test_a_run_loads_although_another_package_claims_its_names(complete_run, clashing):
    model = api.load(complete_run.path, registry=clashing)
    assert torch.equal(model.encode(SAMPLES), api.load(complete_run.path).encode(SAMPLES))
    with pytest.raises(ComponentError, match=r"vqcore-ema/ema or my_claims\.py/ema"):
        clashing.resolve("quantizer", "ema")


def test_an_old_run_means_the_packages_of_its_plugins_json(copied_run, clashing):
    as_of_before(copied_run)
    run = api.load_run(copied_run.path, registry=clashing)
    assert run.config.dump()["quantizer"]["name"] == "vqcore-ema/ema"
    assert len(run.source.split("test"))
    resumed = api.train(resume=copied_run.path, registry=clashing, max_steps=13)
    assert read_config(resumed.folder.config)["manifold"]["name"] == QUALIFIED["manifold"]


@pytest.mark.parametrize(
    "content", [None, "", "[1, {}]", "{}", '[{"package": 1, "provides": [2]}]']
)
def test_an_old_run_that_cannot_tell_names_both(content, copied_run, clashing):
    as_of_before(copied_run)
    (copied_run.path / "plugins.json").unlink()
    if content is not None:
        (copied_run.path / "plugins.json").write_text(content)
    with pytest.raises(ComponentError, match=r"use vq.*/.* or my_claims\.py/.*"):
        api.load(copied_run.path, registry=clashing)


def test_nothing_takes_the_place_of_a_plugin_file(copied_run, vq):
    as_of_before(copied_run)
    record(copied_run, row("/home/me/my_codes.py", "file", "quantizer", "ema"))
    with pytest.raises(ComponentError, match="was made with the plugin file /home/me/my_codes"):
        api.load(copied_run.path)


def test_a_plugin_file_may_have_moved(plugin_file, clashing):
    recorded = {("quantizer", "ema"): ("/somewhere/else/my_claims.py", "file")}
    found, _ = clashing.with_record(PluginRecord(providers=recorded)).find("quantizer", "ema")
    assert found.plugin == "my_claims"


def test_a_plugin_called_like_another_package_does_not_take_its_name(plugin_file):
    claim = CLAIMS.replace('"nowhere:Nothing"', '"vqcore_ema:Nothing"')
    registry = Registry(files=[plugin_file("vqcore_ema", claim)])
    assert registry.find("quantizer", "vqcore-ema/ema")[0].package == "vqcore-ema"


# -- packages that are gone --------------------------------------------------


def test_a_missing_package_is_named_with_its_version(copied_run, vq):
    def other(values):
        values["quantizer"]["name"] = "vq-thirdparty/codes"

    record(rewrite(copied_run, other), row("vq-thirdparty", "0.1.0", "quantizer", "codes"))
    for words in (["export", copied_run.path, "-o", "out"], ["train", "--resume", copied_run.path]):
        result = vq(*words)
        assert result.code == 3
        assert "this run was made with vq-thirdparty 0.1.0, which is not installed" in result.err


def test_a_component_that_its_package_has_no_more_is_told_apart(copied_run):
    version = {plugin.package: plugin.version for plugin in default_registry().plugins}["vqcore"]

    def other(values):
        values["quantizer"]["name"] = "vqcore/gone"

    record(rewrite(copied_run, other), row("vqcore", "0.0.1", "quantizer", "gone"))
    with pytest.raises(ComponentError, match=rf"made with vqcore 0\.0\.1, {version} is installed"):
        api.load(copied_run.path)


@pytest.fixture
def half_installed(copied_run, monkeypatch):
    """A run whose data set, optimizer and regularizer are of a package that is not installed."""

    def other(values):
        values["dataset"] = {"name": "vq-thirdparty/stars", "magnitude": 6}
        values["optimizer"] = {"name": "vq-thirdparty/lion"}
        values["regularizers"] = {"vq-thirdparty/spread": {"weight": 2}}

    rewrite(copied_run, other)
    record(copied_run, row("vq-thirdparty", "0.1.0", "dataset", "stars"))
    monkeypatch.chdir(copied_run.path)
    np.save("images.npy", SAMPLES.numpy())
    return copied_run


def test_a_model_needs_none_of_what_trained_it(vq, complete_run, half_installed):
    path = half_installed.path
    assert vq("encode", path, "images.npy", "-o", "tokens").code == 0
    assert vq("decode", path, "tokens", "-o", "images").code == 0
    assert vq("push", path, "--to-folder", "pushed").code == 0
    expected = api.load(complete_run.path).encode(SAMPLES)
    for folder in (path, "pushed"):
        assert torch.equal(api.from_pretrained(folder).encode(SAMPLES), expected)
    run = api.load_run(path)
    assert run.config.title() == "stars-poincare-ema-rotation-spread"
    assert run.config.dump() == read_config(path / "config.yaml")
    for words in (["evaluate", path], ["encode", path, "test", "-o", "other"]):
        result = vq(*words)
        assert result.code == 3
        assert "this run was made with vq-thirdparty 0.1.0, which is not installed" in result.err


def test_export_and_sample_need_no_data_set(vq, run_with_prior, tmp_path):
    path = shutil.copytree(run_with_prior.path, tmp_path / "sampled")
    stars = {"name": "vq-thirdparty/stars"}
    rewrite(SimpleNamespace(path=path), lambda values: values.update(dataset=stars))
    assert vq("sample", path, "-n", 2, "-o", "out.png").code == 0
    assert vq("export", path, "-o", "program").code == 0


def test_the_optimizer_of_riemannian_codes_is_not_needed(train, vq):
    run = train(
        "--manifold", "poincare", "--set", "manifold.codes=riemannian", "--optimizer",
        "riemannian-adam", "--max-steps", 2,
    )  # fmt: skip
    assert vq("push", run.path, "--to-folder", "pushed").code == 0
    assert torch.equal(
        api.from_pretrained("pushed").encode(SAMPLES), api.load(run.path).encode(SAMPLES)
    )


def test_weights_that_are_no_regularizers_must_still_fit(half_installed):
    from safetensors.torch import load_file, save_file

    file = half_installed.checkpoint / "model.safetensors"
    weights = load_file(file)
    (half_installed.checkpoint / "manifest.json").unlink(missing_ok=True)  # of the digests
    save_file(weights | {"bottleneck.regularizers.spread.seen": torch.zeros(1)}, file)
    api.load(half_installed.path)
    save_file(weights | {"backbone.more": torch.zeros(1)}, file)
    with pytest.raises(Exception, match="holds another model"):
        api.load(half_installed.path)


# -- published models --------------------------------------------------------


def test_a_published_model_names_its_packages(vq, complete_run, clashing, monkeypatch):
    assert vq("push", complete_run.path, "--to-folder", "pushed").code == 0
    values = json.loads(Path("pushed/config.json").read_text())
    assert values["config"]["quantizer"]["name"] == "vqcore-ema/ema"
    made = providers(values["plugins"])
    version = {plugin.package: plugin.version for plugin in default_registry().plugins}
    assert made["quantizer", "ema"] == ("vqcore-ema", version["vqcore-ema"])
    model = api.from_pretrained("pushed", registry=clashing)
    assert torch.equal(model.encode(SAMPLES), api.load(complete_run.path).encode(SAMPLES))
    without = Registry(disabled=["vqcore-ema"])
    without.plugins = [each for each in without.plugins if each.package != "vqcore-ema"]
    with pytest.raises(ComponentError, match=r"this model was made with vqcore-ema .*not inst"):
        api.from_pretrained("pushed", registry=without)


def test_a_published_model_of_a_plugin_file_shows_no_path(train, plugin_file, vq):
    source = """
@hookimpl
def vq_manifolds():
    target = "vqcore.builtin.manifolds.euclidean:Euclidean"
    return [ComponentSpec(name="plane", target=target, summary="a plane")]
"""
    file = plugin_file("my_plane", source)
    run = train("--plugin-file", file, "--manifold", "plane", "--max-steps", 2)
    assert vq("push", run.path, "--to-folder", "pushed").code == 0
    for name in ("config.json", "README.md"):
        text = Path(f"pushed/{name}").read_text()
        assert str(file.parent) not in text
        assert "my_plane.py" in text
    with pytest.raises(ComponentError, match="this model was made with the plugin file my_plane"):
        api.from_pretrained("pushed")
    model = api.from_pretrained("pushed", registry=Registry(files=[file]))
    assert torch.equal(model.encode(SAMPLES), api.load(run.path).encode(SAMPLES))


def test_a_damaged_choice_is_still_refused(copied_run):
    rewrite(copied_run, lambda values: values.update(dataset=3))
    with pytest.raises(VQError, match="dataset"):
        api.load(copied_run.path)
