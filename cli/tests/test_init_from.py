"""``--init-from``: which weights a run starts from, and what it says and records of them."""

import json
import shutil
from collections.abc import Iterator

import pytest
import torch

import vq
from vq.composition import compose, given_values
from vq.hub import load as hub_load
from vq.models.autoencoder import build_source, place
from vq.training import init_source
from vq.training.init_source import read_init_source
from vq.training.initialize import build_from
from vqcore.errors import RunError, SettingError, UsageError
from vqcore.plugin.registry import default_registry

#: Whatever is registered, so that a new quantizer is covered the day it is added.
QUANTIZERS = sorted(
    spec.name
    for plugin in default_registry().plugins
    for spec in plugin.provides.get("quantizer", ())
)
SMALL = {"backbone": {"hidden": 8}, "codebook_size": 16}


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A function that trains a run with some settings, once."""
    found = {}

    def trained(**choices):
        key = json.dumps(choices, sort_keys=True)
        if key not in found:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("VQ_DISABLE_PLUGINS", "vq-report")
                folder = tmp_path_factory.mktemp("source") / "run"
                found[key] = vq.train(run_dir=folder, max_steps=2, **{**SMALL, **choices})
        return found[key]

    return trained


def started(source, **choices):
    """A model that starts from a run, and what was taken."""
    config, registry = compose(given_values({**SMALL, **choices}))
    found = read_init_source(str(getattr(source, "folder", source).path))
    model, taken = build_from(found, config, registry, build_source(config, registry))
    return place(model, torch.device("cpu")), taken


def rows(codebook):
    """Each row of each codebook, as a tuple of numbers."""
    return {tuple(row) for row in codebook.detach().flatten(0, -2).tolist()}


@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_the_same_model_starts_where_the_other_ended(sources, quantizer):
    run = sources(quantizer=quantizer)
    model, taken = started(run, quantizer=quantizer)
    assert (taken.new, taken.other_shape, taken.unused) == ([], {}, [])
    samples = torch.rand(9, 1, 8, 8) * 2 - 1
    model.eval()
    assert torch.equal(model.encode(samples), run.model.encode(samples))
    assert torch.equal(model.reconstruct(samples), run.model.reconstruct(samples))
    for layer in (model.bottleneck, model.bottleneck.quantizer):
        assert getattr(layer, "step", 0) == 0  # replacements and schedules begin anew


@pytest.mark.parametrize("quantizer", QUANTIZERS)
@pytest.mark.parametrize("size", [4, 64])
def test_another_number_of_codes(sources, quantizer, size):
    run = sources(quantizer=quantizer)
    model, taken = started(run, quantizer=quantizer, codebook_size=size)
    before, now = run.model.codebook, model.codebook
    if before is None:  # a grid: as many dimensions as it needs
        assert set(taken.other_shape) <= {
            f"bottleneck.project_{end}.{part}"
            for end in ("in", "out")
            for part in ("weight", "bias")
        }
        return
    assert model.codebook_size == now.shape[-2] == size
    assert rows(now) < rows(before) if size == 4 else rows(before) < rows(now)
    expected = "the 4 most used of 16 taken" if size == 4 else "16 codes taken, 48 more start"
    assert taken.codebook.startswith(expected)
    assert len(taken.taken) == len(list(model.backbone.parameters()))


def test_levels_of_codes_grow_together(sources):
    choices = {"dataset": "hierarchy", "backbone": {"name": "hierarchical"}}
    run = sources(**choices)
    model, taken = started(run, codebook_size=24, **choices)
    for level, former in zip(model.codebook, run.model.codebook, strict=True):
        assert torch.equal(level[:16], former)
    assert "16 codes taken, 8 more start" in taken.codebook


@pytest.mark.parametrize(
    ("choices", "name", "values"),
    [
        ({"dim": 12}, "dim", ("12", "8")),
        ({"code_dim": 4}, "code_dim", ("4", "None")),
        ({"dim": 12, "manifold": "sphere"}, "dim", ("12", "8")),
    ],
)
def test_another_dimension_is_refused_by_name(sources, choices, name, values):
    run = sources(quantizer="codebook")
    here, there = values
    with pytest.raises(SettingError, match=f"^{name} = {here}: expected {there}, as in /"):
        started(run, **choices)


@pytest.mark.parametrize(
    ("choices", "reason"),
    [
        ({"manifold": "poincare"}, "manifold is poincare here, euclidean there"),
        ({"quantizer": "ema"}, "quantizer is ema here, codebook there"),
        ({"quantizer": "fsq"}, "quantizer is fsq here, codebook there"),
        (
            {"quantizer": {"name": "grouped", "inner": "ema"}},
            "quantizer is grouped of ema here, codebook there",
        ),
    ],
)
def test_another_kind_of_code_starts_afresh(sources, choices, reason):
    run = sources(quantizer="codebook")
    model, taken = started(run, **choices)
    assert taken.codebook == f"starts afresh, since {reason}"
    for name, value in model.backbone.state_dict().items():
        assert torch.equal(value, run.model.backbone.state_dict()[name])
    assert f"codebook: starts afresh, since {reason}" in taken.describe()


def test_codes_of_another_structure_start_afresh(sources):
    grouped = {"name": "grouped", "groups": 2}
    run = sources(quantizer=grouped)
    model, taken = started(run, quantizer={**grouped, "groups": 4}, codebook_size=24)
    assert "its tensors have other names or shapes there" in taken.codebook
    assert model.codebook_size == 24
    assert not any(float(each.has_started.max()) for each in model.bottleneck.quantizer.inner)


def test_without_codes_the_network_is_taken(sources):
    run = sources(bottleneck="none")
    _, taken = started(run, bottleneck="none")
    assert (taken.codebook, taken.new) == ("", [])
    _, taken = started(run)
    assert taken.codebook == "starts afresh, since bottleneck is vq here, none there"
    assert taken.new == []


def test_what_differs_is_listed_by_name(sources):
    run = sources(quantizer="codebook")
    _, taken = started(run, backbone={"hidden": 8, "residual_blocks": 1, "output": "tanh"})
    assert "backbone.encoder.3.body.1.weight" not in taken.taken
    said = taken.describe()
    for name in (*taken.new[:3], *taken.unused[:3], *list(taken.other_shape)[:3]):
        assert name in said
    assert taken.new or taken.other_shape
    assert taken.unused
    _, taken = started(run, dataset="photos")
    assert taken.other_shape == {
        "backbone.encoder.0.weight": "(8, 3, 4, 4), there (8, 1, 4, 4)"
    } | {name: text for name, text in taken.other_shape.items() if "decoder" in name}


def test_nothing_in_common_is_refused(sources):
    run = sources(dataset="trees", backbone={"name": "mlp"})
    found = r"expected weights of this model, found none of \d+ that fits"
    with pytest.raises(SettingError, match=f"{found}; the backbone is conv, there mlp"):
        started(run, manifold="poincare")
    run = sources(quantizer="codebook")
    with pytest.raises(SettingError, match=rf"{found}; .*encoder.0.weight \(16, 1, 4, 4\), there"):
        started(run, manifold="poincare", backbone={"hidden": 16})


def test_a_run_records_its_source_and_needs_it_no_more(sources, tmp_path):
    whole, parts = (tmp_path / name for name in ("whole", "parts"))
    source = shutil.copytree(sources(quantizer="ema").folder.path, tmp_path / "source")
    options = {
        **SMALL, "quantizer": "ema", "schedule": "constant", "checkpoint_every": 2,
        "batch_size": 500, "weight_ema": 0.9,
    }  # fmt: skip
    vq.train(init_from=source, run_dir=whole, max_steps=4, **options)
    run = vq.train(init_from=source, run_dir=parts, max_steps=2, **options)
    assert run.config.settings.init_from == str(source)
    shutil.rmtree(source)
    run = vq.train(resume=run, max_steps=4)
    about = json.loads((parts / "init.json").read_text())
    assert (about["source"], about["checkpoint"]) == (str(source), "step-00000002")
    assert about["codebook"] == "16 codes taken"
    assert len(about["sha256"]) == 64
    assert about == json.loads((whole / "init.json").read_text())
    files = ("checkpoints/step-00000004/model.safetensors", "config.yaml")
    assert all((whole / each).read_bytes() == (parts / each).read_bytes() for each in files)


@pytest.mark.parametrize("kind", ["checkpoint", "file", "pushed", "repository", "run"])
def test_what_weights_may_be_given_as(sources, tmp_path, monkeypatch, kind):
    run = sources(quantizer="codebook")
    vq.push(run, to_folder=tmp_path / "pushed")
    monkeypatch.setattr(init_source, "fetched", lambda name, revision: tmp_path / "pushed")
    given = {
        "checkpoint": run.checkpoint,
        "file": run.checkpoint / "model.safetensors",
        "pushed": tmp_path / "pushed",
        "repository": "owner/name",
        "run": run.folder.path,
    }[kind]
    found = read_init_source(str(given))
    assert found.name == str(run.checkpoint if kind == "file" else given)
    assert found.setting("codebook_size") == 16
    weight = found.weights["bottleneck.quantizer.weight"]
    assert torch.equal(weight, run.model.bottleneck.quantizer.weight)


def test_a_run_given_in_python_and_on_the_command_line(sources, vq_command, tmp_path):
    run = sources(quantizer="codebook")
    made = vq.train(init_from=run, max_steps=1, run_dir=tmp_path / "python", **SMALL)
    options = ("--max-steps", 1, "--set", "backbone.hidden=8", "--codebook-size", 16)
    result = vq_command("train", "--init-from", run.folder.path, *options, "--run-dir", "other")
    assert result.code == 0, result
    assert f"init_from {run.folder.path} (step-00000002, weights): 26 of 26 tensors" in result.out
    assert made.metrics["mse"] == json.loads((tmp_path / "other/summary.json").read_text())["mse"]


@pytest.fixture
def vq_command(vq) -> Iterator:
    return vq


def test_wrong_sources_are_named(sources, vq_command, tmp_path):
    bare = shutil.copytree(sources(quantizer="codebook").checkpoint, tmp_path / "a" / "b")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    for given, said in (
        ("nowhere", "init_from = 'nowhere': expected a run folder, a checkpoint in one"),
        ("empty", "expected a run folder, a checkpoint in one"),
        ("file", "expected a run folder, a checkpoint in one"),
        ("", "init_from = '': expected"),
        (bare, "expected a checkpoint in its run folder, with"),
    ):
        result = vq_command("train", "--init-from", given, "--run-dir", "run")
        assert (result.code, said in result.err) == (2, True), result
        assert not (tmp_path / "run").exists()


def test_a_name_that_is_no_folder_is_sought_on_the_hub(monkeypatch):
    def refuse(name, revision):
        raise RunError(f"{name}: not fetched")

    monkeypatch.setattr(init_source, "fetched", refuse)
    with pytest.raises(RunError, match=r"'owner/nam': no such folder, and as a repository of"):
        read_init_source("owner/nam")


def test_damaged_weights_are_refused(sources, tmp_path):
    path = shutil.copytree(sources(quantizer="codebook").folder.path, tmp_path / "copy")
    file = path / "checkpoints/step-00000002/model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(RunError, match=r"damaged: its size and SHA-256"):
        read_init_source(str(path))


def test_no_code_of_a_received_source_runs(sources, tmp_path, plugin_file):
    """Its config is data: a plugin file that it names is not imported."""
    mark = tmp_path / "ran"
    plugin = plugin_file("danger", f"open({str(mark)!r}, 'w').close()")
    path = shutil.copytree(sources(quantizer="codebook").folder.path, tmp_path / "received")
    config = path / "config.yaml"
    config.write_text(config.read_text().replace("plugin_files: []", f"plugin_files: [{plugin}]"))
    vq.train(init_from=path, max_steps=1, run_dir=tmp_path / "run", **SMALL)
    assert not mark.exists()


def test_a_received_run_that_has_not_begun_fetches_nothing(sources, tmp_path, monkeypatch, caplog):
    """Else resuming it would download what its sender named."""
    path = shutil.copytree(sources(quantizer="codebook").folder.path, tmp_path / "received")
    shutil.rmtree(path / "checkpoints")
    config = path / "config.yaml"
    config.write_text(config.read_text().replace("init_from: null", "init_from: owner/name"))
    monkeypatch.setattr(hub_load, "fetched", None)
    monkeypatch.setattr(init_source, "fetched", None)
    run = vq.train(resume=path)
    assert run.config.settings.init_from is None
    assert "its config has init_from = owner/name, which is not followed" in caplog.text


def test_the_source_of_a_run_that_has_begun_cannot_change(sources, tmp_path):
    run = vq.train(max_steps=1, run_dir=tmp_path / "run", **SMALL)
    with pytest.raises(UsageError, match=r"--resume: init_from cannot change"):
        vq.train(resume=run, init_from=sources(quantizer="codebook"))
