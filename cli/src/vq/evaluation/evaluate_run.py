"""All figures of a trained run on its held-out split, with what must be known to compare them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from vq.evaluation.bits import Bits
from vq.evaluation.held_out import evaluate
from vq.evaluation.metric import Figure
from vq.evaluation.perceptual import Fid, Lpips
from vq.evaluation.structural import SMALLEST, Ssim
from vq.models.autoencoder import ModelOutput
from vq.runs.provenance import versions
from vq.runs.trained_run import TrainedRun, load_run
from vqcore.errors import SettingError

SPLIT = "test"


def evaluate_run(
    path: Path, device: str | None = None, *, lpips: Path | None = None, fid: Path | None = None
) -> dict[str, Any]:
    """Evaluate a run's latest checkpoint on its held-out split.

    Args:
        path: the run folder.
        device: instead of the config's.
        lpips, fid: files with the weights of their networks; without one the figure is left out.

    Returns:
        The figures of ``evaluate``, equal to those that the run ended with; ``usage`` (the share of the codes that were
        used) and those of ``Bits``, where the model has codes; those of ``Ssim``, and of ``Lpips`` and ``Fid`` where
        asked for, where samples are pictures. Then ``split``, ``dataset`` (with its options), ``shape`` of a sample,
        ``value_range``, ``checkpoint``, ``versions``, and ``seconds`` that evaluating took.

    Raises:
        SettingError: if the perceptual figures of samples are asked for that are no pictures, or a weights file does
            not fit.
        UsageError: if what they need is not installed.
    """
    run = load_run(path, device)
    split, quality, bits = (
        run.source.split(SPLIT),
        _quality(run, lpips, fid),
        Bits(run.samples.shape),
    )
    began = time.perf_counter()
    with run.model.register_forward_hook(
        _shown([*quality, bits] if run.model.has_codes else quality)
    ):
        found = evaluate(
            run.model, split, run.samples.value_range, run.config.settings.batch_size, run.device
        )
    numbers = {name: found.pop(name) for name in ("psnr", "mse")}
    for figure in quality:
        numbers |= figure.numbers()
    numbers |= found
    if run.model.has_codes:
        numbers["usage"] = found["codes_used"] / (found["codes_used"] + found["dead_codes"])
        numbers |= bits.numbers()
    return {
        **numbers,
        "split": SPLIT,
        "dataset": run.config.components["dataset"].dump(),
        "shape": list(run.samples.shape),
        "value_range": list(run.samples.value_range),
        "checkpoint": run.checkpoint.name,
        "versions": versions("torchmetrics"),
        "seconds": time.perf_counter() - began,
    }


def _quality(run: TrainedRun, lpips: Path | None, fid: Path | None) -> list[Figure]:
    """The figures that pictures have, and those that were asked for."""
    shape, value_range = run.samples.shape, run.samples.value_range
    pictures = len(shape) == 3 and shape[0] in (1, 3)
    for option, weights in (("--lpips", lpips), ("--fid", fid)):
        if weights is not None and not pictures:
            expected = f"a run on pictures; its samples have shape {shape}"
            raise SettingError(option, str(weights), expected, "leave it out")
    figures: list[Figure] = []
    if len(shape) == 3 and min(shape[1:]) >= SMALLEST:
        figures.append(Ssim(shape, value_range, run.device))
    if lpips is not None:
        figures.append(Lpips(lpips, shape, value_range, run.device))
    if fid is not None:
        figures.append(Fid(fid, value_range, run.device))
    return figures


def _shown(figures: list[Figure]) -> Callable[[nn.Module, tuple[Tensor], ModelOutput], None]:
    """A hook on the model's forward: every figure sees the very passes that ``evaluate`` counts."""

    def show(model: nn.Module, inputs: tuple[Tensor], out: ModelOutput) -> None:
        reconstruction = model.to_values(out.reconstruction)
        for figure in figures:
            figure.add(inputs[0], reconstruction, out.bottleneck)

    return show
