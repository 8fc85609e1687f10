"""The papers' settings: each is a valid config, agrees with its paper, and trains."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from vq.config.merging import merge, shown_names
from vq.config.presets import presets, read_preset
from vq.config.resolved_config import resolve_config
from vqcore.errors import UsageError
from vqcore.plugin.registry import Registry, default_registry

REGISTRY = default_registry()
PRESETS = list(presets(REGISTRY))
#: What lets a large model for large pictures, or for sounds, train in a test.
VQGAN = [
    "dataset={name: arrays, root: pictures.npy}", "codebook_size=16", "backbone.channels=4",
    "backbone.multipliers=[1, 1]", "losses.perceptual.weights=random",
    "losses.perceptual.network=squeeze", "losses.adversarial.channels=4",
]  # fmt: skip
SMALLER = {
    "hyperbolic-trees": [],  # its loss is for bits
    "hyperbolic-links": ["dataset.depth=4", "codebook_size=8", "quantize_start=1", "batch_size=1"],
    "vqgan-f8": VQGAN,
    "vqgan-f16": VQGAN,
    "titok": [
        "dataset={name: arrays, root: pictures.npy}", "codebook_size=16", "backbone.width=16",
        "backbone.heads=2", "backbone.depth=1", "backbone.tokens=4",
    ],
    "audio": [
        "dataset.root=sounds", "dataset.length=512", "dataset.workers=0", "codebook_size=16",
        "backbone.hidden=4", "backbone.downsamplings=4",
    ],
}  # fmt: skip
#: What each paper states, by key path (the project's notes on the papers).
STATED = {
    "vq-vae": {
        "backbone.hidden": 40, "codebook_size": 512, "batch_size": 64, "epochs": 10,
        "optimizer.name": "adam", "optimizer.lr": 2e-4, "quantizer.commitment_weight": 1.0,
    },
    "hyperbolic-vqvae": {
        "backbone.hidden": 32, "backbone.residual_blocks": 2, "backbone.downsamplings": 3,
        "manifold.name": "poincare", "codebook_size": 16, "batch_size": 64, "dim": 10,
        "optimizer.name": "adam", "optimizer.lr": 1e-4,
    },
    "hyperbolic-trees": {
        "dataset.name": "trees", "dataset.depth": 8, "dataset.noise": 0.1, "backbone.hidden": 100,
        "backbone.layers": 2, "backbone.activation": "tanh", "manifold.name": "poincare",
        "codebook_size": 64, "dim": 2,
    },
    "hyperbolic-links": {
        "dataset.name": "tree-links", "backbone.name": "distance", "manifold.search": "ball",
        "codebook_size": 128, "dim": 3, "quantizer.init": "kmeans", "quantize_start": 600,
    },
    "hc-vq": {
        "codebook_size": 128, "dim": 64, "max_steps": 27_000, "quantizer.commitment_weight": 0.25,
        "regularizers.homology.points": "codebook", "regularizers.homology.h0_form": "mean",
        "regularizers.homology.strength": "entropy-ratio", "regularizers.homology.period": 200,
    },
    "rotation-vqvae": {
        "codebook_size": 1024, "dim": 256, "quantizer.name": "ema", "quantizer.decay": 0.99,
        "epochs": 100,
        "quantizer.commitment_weight": 0.25, "estimator.name": "rotation", "optimizer.name": "adam",
        "optimizer.lr": 2e-4, "backbone.output": "tanh", "dataset.name": "cifar10",
    },
    "vqgan-f8": {
        "backbone.name": "resnet", "backbone.channels": 128, "backbone.blocks": 2,
        "backbone.multipliers": [1, 2, 2, 4], "codebook_size": 16384, "dim": 4, "batch_size": 10,
        "max_steps": 971_043, "optimizer.lr": 4.5e-5, "optimizer.betas": [0.5, 0.9],
        "losses.perceptual.weight": 1.0, "losses.perceptual.network": "vgg",
        "losses.adversarial.weight": 0.6, "losses.adversarial.start": 1,
    },
    "vqgan-f16": {
        "backbone.name": "resnet", "backbone.channels": 128, "backbone.blocks": 2,
        "backbone.multipliers": [1, 1, 2, 2, 4], "codebook_size": 16384, "dim": 8, "batch_size": 14,
        "max_steps": 1_101_166, "optimizer.lr": 6.3e-5, "optimizer.betas": [0.5, 0.9],
        "losses.perceptual.weight": 1.0, "losses.perceptual.network": "vgg",
        "losses.adversarial.weight": 0.75, "losses.adversarial.start": 250_001,
    },
    "titok": {
        "backbone.name": "vit", "backbone.patch_size": 16, "backbone.width": 512,
        "backbone.depth": 8, "backbone.heads": 8, "backbone.tokens": 128, "codebook_size": 4096,
        "dim": 12, "manifold.name": "sphere", "quantizer.commitment_weight": 0.25,
        "optimizer.lr": 1e-4, "optimizer.betas": [0.9, 0.99], "optimizer.weight_decay": 1e-4,
        "batch_size": 256, "max_steps": 1_000_000, "warmup_steps": 10_000, "weight_ema": 0.999,
    },
    "audio": {
        "quantizer.name": "residual", "quantizer.inner.name": "ema", "codebook_size": 1024,
        "losses.l1.weight": 10.0, "losses.spectral.weight": 0.1,
    },
}  # fmt: skip


def at(values, path):
    for key in path.split("."):
        values = values[key]
    return values


def test_every_preset_has_its_paper():
    assert set(PRESETS) == set(STATED)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_a_valid_config_with_the_papers_settings(name):
    values = read_preset(name)
    dumped = shown_names(resolve_config(values, REGISTRY).dump())
    assert {path: at(dumped, path) for path in STATED[name]} == STATED[name]
    assert {"backbone", "quantizer", "optimizer", "dim", "codebook_size", "batch_size"} <= set(
        values
    )
    assert ("epochs" in values) != ("max_steps" in values)
    # our own default start is none of a paper's; audio is no paper's
    quantizer, started = dumped["quantizer"], (None, None) if name == "audio" else (0, "torch")
    assert (dumped["blend_steps"], dumped["backbone"].get("init", "torch")) == started
    assert quantizer.get("lr_scale", 1.0) == 1.0


def write_samples():
    """Pictures and sounds in the working folder."""
    soundfile = pytest.importorskip("soundfile", reason="needs the extra audio")
    draw = np.random.default_rng(0).random
    np.save("pictures.npy", draw((20, 3, 32, 32), np.float32))
    Path("sounds").mkdir()
    for name in "ab":
        soundfile.write(f"sounds/{name}.wav", draw(2048) - 0.5, 8000)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_trains(vq, tmp_path, without_plots, monkeypatch, name):
    monkeypatch.setattr("vq_homology.plots.save", lambda *_: None)
    settings = ("--dataset", "digits", "--max-steps", 2, "--batch-size", 16, "--set", "log_every=1")
    if name in SMALLER:
        write_samples()
        settings = (*settings[2:], *(part for each in SMALLER[name] for part in ("--set", each)))
    result = vq("train", "--preset", name, *settings, "--run-dir", tmp_path / name)
    assert result.code == 0, result
    found = yaml.safe_load((tmp_path / name / "config.yaml").read_text())
    assert found["dim"] == read_preset(name)["dim"]


@pytest.mark.parametrize("name", ["vqgan-f8", "vqgan-f16"])
def test_a_preset_says_what_it_needs(vq, name):
    result = vq("train", "--preset", name, "--dry-run")
    assert result.code == 2
    assert "losses.perceptual.weights = 'vgg16-397923af.pth'" in result.err
    given = ("--set", "losses.perceptual.weights=random")
    assert vq("train", "--preset", name, "--dry-run", *given).code == 0


def test_config_and_options_override_a_preset(vq, tmp_path):
    (tmp_path / "mine.yaml").write_text("epochs: 3\ndim: 5\nquantizer: {commitment_weight: 0.5}\n")
    result = vq(
        "train", "--preset", "vq-vae", "--config", "mine.yaml", "--dim", 7, "--print-config"
    )
    found = yaml.safe_load(result.out)
    assert (found["epochs"], found["dim"], found["codebook_size"]) == (3, 7, 512)
    assert found["quantizer"]["commitment_weight"] == 0.5
    assert found["quantizer"]["dead_code_threshold"] == 0


def test_another_component_drops_the_options_of_the_presets():
    over = merge(read_preset("hyperbolic-vqvae"), {"dataset": "digits", "manifold": "lorentz"})
    config = resolve_config(over, REGISTRY)
    assert config.components["dataset"].spec.name == "digits"
    assert config.components["manifold"].spec.name == "lorentz"


@pytest.mark.parametrize("name", ["vqgan-f8", "vqgan-f16"])
def test_a_preset_is_printed_without_the_file_that_it_needs(vq, name):
    result = vq("train", "--preset", name, "--print-config")
    assert result.code == 0
    assert yaml.safe_load(result.out)["losses"]["vq-perceptual/perceptual"]["weights"]


@pytest.mark.parametrize(
    ("name", "hint"),
    [("vqvae", "did you mean 'vq-vae'?"), ("zzz", "expected one of audio, hc-vq,")],
)
def test_an_unknown_preset(vq, name, hint):
    with pytest.raises(UsageError, match=f"--preset = '{name}'"):
        read_preset(name)
    result = vq("train", "--preset", name)
    assert result.code == 2
    assert hint in result.err


def test_resume_takes_no_preset(vq, tmp_path):
    result = vq("train", "--preset", "vq-vae", "--resume", tmp_path)
    assert result.code == 2
    assert "leave out --preset" in result.err


def test_show_lists_presets_and_shows_one(vq):
    listed = vq("show", "presets", "--json")
    rows = {row["name"]: row for row in json.loads(listed.out)}
    assert rows["vq-vae"]["package"] == "vq-papers"
    assert rows["titok"]["package"] == "vq-cli"
    shown = vq("show", "preset", "hc-vq")
    assert yaml.safe_load(shown.out) == read_preset("hc-vq")
    for name in ("hc-vq", "vq-papers/hc-vq"):
        assert vq("show", name).out == shown.out
    wrong = vq("show", "preset", "hc-vp")
    assert (wrong.code, "hc-vq" in wrong.err) == (2, True)


PLUGIN = """
from pathlib import Path
from vqcore import PresetSpec, hookimpl

