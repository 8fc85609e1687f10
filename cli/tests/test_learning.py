"""The default run, shortened: it learns real digits, in flat and in hyperbolic space. Through the API, no command."""

import pytest
import torch
from rich.console import Console

from vq.config.run_config import resolve_config
from vq.runs.folder import RunFolder
from vq.training.distributed import make_accelerator
from vq.training.launch import execute
from vq.training.reporter import Reporter
from vq.training.trainer import Run
from vq_report import plots
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
def test_twelve_epochs_learn_digits(tmp_path, monkeypatch, name):
    monkeypatch.setattr(plots, "save_curves", lambda *_: None)
    monkeypatch.setattr(plots, "save_codebook", lambda *_: None)
    config = resolve_config({"epochs": 12, "device": "cpu", **SETTINGS[name]}, default_registry())
    run = Run(
        config, default_registry(), Reporter(Console(quiet=True)), make_accelerator("cpu", "no")
    )
    status, figures, code = execute(
        run, RunFolder.create(tmp_path / "run", config.title()), [], resumed=False
    )
    assert (status, code) == ("done", 0)
    assert figures["psnr"] > MEAN_IMAGE + 7
    assert figures["perplexity"] > figures["codebook_size"] / 2
    assert figures["steps"] == 12 * 23
    first, *_, last = [line["reconstruction"] for line in run.folder.read_metrics()]
    assert last < first / 3


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
    """Dead codes are replaced in the layer's update, and their moments in the optimizer it is given."""
    given, update = [], VectorQuantizer.update

    def spy(layer, optimizer=None):
        given.append(optimizer)
        update(layer, optimizer)

    monkeypatch.setattr(VectorQuantizer, "update", spy)
    train("--max-steps", 3)
    assert len(given) == 3
    assert all(isinstance(optimizer, torch.optim.AdamW) for optimizer in given)
