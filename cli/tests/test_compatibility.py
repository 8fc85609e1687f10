"""What version 0.1 left behind still loads: a run with a prior, token shards, a sweep."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from vq.config.merging import flatten, shown_names
from vq.runs.trained_run import load_run

FIXTURES = Path(__file__).parent / "fixtures"
#: Rounding differs between processors.
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture
def old_run(tmp_path):
    """A copy of the run folder."""
    return shutil.copytree(FIXTURES / "run-v0.1", tmp_path / "old")


def weights(run, step):
    return load_file(run / "checkpoints" / f"step-{step:08d}" / "model.safetensors")


def test_a_config_file_is_still_valid(vq):
    config = FIXTURES / "run-v0.1" / "config.yaml"
    result = vq("train", "--config", config, "--print-config")
    assert result.code == 0, result.err
    before = flatten(yaml.safe_load(config.read_text()))
    now = flatten(shown_names(yaml.safe_load(result.out)))
    assert {key: now[key] for key in before} == before


def test_a_run_keeps_what_its_version_had_no_setting_for(old_run):
    config = load_run(old_run).config
    assert config.settings.eval_samples is None
    assert config.components["backbone"].options.init == "torch"


def test_so_does_its_config_file_and_that_of_a_run_of_a_sweep(vq):
    sweep = FIXTURES / "sweep-v0.1" / "configs" / "lr=1e-3.yaml"
    for config in (FIXTURES / "run-v0.1" / "config.yaml", sweep):
        found = yaml.safe_load(vq("train", "--config", config, "--print-config").out)
        assert (found["eval_samples"], found["blend_steps"]) == (None, 0)
        assert found["backbone"]["init"] == "torch"
    assert found["quantizer"]["lr_scale"] == 1
    given = ("--blend-steps", 5, "--quantizer.lr_scale", 2)
    found = yaml.safe_load(vq("train", "--config", sweep, *given, "--print-config").out)
    assert (found["blend_steps"], found["quantizer"]["lr_scale"]) == (5, 2)


def test_a_run_is_evaluated_to_the_metrics_that_it_ended_with(vq, old_run):
    result = vq("evaluate", old_run, "--json")
    assert result.code == 0, result.err
    before, now = json.loads((old_run / "summary.json").read_text()), json.loads(result.out)
    for name in ("psnr", "mse", "perplexity", "codes_used", "quantization_error"):
        assert now[name] == pytest.approx(before[name], rel=1e-4), name


def test_a_checkpoint_is_resumed_to_the_weights_of_an_unbroken_run(vq, old_run):
    unbroken = weights(old_run, 20)
    shutil.rmtree(old_run / "checkpoints" / "step-00000020")
    (old_run / "checkpoints" / "latest").write_text("step-00000010\n")
    lines = (old_run / "metrics.jsonl").read_text().splitlines()
    result = vq("train", "--resume", old_run)
    assert result.code == 0, result.err
    resumed = weights(old_run, 20)
    assert {name.split(".")[-1] for name in resumed.keys() - unbroken.keys()} == {"has_started"}
    for name, value in unbroken.items():
        if "homology" in name:  # pairs of latents are not kept any more
            continue
        if name.endswith("_extra_state"):  # a codebook's third number was that flag
            value = value[: len(resumed[name])]
        torch.testing.assert_close(resumed[name], value, **CLOSE, check_dtype=False, msg=name)
    again = (old_run / "metrics.jsonl").read_text().splitlines()
    for before, now in zip(lines, again, strict=True):
        assert json.loads(now)["loss"] == pytest.approx(json.loads(before)["loss"], rel=1e-4)


def test_a_run_whose_radius_is_refused_today_is_used_as_it_was_trained(vq, old_run):
    """Such a radius still acts as the limit of float32; training with it is not resumed."""
    file = old_run / "config.yaml"
    samples = torch.linspace(-1, 1, 640).view(10, 1, 8, 8)
    indices = []
    for radius in ("3.1", "5.0"):
        file.write_text(re.sub("max_radius: .*", f"max_radius: {radius}", file.read_text()))
        model = load_run(old_run).model
        if radius == "5.0":
            with pytest.warns(UserWarning, match=r"max_radius = 5\.0: expected at most 3\.1 in"):
                indices.append(model.encode(samples))
        else:
            indices.append(model.encode(samples))
    assert torch.equal(*indices)
    result = vq("train", "--resume", old_run, "--max-steps", 30)
    assert result.code == 2
    assert "manifold.max_radius = 5.0: expected at most 3.1 in float32" in result.err


def test_token_shards_decode_and_encoding_again_gives_the_same(vq, old_run, tmp_path):
    tokens = FIXTURES / "tokens-v0.1"
    assert vq("decode", old_run, tokens, "-o", tmp_path / "decoded").code == 0
    assert any((tmp_path / "decoded").iterdir())
    assert vq("encode", old_run, "test", "-o", tmp_path / "now", "--shard-size", 200).code == 0
    folders = (tokens, tmp_path / "now")
    before, now = (json.loads((folder / "manifest.json").read_text()) for folder in folders)
    for shard in now["shards"]:
        assert len(shard.pop("sha256")) == 64  # new since
    assert now["shards"] == before["shards"]


def test_a_prior_is_sampled_from(vq, old_run, tmp_path):
    result = vq("sample", old_run, "-o", tmp_path / "new.png")
    assert result.code == 0, result.err
    assert (tmp_path / "new.png").stat().st_size > 0


def test_a_report_is_written(vq, old_run):
    result = vq("report", old_run)
    assert result.code == 0, result.err
    assert "digits-poincare-residual-rotation-homology" in (old_run / "report.html").read_text()


def test_a_finished_sweep_is_read(vq, tmp_path):
    sweep = shutil.copytree(FIXTURES / "sweep-v0.1", tmp_path / "sweep")
    result = vq("sweep", "--resume", sweep)
    assert result.code == 0, result.err
    assert "2 runs, 2 of them done" in result.out
    assert "1e-3" in (sweep / "sweep.md").read_text()