VQ_API = 1

@hookimpl
def vq_presets():
    return [PresetSpec(name=NAME, file=Path(__file__).with_name("mine.yaml"), summary="mine")]
"""


def test_presets_of_the_same_name_are_told_apart_by_their_package(tmp_path):
    (tmp_path / "mine.yaml").write_text("dim: 3\n")
    (tmp_path / "own_presets.py").write_text(PLUGIN.replace("NAME", "'vq-vae'"))
    registry = Registry(files=[tmp_path / "own_presets.py"])
    assert read_preset("own_presets.py/vq-vae", registry) == {"dim": 3}
    assert read_preset("vq-papers/vq-vae", registry)["dim"] == 64
    with pytest.raises(UsageError, match="or vq-papers/vq-vae"):
        read_preset("vq-vae", registry)


def test_a_preset_of_a_plugin_file_is_listed_and_taken(vq, tmp_path, unloaded_modules):
    path = tmp_path / "file_presets.py"
    (tmp_path / "mine.yaml").write_text("dim: 3\n")
    path.write_text(PLUGIN.replace("NAME", "'of-a-file'"))
    assert "of-a-file" in vq("show", "presets", "--plugin-file", path).out
    words = ("--preset", "of-a-file", "--plugin-file", path)
    printed = vq("train", *words, "--print-config")
    assert yaml.safe_load(printed.out)["dim"] == 3
    assert vq("sweep", *words, "--lr", "0.1,0.2", "--dry-run").code == 0
    (tmp_path / "config.yaml").write_text(f"plugin_files: ['{path}']\n")
    named = vq("train", "--preset", "of-a-file", "--config", tmp_path / "config.yaml", "--dry-run")
    assert named.code == 0, named
    assert vq("train", "--preset", "of-a-file").code == 2


@pytest.mark.parametrize(
    ("declared", "expected"), [("'Mine'", "lower-case words"), ("3", "vq_presets")]
)
def test_a_malformed_preset_breaks_its_plugin_alone(tmp_path, monkeypatch, declared, expected):
    monkeypatch.delitem(sys.modules, "broken_presets", raising=False)
    (tmp_path / "broken_presets.py").write_text(PLUGIN.replace("NAME", declared))
    registry = Registry(files=[tmp_path / "broken_presets.py"])
    (plugin,) = [each for each in registry.plugins if each.plugin == "broken_presets"]
    assert (plugin.status, plugin.presets) == ("error", ())
    assert expected in plugin.error
    assert "vq-vae" in presets(registry)
