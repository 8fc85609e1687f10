"""Runs with the two losses: resumed, in micro-batches, and what is left of the losses in them."""

import json
import operator

import pytest
import torch
from safetensors.torch import load_file

ADVERSARIAL = (
    "--loss", "mse", "--loss", "adversarial", "--set", "losses.adversarial.channels=4",
    "--set", "losses.adversarial.r1=0.1", "--set", "losses.adversarial.r1_every=3",
    "--set", "losses.adversarial.start=1",
)  # fmt: skip
PERCEPTUAL = (
    "--loss", "l1", "--loss", "perceptual", "--set", "losses.perceptual.weights=random",
    "--set", "losses.perceptual.network=squeeze",
)  # fmt: skip
#: Pictures that SqueezeNet takes, few of them.
PHOTOS = ("--dataset", "photos", "--set", "dataset.stride=64", "--batch-size", 4)


def trainer(run):
    state = torch.load(run.checkpoint / "trainer.pt", weights_only=True)
    return {name: value for name, value in state.items() if name != "seconds"}


def flat(values, path=""):
    """Nested values by their path."""
    if isinstance(values, dict | list | tuple):
        pairs = values.items() if isinstance(values, dict) else enumerate(values)
        return {k: v for key, each in pairs for k, v in flat(each, f"{path}/{key}").items()}
    return {path: values}


def logged(run, *names):
    return [[line[name] for name in names if name in line] for line in run.metrics]


def test_a_run_in_two_parts_is_the_run_in_one(train, resume):
    choices = (*ADVERSARIAL, "--set", "schedule=constant", "--set", "log_every=1")
    whole = train(*choices, "--max-steps", 6, run="whole")
    parts = resume(train(*choices, "--max-steps", 3, run="parts"), "--max-steps", 6)
    assert whole.weights == parts.weights
    one, two = flat(trainer(whole)), flat(trainer(parts))
    assert one.keys() == two.keys()
    assert any(name.startswith("/losses/adversarial/optimizer") for name in one)
    for name, value in one.items():
        same = torch.equal if isinstance(value, torch.Tensor) else operator.eq
        assert same(value, two[name]), name
    terms = ("adversarial", "adversarial_opponent")
    assert logged(whole, *terms) == logged(parts, *terms)
    assert [len(line) for line in logged(whole, *terms)] == [0, 2, 2, 2, 2, 2]


def test_micro_batches_are_one_batch(train):
    choices = (
        *ADVERSARIAL, "--set", "losses.adversarial.adaptive=false", "--set", "log_every=1",
        "--set", "losses.adversarial.eps=1e-3", "--set", "optimizer.eps=1e-3",
        "--set", "bottleneck=none", "--batch-size", 64, "--max-steps", 4,
    )  # fmt: skip
    runs = [
        train(*choices, "--set", f"accumulate={parts}", run=f"of {parts}").metrics
        for parts in (1, 4)
    ]
    for one, other in zip(*runs, strict=True):
        for name in {"reconstruction", "adversarial", "adversarial_opponent"} & one.keys():
            assert other[name] == pytest.approx(one[name], rel=1e-4), (name, one["step"])


def test_no_network_of_a_loss_is_in_the_model(train, vq, monkeypatch):
    run = train(*PERCEPTUAL, *ADVERSARIAL[2:], *PHOTOS, "--max-steps", 2)
    plain = train("--loss", "l1", *PHOTOS, "--max-steps", 1, run="plain")
    weights, others = (load_file(each.checkpoint / "model.safetensors") for each in (run, plain))
    assert weights.keys() == others.keys()
    state = trainer(run)
    assert state["losses"].keys() == {"adversarial"}
    assert not any("network" in name for name in flat(state))
    monkeypatch.setenv("VQ_DISABLE_PLUGINS", "vq-perceptual")
    result = vq("evaluate", run.path, "--json")
    assert result.code == 0, result.err
    assert json.loads(result.out)["psnr"] == pytest.approx(run.json("summary")["psnr"])


def test_a_config_keeps_random_and_makes_paths_absolute(tmp_path):
    from vq.config.resolved_config import resolve_config
    from vqcore.plugin.registry import default_registry

    def kept(weights):
        losses = {"l1": {}, "perceptual": {"weights": weights}}
        config = resolve_config({"losses": losses}, default_registry()).located()
        return config.dump()["losses"]["vq-perceptual/perceptual"]["weights"]

    assert kept("random") == "random"
    assert kept(str(tmp_path / "x" / ".." / "vgg.pth")).startswith(str(tmp_path))
    assert kept("vgg.pth").endswith("/vgg.pth")


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_a_missing_file_is_named_before_anything_else(vq, tmp_path, dry):
    choices = ("--loss", "perceptual", "--set", "losses.perceptual.weights=vgg.pth")
    result = vq("train", "--dataset", "image-folder", "--dataset.root", "none", *choices, *dry)
    assert result.code == 2
    assert "losses.perceptual.weights = 'vgg.pth': expected a file with torchvision" in result.err
    assert "there is no such file" in result.err
    assert "torchvision.models.vgg16(weights='IMAGENET1K_V1')" in result.err
    assert not (tmp_path / "runs").exists()


def test_without_a_weight_no_file_is_needed(vq):
    losses = ("--loss", "mse", "--loss", "perceptual", "--set", "losses.perceptual.weight=0")
    file = ("--set", "losses.perceptual.weights=vgg.pth")
    result = vq("train", "--max-steps", 1, "--backbone", "mlp", *losses, *file)
    assert result.code == 0, result.err


def test_data_that_a_loss_cannot_compare_is_refused_by_name(vq):
    few = ("--dataset", "trees", "--backbone", "mlp", "--max-steps", 2, "--loss", "mse")
    for loss in ("perceptual", "adversarial"):
        chosen = PERCEPTUAL[2:] if loss == "perceptual" else ADVERSARIAL[2:]
        result = vq("train", *few, *chosen)
        assert result.code == 2
        assert f"losses = '{loss}': expected" in result.err


def test_terms_that_begin_within_a_line_stand_before_the_gradient_norm(train):
    (line,) = train(*ADVERSARIAL, "--max-steps", 3).metrics  # curves draw what stands before it
    names = list(line)
    assert names.index("adversarial") < names.index("adversarial_opponent")
    assert names.index("adversarial_opponent") < names.index("grad_norm")
