"""The papers' settings: each is a valid config, agrees with its paper, and trains."""

import pytest
import yaml

from vq.config.merging import merge, shown_names
from vq.config.presets import PRESETS, read_preset
from vq.config.resolved_config import resolve_config
from vqcore.errors import UsageError
from vqcore.plugin.registry import default_registry

REGISTRY = default_registry()

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
    # our own default start is none of a paper's
    quantizer = dumped["quantizer"]
    assert (dumped["blend_steps"], dumped["backbone"]["init"]) == (0, "torch")
    assert quantizer.get("lr_scale", 1.0) == 1.0


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_trains_on_digits(vq, tmp_path, without_plots, monkeypatch, name):
    monkeypatch.setattr("vq_homology.plots.save", lambda *_: None)
    settings = ("--dataset", "digits", "--max-steps", 2, "--batch-size", 16, "--set", "log_every=1")
    result = vq("train", "--preset", name, *settings, "--run-dir", tmp_path / name)
    assert result.code == 0, result
    assert (
        yaml.safe_load((tmp_path / name / "config.yaml").read_text())["codebook_size"]
        == STATED[name]["codebook_size"]
    )


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


@pytest.mark.parametrize(
    ("name", "hint"),
    [("vqvae", "did you mean 'vq-vae'?"), ("zzz", "expected one of hc-vq, hyperbolic-vqvae,")],
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
