"""The epochs of training a prior, until those on a validation split bring no progress."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from vq.interrupt import Interrupt
from vq.processes.together import on_main, rank
from vq.progress import working
from vq_prior.metrics import mean_bits
from vq_prior.prior_config import FilledPriorConfig
from vq_prior.saved_training import SavedTraining
from vq_prior.sequences import CodeSequences
from vq_prior.trainer import PriorTrainer
from vq_prior.transformer import CodePrior
from vqcore.errors import RunError


def train_prior(
    prior: CodePrior,
    train: CodeSequences,
    validation: CodeSequences,
    config: FilledPriorConfig,
    interrupt: Interrupt,
    log: Callable[[str], None],
    saved: SavedTraining | None = None,
    *,
    resume: bool = False,
) -> list[dict[str, Any]]:
    """Train in place; the prior ends with the weights that were best on ``validation``.

    A signal, to any process, ends training after the current step; ``interrupt`` has it then on
    all. A loss of NaN or inf is a RunError. ``saved`` is written after each epoch and at a signal,
    and removed once training is over; ``resume`` goes on from it.

    Returns:
        An entry for each epoch: ``epoch``, ``step``, ``lr``, ``train_bits`` (mean over the epoch,
        with dropout), ``aside_bits`` (on ``validation``) and ``seconds``; bits are per token.
    """
    torch.manual_seed(config.seed + rank())
    with working("building the optimizer"):  # torch loads its compiler for the first one
        trainer = PriorTrainer(prior, train, config, interrupt, saved)
    if resume:
        trainer.resume()
    progress = trainer.progress
    while not trainer.is_over and not trainer.signal:
        train_bits = trainer.train_epoch()
        bits = mean_bits(prior, validation)
        if not math.isfinite(train_bits + bits):
            _end_diverged(progress.epoch, config, saved)
        entry = {"epoch": progress.epoch, "step": progress.step, "lr": trainer.rate}
        entry |= {"train_bits": train_bits, "aside_bits": bits, "seconds": trainer.seconds}
        progress.history.append(entry)
        both = f"train {train_bits:.3f}, validation {bits:.3f} bits per token"
        log(f"epoch {progress.epoch}  {both}  {trainer.seconds:.0f} s")
        if bits < progress.best_bits:
            progress.best_bits, progress.best_epoch = bits, progress.epoch
            weights = prior.state_dict()
            progress.best_weights = {name: value.clone() for name, value in weights.items()}
        trainer.end_epoch()
    trainer.close()
    interrupt.number = trainer.signal or interrupt.number
    prior.load_state_dict(progress.best_weights)
    return progress.history


def _end_diverged(epoch: int, config: FilledPriorConfig, saved: SavedTraining | None) -> None:
    """End training in every process; the main one says why."""
    if saved is not None:
        saved.discard()

    def fail() -> None:
        problem = f"the prior's loss is NaN or inf in epoch {epoch}"
        raise RunError(f"{problem}: lower --lr, {config.lr:g} here")

    on_main(fail)
