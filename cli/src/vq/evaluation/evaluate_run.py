"""All metrics of a trained run on its held-out split."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from vq.checkpoints.step_names import step_of
from vq.config.merging import shown_names
from vq.data.labels import labelled
from vq.data.mixture import MixedSplit
from vq.data.skipping import log_stand_ins, unreadable
from vq.evaluation import held_out
from vq.evaluation.bad_samples import bad_samples, describe_bad
from vq.evaluation.baselines import Baselines
from vq.evaluation.bits import Bits
from vq.evaluation.held_out_losses import HeldOutLosses
from vq.evaluation.metric import Metric
from vq.evaluation.per_source import PerSource
from vq.evaluation.perceptual import perceptual_metrics
from vq.evaluation.structural import SMALLEST, Ssim
from vq.evaluation.tree_score import tree_metrics
from vq.models.losses import build_losses, untrained
from vq.processes.together import agreed, gathered, joined, main_first, on_main, rank, world
from vq.progress import working
from vq.runs.provenance import versions
from vq.runs.trained_run import RunLike, TrainedRun, load_together
from vqcore.errors import RunError, VQError
from vqcore.interfaces.dataset import Split

_log = logging.getLogger(__name__)
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
        The metrics of ``held_out.evaluate`` and ``HeldOutLosses``, equal to those at the end of
        training. With codes, ``usage`` (the share of the codes in use) and those of ``Bits``. For
        data that squared error compares, those of ``Baselines``. For images, those of ``Ssim``, and
        of ``Lpips`` and ``Fid`` where requested; for a mixture, those of ``PerSource``; for data
        with a tree, those of ``tree_metrics``. A classifier has ``accuracy`` and ``cross_entropy``
        in place of what compares samples. Then ``split``, ``dataset`` (with its options),
        ``shape`` of a sample, ``value_range``, ``checkpoint``, ``weights`` (``averaged`` with
        ``weight_ema``, else ``trained``), ``versions``, and ``seconds`` of the evaluation.

    Raises:
        SettingError: if LPIPS or FID is requested and the model reconstructs no images, or a
            weights file does not fit; or if a classifier gets data without its labels.
        UsageError: if an extra that a metric needs is not installed.
        RunError: if the error is not finite, naming the samples that are not.
    """
    with joined():
        trained = load_together(run, device, dataset=dataset, trust_plugins=trust_plugins)
        with working("reading the data"):
            split = main_first(lambda: trained.source.split(SPLIT))
        with working("loading the metrics"):  # imports torchmetrics
            quality = agreed(lambda: _quality(trained, lpips, fid))
        if trained.model.classifies:
            split = labelled(split, trained.config, trained.source, trained.samples)
        else:
            quality = [*quality, *_baselines(trained)]
        if isinstance(split, MixedSplit) and not trained.model.classifies:
            quality = [PerSource(split, trained.samples.value_range), *quality]
        return _evaluate(trained, split, quality)


def _evaluate(trained: TrainedRun, split: Split, quality: Sequence[Metric]) -> dict[str, Any]:
    """The metrics of ``quality`` and those that every run has, in the order they are shown."""
    model, samples, device = trained.model, trained.samples, trained.device
    bits, losses = Bits(samples.shape), _losses(trained)
    seen = [*quality, losses, *([bits] if model.has_codes else [])]
    began = time.perf_counter()
    size, share = trained.config.settings.batch_size, (rank(), world())
    with trained.float32_products():
        basic = held_out.evaluate(
            model, split, samples.value_range, size, device, share, metrics=seen
        )
    log_stand_ins(unreadable(split), len(split))
    for name in held_out.ERRORS & basic.keys():
        if not math.isfinite(basic[name]):
            on_main(partial(_fail, trained, split, f"{name} is {basic[name]}"))
    metrics = {name: basic.pop(name) for name in held_out.QUALITY if name in basic}
    with working("computing the metrics"):
        for metric in quality:
            metrics |= metric.compute()
    metrics |= basic | losses.compute()
    with trained.float32_products(), working("scoring the tree"):
        metrics |= tree_metrics(model, trained.source, split, size, device)
    if model.has_codes:
        metrics["usage"] = basic["codes_used"] / (basic["codes_used"] + basic["dead_codes"])
        metrics |= bits.compute()
    return {**metrics, **_evaluated(trained), "seconds": time.perf_counter() - began}


def _evaluated(run: TrainedRun) -> dict[str, Any]:
    """What was evaluated, and by which software."""
    return {
        "split": SPLIT,
        "dataset": shown_names(run.config.components["dataset"].dump()),
        "shape": list(run.samples.shape),
        "value_range": list(run.samples.value_range),
        "checkpoint": run.checkpoint.name,
        "weights": "averaged" if run.config.settings.weight_ema else "trained",
        "versions": versions("torchmetrics"),
    }


def _fail(run: TrainedRun, split: Split, found: str) -> None:
    """Say why the error is not finite."""
    bad = bad_samples(split, run.config.settings.batch_size, run.device)
    cause = describe_bad(bad, len(split), "held-out samples") or "the model gives NaN or inf"
    raise RunError(f"{run.folder.path}: {found}: {cause}")


def _losses(run: TrainedRun) -> HeldOutLosses:
    """The terms of the run's loss; without its losses where one is not available here."""
    device, losses = run.device, None
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        try:
            losses = untrained(build_losses(run.config, run.registry, run.samples))
        except VQError as error:  # a file of weights, or a plugin
            _log.warning("loss and reconstruction are left out: %s", error)
    if run.model.classifies or not all(gathered(losses is not None)):
        losses = None
    for loss in (losses or {}).values():
        loss.to(device)
    step = step_of(run.checkpoint.name) or 0
    return HeldOutLosses(losses, run.samples.value_range, step, device)


def _baselines(run: TrainedRun) -> list[Metric]:
    """``Baselines`` for data that squared error compares, if its training samples are there."""

    def read() -> Baselines | None:
        batch_size, share = run.config.settings.batch_size, (rank(), world())
        try:
            train = run.source.split("train")
            return Baselines(train, run.samples.shape, batch_size, run.device, share)
        except VQError as error:
            _log.warning("normalized_mse is left out: %s", error)
            return None

    if run.source.likelihood == "bernoulli":
        return []
    found = main_first(read)
    everywhere = all(gathered(found is not None))
    return [found] if found and everywhere else []


def _quality(run: TrainedRun, lpips: str | Path | None, fid: str | Path | None) -> Sequence[Metric]:
    """The metrics that reconstructed images have, and the requested ones."""
    shape, value_range = run.samples.shape, run.samples.value_range
    weights = {"--lpips": lpips, "--fid": fid}
    perceptual = perceptual_metrics(weights, run.samples, run.device)
    if not run.model.classifies and len(shape) == 3 and min(shape[1:]) >= SMALLEST:
        return [Ssim(shape, value_range, run.device), *perceptual]
    return perceptual
