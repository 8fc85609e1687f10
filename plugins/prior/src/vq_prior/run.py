"""``vq prior``: from a trained run to a prior in its folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vq.device import choose_threads
from vq.interrupt import Interrupt
from vq.runs.provenance import require_codes
from vq.runs.trained_run import TrainedRun
from vq.tokens.codes import books_of
from vq_prior.codes import read_codes
from vq_prior.files import build_prior, check_replaceable, save_prior
from vq_prior.prior_config import PriorConfig
from vq_prior.train import judge, train_prior
from vqcore.errors import SettingError

#: Codes of a codebook that a table of probabilities can have.
LARGEST = 2**18


@dataclass(frozen=True)
class TrainedPrior:
    """What training a prior gave.

    Attributes:
        folder: where it is.
        config: filled.
        figures: see ``judge``.
        lines: of metrics.jsonl.
        exit_code: 0, or that of the signal that ended training.
    """

    folder: Path
    config: PriorConfig
    figures: dict[str, float]
    lines: list[dict[str, Any]]
    exit_code: int


def make_prior(
    run: TrainedRun,
    config: PriorConfig,
    *,
    overwrite: bool = False,
    say: Callable[[str], None] = lambda text: None,
    report: Callable[[dict[str, Any]], None] = lambda line: None,
) -> TrainedPrior:
    """Train a prior over the codes of a run and keep it in RUN/prior.

    Args:
        run: the trained run.
        config: what was asked for; the rest is decided by the data.
        overwrite: train over a prior that is still of use.
        say: told what is being done.
        report: called with each line of metrics.jsonl.

    Raises:
        SettingError, UsageError: if the run has no codes, too large codebooks, no labels though classes are asked
            for, or a prior already.
        RunError: if training fails, or the folder cannot be written.
    """
    require_codes(run)
    if run.model.codebook_size > LARGEST:
        expected = (
            f"at most {LARGEST} codes in a codebook, which a prior has a probability for each of"
        )
        raise SettingError(
            "codebook_size", run.model.codebook_size, expected, "train a grouped quantizer"
        )
    check_replaceable(run, overwrite)
    data = read_codes(run, config.classes, config.seed)
    books = books_of(run.model)
    config = config.filled(len(data.train), len(books))
    say(_headline(run, config, len(data.train), len(data.aside), len(data.test)))
    train, aside, test = (each.to(run.device) for each in (data.train, data.aside, data.test))
    prior = build_prior(run, config, data.classes).to(run.device)
    choose_threads(
        run.device, config.batch_size * len(books), sum(each.numel() for each in prior.parameters())
    )
    with Interrupt() as interrupt:
        lines = train_prior(prior, train, aside, config, interrupt, report)
        figures = judge(prior, train, test, books, run.samples.shape)
        folder = save_prior(run, prior, config, figures, lines)
    code = interrupt.exit_code if interrupt.number is not None else 0
    return TrainedPrior(folder, config, figures, lines, code)


def _headline(run: TrainedRun, config: PriorConfig, train: int, aside: int, test: int) -> str:
    shape = " x ".join(map(str, run.model.index_shape))
    return (
        f"{train} sequences of {shape} codes ({aside} set aside, {test} held out), {run.model.codebook_size} codes; "
        f"{config.layers} layers of width {config.width}, {config.heads} heads, dropout {config.dropout:g}, "
        f"at most {config.epochs} epochs, {run.device}"
    )
