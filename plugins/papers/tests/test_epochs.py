"""Runs after their first and their last epoch: what is kept, measured and drawn."""

import numpy as np
import torch

import vq
from vq_papers import epochs
from vq_papers.epochs import FIRST, LAST, SHOWN, callbacks, figures, measured
from vq_papers.one_run import OWN
from vq_papers.results import Results, RowResult, RunResult

SMALL = {
    "dataset": "digits", "backbone.hidden": 4, "dim": 4, "codebook_size": 8, "batch_size": 240,
    "epochs": 2, "eval_every": 3, "log_every": 3, "sample_every": 100,
    "checkpoint_every": 100, "device": "cpu",
}  # fmt: skip


def test_both_ends_are_kept_measured_and_drawn(tmp_path, monkeypatch):
    """An epoch has 6 steps, and the evaluation at its end counts."""
    monkeypatch.setattr(epochs, "evaluated", lambda run: run.metrics)  # without its imports
    path = tmp_path / "runs" / "a"
    run = vq.train(preset="vq-vae", settings=SMALL, run_dir=path, callbacks=callbacks())
    numbers = measured(run)
    first = next(line for line in run.history if line["step"] == 6)
    for name in ("psnr", "loss", "perplexity"):
        assert numbers[f"first_{name}"] == first[f"test_{name}"]
        assert numbers[name] == run.metrics[name] != numbers[f"first_{name}"]
    early, late = (np.load(path / OWN / name) for name in (FIRST, LAST))
    assert early.shape == (SHOWN, 8, 8, 3)
    assert late.shape == (2 * SHOWN, 8, 8, 3)
    batch = next(run.source.split("test").batches([torch.tensor([0])], run.device))
    pixels = np.round((batch[0, 0].numpy() + 1) * 127.5)
    assert np.array_equal(late[0], np.stack(3 * [pixels], -1))
    done = RowResult("VQ-VAE", {}, {}, [RunResult(0, "runs/a", numbers, 1.0)])
    figures(Results("vq-vae", "quick", "", {}, [done, RowResult("none yet", {}, {})]), tmp_path)
    for name in ("curves.png", "reconstructions.png"):
        assert (tmp_path / name).stat().st_size > 5000
