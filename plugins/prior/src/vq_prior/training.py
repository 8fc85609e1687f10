"""``prior``: from a run to a prior over its codes, trained, measured and stored."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vq.device import choose_threads
from vq.interrupt import Interrupt
from vq.processes.together import joined, on_main, world
from vq.runs.folder import run_path
from vq.runs.provenance import require_codes
from vq.runs.trained_run import RunLike, TrainedRun, load_together
from vq_prior.early_stopping import train_prior
from vq_prior.metrics import evaluate_prior
from vq_prior.prior_config import FilledPriorConfig, PriorConfig
from vq_prior.prior_folder import build_prior, fits_weights, prior_folder, save_prior
from vq_prior.saved_training import SavedTraining, required, training_folder, unfinished
from vq_prior.sequences import read_sequences
from vq_prior.transformer import CodePrior
from vqcore.errors import SettingError, UsageError
from vqcore.plugin.validation import validate

#: Largest codebook: the prior has a logit for each code.
LARGEST = 2**18
STOPPING = "stopping: the best weights so far are kept; Ctrl-C again stops at once"

logger = logging.getLogger("vq")


@dataclass(frozen=True)
class TrainedPrior:
    """The result of training a prior.

    Attributes:
        folder: where it is stored.
        model: the prior, in eval mode.
        config: its options, with defaults filled in.
        metrics: see ``evaluate_prior``.
        history: an entry for each epoch, see ``train_prior``.
        exit_code: 0, or 128 + the number of the signal that ended training.
    """

    folder: Path
    model: CodePrior
    config: FilledPriorConfig
    metrics: dict[str, float]
    history: list[dict[str, Any]]
    exit_code: int


def prior(
    run: RunLike,
    *,
    overwrite: bool = False,
    resume: bool = False,
    device: str | None = None,
    trust_plugins: bool = False,
    log: Callable[[str], None] = logger.info,
    **options: Any,
) -> TrainedPrior:
    """Train a prior over the codes of a run and store it in RUN/prior.

    Ctrl-C ends training after the current step and keeps the best weights so far. Under a launcher
    every process calls it: they share each batch, and the main one writes.

    Args:
        run: the run folder, or the run.
        overwrite: replace a prior that fits the run's present weights, or begin one again.
        resume: go on with a training that was interrupted or killed, with its own options.
        device: instead of the run's own.
        trust_plugins: see ``vq.load_run``.
        log: receives a line of text about the setup, and one for each epoch.
        options: the fields of ``PriorConfig``, as in ``layers=4, classes=True``.

    Raises:
        SettingError: if an option is invalid, the run has no codes, its codebooks are too large,
            or its data has no labels for ``classes``.
        UsageError: if the run has a prior already, or none to resume.
        RunError: if training diverges or the folder cannot be written.
    """
    requested = validate(PriorConfig, options, "")
    if resume and (overwrite or requested != PriorConfig()):
        others = "leave out all but --device and --trust-plugins"
        raise UsageError(f"--resume continues a prior with its own options: {others}")
    with joined(f"vq prior {run_path(run)} --resume continues"):
        run = load_together(run, device, trust_plugins=trust_plugins)
        require_codes(run)
        size = run.model.codebook_size
        if size > LARGEST:
            expected = f"at most {LARGEST} codes, since a prior has a logit for each"
            raise SettingError("codebook_size", size, expected, "train a grouped quantizer")
        earlier = on_main(lambda: _earlier(run, overwrite=overwrite, resume=resume))
        return _prior(run, earlier or requested, log, resume=resume)


def _earlier(run: TrainedRun, *, overwrite: bool, resume: bool) -> FilledPriorConfig | None:
    """The config of the training to go on with. Refuses to lose a prior, or a part of one."""
    if resume:
        return required(run)
    if not overwrite and unfinished(run):
        existing = f"{training_folder(run)} has a part of a prior for {run.checkpoint.name}"
        raise UsageError(f"{existing}: go on with --resume, or begin again with --overwrite")
    if not overwrite and fits_weights(run):
        existing = f"{prior_folder(run)} has a prior for {run.checkpoint.name}"
        raise UsageError(f"{existing}: to train another, add --overwrite")
    return None


def _prior(
    run: TrainedRun, requested: PriorConfig, log: Callable[[str], None], *, resume: bool
) -> TrainedPrior:
    data = read_sequences(run, requested.classes, requested.seed)
    length = data.train.tokens.shape[1]
    config = requested.filled(len(data.train), length)
    shape = " x ".join(map(str, run.model.index_shape))
    together = f", {world()} processes" if world() > 1 else ""
    log(
        f"{len(data.train)} sequences of {shape} codes ({len(data.validation)} for validation, "
        f"{len(data.test)} held out), codebooks of {run.model.codebook_size}; {config.layers} "
        f"layers of width {config.width}, {config.heads} heads, dropout {config.dropout:g}, "
        f"{run.device}{together}"
    )
    model = build_prior(run, config, data.classes).to(run.device)
    parameters = sum(each.numel() for each in model.parameters())
    choose_threads(run.device, config.batch_size * length, parameters)
    saved = SavedTraining(run, config)
    with Interrupt(lambda: log(STOPPING)) as interrupt:
        history = train_prior(
            model, data.train, data.validation, config, interrupt, log, saved, resume=resume
        )
        metrics = evaluate_prior(model, data.train, data.test, run.samples.shape)
        folder = on_main(lambda: save_prior(run, model, config, metrics, history))
        signal = on_main(lambda: interrupt.number)
        if signal is None:
            saved.discard()
    code = 0 if signal is None else 128 + signal
    return TrainedPrior(folder, model, config, metrics, history, code)
