"""Evaluation on the held-out split during training."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

from vq.evaluation.held_out import ERRORS, evaluate
from vq.evaluation.held_out_losses import HeldOutLosses
from vq.processes.together import on_main
from vq.training.not_finite import require_finite
from vq.training.trainer import Trainer
from vqcore.distributed import from_first_rank

#: The held-out metrics that metrics.jsonl leaves out; it has the others, each after ``test_``.
UNLOGGED = ("dead_codes", "quantization_error", "codebook_size", "codebooks", "samples")


def logged_metrics(run: Trainer) -> dict[str, float]:
    """The held-out metrics of a line of metrics.jsonl: every ``eval_every`` steps, else none.

    They are of ``eval_samples`` samples, at the end of the run of all. Every process calls it.

    Raises:
        NotFinite: if the weights exploded, or held-out samples are not finite.
    """
    if not run.is_due(run.settings.eval_every):
        return {}
    at_end = run.step == run.total_steps
    metrics = held_out_metrics(run, None if at_end else run.settings.eval_samples)
    errors = {f"test_{name}": metrics[name] for name in ERRORS & metrics.keys()}
    require_finite(run.step, errors, held_out=True)
    return {f"test_{name}": each for name, each in metrics.items() if name not in UNLOGGED}


def held_out_metrics(run: Trainer, samples: int | None = None) -> dict[str, Any]:
    """The metrics of ``evaluate`` and ``HeldOutLosses``, LPIPS and FID if the config asks for it.

    Every process evaluates a share of the held-out split. Weights that were just evaluated are not
    evaluated again.
    """
    if samples is None and run.last_evaluation and on_main(lambda: _unchanged(run)):
        return dict(run.last_evaluation[1])
    model = run.evaluated
    for buffer in model.backbone.buffers():
        from_first_rank(buffer)  # running statistics: those of the main process are saved
    share = (run.accelerator.process_index, run.accelerator.num_processes)
    value_range, batch_size = run.source.value_range, run.settings.batch_size
    compared = None if model.classifies else run.objective.compared  # cross_entropy is there
    losses = HeldOutLosses(compared, value_range, run.step, run.device)
    added = (losses, *run.perceptual)
    metrics = evaluate(
        model, run.test_split, value_range, batch_size, run.device, share, samples, added
    )
    for metric in added:
        metrics |= {
            name: each for name, each in metric.compute().items() if name != "lpips_network"
        }
    if samples is None:
        run.last_evaluation = _state(run), dict(metrics)
    return metrics


def _unchanged(run: Trainer) -> bool:
    """Whether the weights are those that were evaluated last."""
    last = run.last_evaluation
    return last is not None and all(map(torch.equal, last[0], _state(run)))


def _state(run: Trainer) -> tuple[Tensor, Tensor]:
    """What differs between different weights: how often each tensor was changed, and its norm.

    Changes by ``tensor.data`` are not counted.
    """
    tensors = [*run.evaluated.parameters(), *run.evaluated.buffers()]
    floats = [each.detach() for each in tensors if each.is_floating_point()]
    return torch.tensor([each._version for each in tensors]), get_total_norm(floats)
