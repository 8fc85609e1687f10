"""Runs in double precision: what is float64, and what they write."""

import numpy as np
import pytest
import torch
from safetensors.torch import load as from_safetensors

import vq as api
from vq.device import choose_device
from vqcore.errors import SettingError, UsageError


def test_a_run_in_float64_is_in_float64_throughout(train, vq, tmp_path):
    far = ("--manifold", "poincare", "--set", "manifold.max_radius=6")  # float32 has no such points
    run = train("--precision", "float64", *far, "--quantizer", "ema")
    kinds = {tensor.dtype for tensor in from_safetensors(run.weights).values()}
    assert kinds == {torch.float64, torch.int64}
    state = torch.load(run.checkpoint / "trainer.pt", weights_only=True)
    moments = [each["exp_avg"] for each in state["optimizer"]["state"].values()]
    assert {each.dtype for each in moments} == {torch.float64}

    model = api.load(run.path)
    samples = torch.rand(3, *model.sample_shape) * 2 - 1
    indices = model.encode(samples)
    assert torch.equal(indices, model.encode(samples.double()))
    assert model.decode(indices).dtype == model.reconstruct(samples).dtype == torch.float64
    assert api.evaluate(run.path)["mse"] == run.json("summary")["mse"]

    for command in (
        ("encode", run.path, "test", "-o", tmp_path / "tokens"),
        ("decode", run.path, tmp_path / "tokens", "-o", tmp_path / "decoded.npy"),
        ("export", run.path, "-o", tmp_path / "programs"),
    ):
        result = vq(*command)
        assert result.code == 0, result
    assert np.load(tmp_path / "decoded.npy").dtype == np.float32
    encode = torch.export.load(tmp_path / "programs" / "encoder.pt2").module()
    decode = torch.export.load(tmp_path / "programs" / "decoder.pt2").module()
    assert torch.equal(encode(samples), indices)
    assert torch.equal(decode(indices), model.decode(indices).float())


@pytest.mark.usefixtures("without_plots")
def test_every_term_is_in_float64(tmp_path):
    seen = {}

    class Terms:
        def vq_step_end(self, run, step, losses):
            seen.update({name: each.dtype for name, each in losses.items()})

    api.train(
        dataset="digits", precision="float64", losses=["mse", "l1", "ssim"], device="cpu",
        regularizers=["isometry", "entropy"], max_steps=2, batch_size=16, codebook_size=8,
        run_dir=tmp_path / "run", callbacks=[Terms()],
        settings={"backbone.hidden": 4, "backbone.residual_blocks": 0},
    )  # fmt: skip
    assert {"mse", "l1", "ssim", "isometry", "entropy", "commitment"} <= seen.keys()
    assert set(seen.values()) == {torch.float64}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"max_radius": 6.2}, "at most 6.1 in float64 at curvature 1; lower it"),
        ({"max_radius": 3.1, "curvature": 4.0}, "at most 3.05 in float64 at curvature 4; lower it"),
    ],
)
def test_what_float64_does_not_reach_is_refused(options, expected):
    with pytest.raises(UsageError, match=f"expected {expected}"):
        api.train(precision="float64", manifold={"name": "poincare", **options})


def test_a_device_without_float64_is_refused_by_name():
    with pytest.raises(SettingError, match=r"device = 'mps': .* mps has no float64"):
        choose_device("mps")
