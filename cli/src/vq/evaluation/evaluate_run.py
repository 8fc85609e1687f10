"""All metrics of a trained run on its held-out split."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from vq.config.merging import shown_names
from vq.evaluation import held_out
from vq.evaluation.bad_samples import bad_samples, describe_bad
from vq.evaluation.bits import Bits
from vq.evaluation.metric import Metric
from vq.evaluation.perceptual import Fid, Lpips
from vq.evaluation.structural import SMALLEST, Ssim
from vq.models.autoencoder import ModelOutput, VQModel
from vq.runs.provenance import versions
from vq.runs.trained_run import RunLike, TrainedRun, load_run
from vqcore.errors import RunError, SettingError

SPLIT: Literal["test"] = "test"


def evaluate(
    run: RunLike,
    device: str | None = None,
    *,
    dataset: Any = None,
    lpips: str | Path | None = None,
    fid: str | Path | None = None,
    trust_plugins: bool = False,
) -> dict[str, Any]:
    """Evaluate a run's latest checkpoint on its held-out split.

    Args:
        run: the run folder, or the run.
        device: instead of the config's.
        dataset: data to use instead of the run's own, see ``load_run``.
        lpips: file with the weights of the network for LPIPS, which is left out without it.
        fid: file with the weights of the network for FID, likewise.
        trust_plugins: see ``load_run``.

    Returns:
        The metrics of ``held_out.evaluate``, equal to those at the end of training. With codes,
        ``usage`` (the share of the codes in use) and those of ``Bits``. For images, those of
        ``Ssim``, and of ``Lpips`` and ``Fid`` where requested. Then ``split``, ``dataset`` (with
        its options), ``shape`` of a sample, ``value_range``, ``checkpoint``, ``versions``, and
        ``seconds`` of the evaluation.

    Raises:
        SettingError: if LPIPS or FID is requested and the samples are not images, or a weights
            file does not fit.
        UsageError: if an extra that a metric needs is not installed.
        RunError: if the error is not finite, naming the samples that are not.
    """
    trained = load_run(run, device, dataset=dataset, trust_plugins=trust_plugins)
    model, samples = trained.model, trained.samples
    split = trained.source.split(SPLIT)
    quality = _quality(trained, lpips, fid)
    bits = Bits(samples.shape)
    seen = [*quality, bits] if model.has_codes else quality
    began = time.perf_counter()
    with model.register_forward_hook(_updating(seen)), trained.float32_products():
        basic = held_out.evaluate(
            model, split, samples.value_range, trained.config.settings.batch_size, trained.device
        )
    if not math.isfinite(basic["mse"]):
        bad = bad_samples(split, trained.config.settings.batch_size, trained.device)
        cause = describe_bad(bad, len(split), "held-out samples") or "the model gives NaN or inf"
        raise RunError(f"{trained.folder.path}: mse is {basic['mse']}: {cause}")
    metrics = {name: basic.pop(name) for name in ("psnr", "mse")}
    for metric in quality:
        metrics |= metric.compute()
    metrics |= basic
    if model.has_codes:
        metrics["usage"] = basic["codes_used"] / (basic["codes_used"] + basic["dead_codes"])
        metrics |= bits.compute()
    return {
        **metrics,
        "split": SPLIT,
        "dataset": shown_names(trained.config.components["dataset"].dump()),
        "shape": list(samples.shape),
        "value_range": list(samples.value_range),
        "checkpoint": trained.checkpoint.name,
        "versions": versions("torchmetrics"),
        "seconds": time.perf_counter() - began,
    }


def _quality(run: TrainedRun, lpips: str | Path | None, fid: str | Path | None) -> Sequence[Metric]:
    """The metrics that images have, and the requested ones."""
    shape, value_range = run.samples.shape, run.samples.value_range
    are_images = len(shape) == 3 and shape[0] in (1, 3)
    for option, weights in (("--lpips", lpips), ("--fid", fid)):
        if weights is not None and not are_images:
            expected = f"a run on images; its samples have shape {shape}"
            raise SettingError(option, str(weights), expected, "leave it out")
    metrics: list[Metric] = []
    if len(shape) == 3 and min(shape[1:]) >= SMALLEST:
        metrics.append(Ssim(shape, value_range, run.device))
    if lpips is not None:
        metrics.append(Lpips(Path(lpips), shape, value_range, run.device))
    if fid is not None:
        metrics.append(Fid(Path(fid), value_range, run.device))
    return metrics


def _updating(metrics: Sequence[Metric]) -> Callable[[VQModel, tuple[Tensor], ModelOutput], None]:
    """A forward hook that updates every metric with the passes that ``held_out.evaluate`` makes."""

    def update(model: VQModel, inputs: tuple[Tensor], out: ModelOutput) -> None:
        reconstruction = model.to_values(out.reconstruction)
        for metric in metrics:
            metric.update(inputs[0], reconstruction, out.bottleneck)

    return update
