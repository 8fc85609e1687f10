"""The default run, shortened: it learns real digits, in flat and in hyperbolic space."""

import json

import pytest
import torch

from vq.config.resolved_config import resolve_config
from vq.training.launch import launch
from vqcore import VectorQuantizer
from vqcore.plugin.registry import default_registry

TOTALS = """
@hookimpl
def vq_metrics(batch):
    return {"total": batch.double().sum().item(), "count": batch.shape[0]}
"""
MEAN_IMAGE = 11.4  # dB: every held-out digit answered with the mean of the training digits
SETTINGS = {
    "default": {},
    "poincare-homology": {"manifold": "poincare", "regularizers": ["homology"]},
    "ema": {"quantizer": "ema"},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_twelve_epochs_learn_digits(tmp_path, capfd, without_plots, name):
    config = resolve_config({"epochs": 12, "device": "cpu", **SETTINGS[name]}, default_registry())
    run = launch(config, default_registry(), run_dir=tmp_path / "run")
    assert (run.status, run.signal) == ("done", None)
    assert run.metrics == json.loads(run.folder.summary.read_text())
    assert run.metrics["psnr"] > MEAN_IMAGE + 7
    assert run.metrics["perplexity"] > run.metrics["codebook_size"] / 2
    assert run.metrics["steps"] == 12 * 23
    assert not run.model.training
    first, *_, last = [line["reconstruction"] for line in run.folder.read_metrics()]
    assert last < first / 3
    assert capfd.readouterr().out == ""
    log = run.folder.log.read_text()
    assert "1438 samples of 1 x 8 x 8 (359 held out)" in log
    assert f"run folder: {run.folder.path}" in log


def test_a_pass_sees_every_sample_once_in_an_order_of_its_own(train, plugin_file):
    path = plugin_file("a_counter", TOTALS)
    run = train("--plugin-file", path, "--batch-size", 500, "--epochs", 3, "--set", "log_every=1")
    assert [line["epoch"] for line in run.metrics] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert [line["count"] for line in run.metrics] == [500, 500, 438] * 3
    totals = [
        [line["total"] for line in run.metrics if line["epoch"] == epoch] for epoch in range(3)
    ]
    assert sum(totals[0]) == pytest.approx(sum(totals[1])) == pytest.approx(sum(totals[2]))
    assert len({first for first, _, _ in totals}) == 3


def test_a_step_updates_the_codebook_with_the_optimizer_at_hand(train, monkeypatch):
    """The update replaces dead codes, and their moments in the optimizer that it receives."""
    given, update = [], VectorQuantizer.update

    def spy(layer, optimizer=None):
        given.append(optimizer)
        update(layer, optimizer)

    monkeypatch.setattr(VectorQuantizer, "update", spy)
    train("--max-steps", 3)
    assert len(given) == 3
    assert all(isinstance(optimizer, torch.optim.AdamW) for optimizer in given)
