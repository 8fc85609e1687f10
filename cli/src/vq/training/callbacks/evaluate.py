"""Evaluation on the held-out split during training."""

from __future__ import annotations

from typing import Any

from vq.evaluation.held_out import evaluate
from vq.training.not_finite import require_finite
from vq.training.trainer import Trainer
from vqcore.distributed import from_first_rank

#: The held-out metrics that metrics.jsonl has, each after ``test_``.
LOGGED = ("psnr", "mse", "perplexity", "codes_used")


def logged_metrics(run: Trainer) -> dict[str, float]:
    """The held-out metrics of a line of metrics.jsonl: every ``eval_every`` steps, else none.

    Every process calls it.

    Raises:
        NotFinite: if the weights exploded, or held-out samples are not finite.
    """
    if not run.is_due(run.settings.eval_every):
        return {}
    metrics = held_out_metrics(run)
    require_finite(run.step, {"test_mse": metrics["mse"]}, held_out=True)
    return {f"test_{name}": metrics[name] for name in LOGGED if name in metrics}


def held_out_metrics(run: Trainer) -> dict[str, Any]:
    """The metrics of ``evaluate``; every process evaluates a share of the held-out split."""
    for buffer in run.model.backbone.buffers():
        from_first_rank(buffer)  # running statistics: those of the main process are saved
    share = (run.accelerator.process_index, run.accelerator.num_processes)
    value_range, batch_size = run.source.value_range, run.settings.batch_size
    return evaluate(run.model, run.test_split, value_range, batch_size, run.device, share)
