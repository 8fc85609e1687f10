"""Metrics beyond metrics.jsonl: TensorBoard, W&B, and errors for missing trackers."""

import errno
import io
import os
import sys

import pytest
from accelerate.tracking import TensorBoardTracker
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from vq.training.callbacks import trackers


def events(run):
    """The scalars that TensorBoard would show: name -> [(step, value)]."""
    folder = EventAccumulator(str(run.path / "tensorboard"))
    folder.Reload()
    names = folder.Tags()["scalars"]
    return {name: [(event.step, event.value) for event in folder.Scalars(name)] for name in names}


def test_tensorboard_shows_the_lines_of_metrics(train, resume):
    run = resume(
        train("--max-steps", 8, "--set", "trackers=[tensorboard]", "--set", "log_every=2"),
        "--max-steps",
        12,
    )
    seen = events(run)
    assert [step for step, _ in seen["loss"]] == run.steps == [2, 4, 6, 8, 10, 12]
    for name, points in seen.items():
        assert points == [
            (line["step"], pytest.approx(line[name], rel=1e-6))
            for line in run.metrics
            if name in line
        ]
    assert {
        "loss",
        "perplexity",
        "grad_norm",
        "lr",
        "test_psnr",
        "images_per_second",
    } <= seen.keys()


def test_tensorboard_shows_the_pictures(train, resume):
    every = ("--set", "sample_every=3", "--set", "trackers=[tensorboard]")
    run = resume(train("--max-steps", 8, *every), "--max-steps", 12)
    folder = EventAccumulator(str(run.path / "tensorboard"), size_guidance={"images": 0})
    folder.Reload()
    shown = {event.step: event.encoded_image_string for event in folder.Images("samples")}
    assert sorted(shown) == [3, 6, 8, 9, 12]
    for step, content in shown.items():
        drawn = Image.open(run.path / "samples" / f"step-{step:08d}.png").convert("RGB")
        assert Image.open(io.BytesIO(content)).tobytes() == drawn.tobytes()


def test_a_tracker_that_cannot_write_fails_the_run_by_name(train, monkeypatch):
    def full(*_args, **_options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(TensorBoardTracker, "log", full)
    monkeypatch.setattr(TensorBoardTracker, "finish", full)
    run = train("--set", "trackers=[tensorboard]", code=1)
    assert f"{run.path} cannot be written: No space left on device" in run.result.err
    assert run.json("status")["status"] == "failed"


def test_a_tracker_that_accelerate_does_not_know(vq):
    result = vq("train", "--set", "trackers=[tensorbord]")
    assert result.code == 2
    assert "trackers = 'tensorbord': expected did you mean 'tensorboard'?" in result.err


def test_a_tracker_that_is_not_installed(vq, monkeypatch):
    monkeypatch.setattr(trackers, "get_available_trackers", list)
    result = vq("train", "--set", "trackers=[wandb]")
    assert result.code == 3
    assert "trackers: 'wandb' is not installed; pip install 'vq-cli[wandb]'" in result.err


def test_wandb_is_given_the_config_and_every_line(train, monkeypatch):
    """With a stand-in for its package, which needs an account; the calls are compared."""
    calls = []

    class Wandb:
        class config:
            @staticmethod
            def update(values, allow_val_change):
                calls.append(("config", values))

        @staticmethod
        def init(**options):
            calls.append(("init", options))
            return Wandb

        @staticmethod
        def log(values, step):
            calls.append(("picture" if "samples" in values else "log", step))

        class Image:
            def __init__(self, picture):
                assert picture.shape[2] == 3

        @staticmethod
        def finish():
            calls.append(("finish", None))

    monkeypatch.setitem(sys.modules, "wandb", Wandb)
    monkeypatch.setattr("vq.training.launch.check_trackers", lambda names: None)
    run = train("--set", "trackers=[wandb]", "--set", "sample_every=3", "--max-steps", 8)
    kinds = [kind for kind, _ in calls]
    assert kinds == ["init", "config", "picture", "log", "picture", "picture", "log", "finish"]
    assert calls[0][1]["project"] == "vq"
    assert calls[0][1]["name"] == run.path.name
    kept = (run.path / "wandb-id").read_text().strip()
    assert calls[0][1]["id"] == kept != run.path.name  # another folder may have the same name
    assert calls[1][1]["quantizer.commitment_weight"] == 0.25
    assert [step for kind, step in calls if kind == "log"] == [4, 8]
    assert [step for kind, step in calls if kind == "picture"] == [3, 6, 8]
