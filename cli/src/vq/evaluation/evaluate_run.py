"""All metrics of a trained run on its held-out split."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from vq.config.merging import shown_names
from vq.data.mixture import MixedSplit
from vq.data.skipping import log_stand_ins, unreadable
from vq.evaluation import held_out
from vq.evaluation.bad_samples import bad_samples, describe_bad
from vq.evaluation.bits import Bits
from vq.evaluation.metric import Metric
from vq.evaluation.per_source import PerSource
from vq.evaluation.perceptual import perceptual_metrics
from vq.evaluation.structural import SMALLEST, Ssim
from vq.processes.together import agreed, joined, main_first, on_main, rank, world
from vq.progress import working
from vq.runs.provenance import versions
from vq.runs.trained_run import RunLike, TrainedRun, load_together
from vqcore.errors import RunError
from vqcore.interfaces.dataset import Split

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

    Under a launcher every process calls it, evaluates its share and returns the same.

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
        ``Ssim``, and of ``Lpips`` and ``Fid`` where requested; for a mixture, those of
        ``PerSource``. Then ``split``, ``dataset`` (with its options), ``shape`` of a sample,
        ``value_range``, ``checkpoint``, ``weights`` (``averaged`` with ``weight_ema``, else
        ``trained``), ``versions``, and ``seconds`` of the evaluation.

    Raises:
        SettingError: if LPIPS or FID is requested and the samples are not images, or a weights
            file does not fit.
        UsageError: if an extra that a metric needs is not installed.
        RunError: if the error is not finite, naming the samples that are not.
    """
    with joined():
        trained = load_together(run, device, dataset=dataset, trust_plugins=trust_plugins)
        with working("reading the data"):
            split = main_first(lambda: trained.source.split(SPLIT))
        with working("loading the metrics"):  # imports torchmetrics
            quality = agreed(lambda: _quality(trained, lpips, fid))
        if isinstance(split, MixedSplit):
            quality = [PerSource(split, trained.samples.value_range), *quality]
        return _evaluate(trained, split, quality)


def _evaluate(trained: TrainedRun, split: Split, quality: Sequence[Metric]) -> dict[str, Any]:
    model, samples = trained.model, trained.samples
    bits = Bits(samples.shape)
    seen = [*quality, bits] if model.has_codes else quality
    began = time.perf_counter()
    batch_size = trained.config.settings.batch_size
    with trained.float32_products():
        basic = held_out.evaluate(
            model,
            split,
            samples.value_range,
            batch_size,
            trained.device,
            (rank(), world()),
            metrics=seen,
        )
    log_stand_ins(unreadable(split), len(split))
    if not math.isfinite(basic["mse"]):
        on_main(lambda: _fail(trained, split, basic["mse"]))
    metrics = {name: basic.pop(name) for name in ("psnr", "mse")}
    with working("computing the metrics"):
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
        "weights": "averaged" if trained.config.settings.weight_ema else "trained",
        "versions": versions("torchmetrics"),
        "seconds": time.perf_counter() - began,
    }


def _fail(run: TrainedRun, split: Split, mse: float) -> None:
    """Say why the error is not finite."""
    bad = bad_samples(split, run.config.settings.batch_size, run.device)
    cause = describe_bad(bad, len(split), "held-out samples") or "the model gives NaN or inf"
    raise RunError(f"{run.folder.path}: mse is {mse}: {cause}")


def _quality(run: TrainedRun, lpips: str | Path | None, fid: str | Path | None) -> Sequence[Metric]:
    """The metrics that images have, and the requested ones."""
    shape, value_range = run.samples.shape, run.samples.value_range
    weights = {"--lpips": lpips, "--fid": fid}
    perceptual = perceptual_metrics(weights, shape, value_range, run.device)
    if len(shape) == 3 and min(shape[1:]) >= SMALLEST:
        return [Ssim(shape, value_range, run.device), *perceptual]
    return perceptual
