"""``prior``: trains a prior over the codes of a run, with early stopping on a validation split."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vq.device import choose_threads
from vq.interrupt import Interrupt
from vq.runs.provenance import require_codes
from vq.runs.trained_run import RunLike, load_run
from vq_prior.metrics import evaluate_prior, mean_bits
from vq_prior.prior_config import FilledPriorConfig, PriorConfig
from vq_prior.prior_folder import build_prior, fits_weights, prior_folder, save_prior
from vq_prior.sequences import CodeSequences, read_sequences
from vq_prior.transformer import CodePrior
from vqcore.errors import RunError, SettingError, UsageError
from vqcore.numerics import counter_rng
from vqcore.plugin.registry import validate

#: Largest codebook: the prior has a logit for each code.
LARGEST = 2**18

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
    device: str | None = None,
    trust_plugins: bool = False,
    log: Callable[[str], None] = logger.info,
    **options: Any,
) -> TrainedPrior:
    """Train a prior over the codes of a run and store it in RUN/prior.

    Ctrl-C ends training after the current step and keeps the best weights so far.

    Args:
        run: the run folder, or the run.
        overwrite: replace a prior that fits the run's present weights.
        device: instead of the run's own.
        trust_plugins: see ``vq.load_run``.
        log: receives a line of text about the setup, and one for each epoch.
        options: the fields of ``PriorConfig``, as in ``layers=4, classes=True``.

    Raises:
        SettingError: if an option is invalid, the run has no codes, its codebooks are too large,
            or its data has no labels for ``classes``.
        UsageError: if the run has a prior already.
        RunError: if training diverges or the folder cannot be written.
    """
    requested = validate(PriorConfig, options, "")
    run = load_run(run, device, trust_plugins=trust_plugins)
    require_codes(run)
    size = run.model.codebook_size
    if size > LARGEST:
        expected = f"at most {LARGEST} codes, since a prior has a logit for each"
        raise SettingError("codebook_size", size, expected, "train a grouped quantizer")
    if not overwrite and fits_weights(run):
        existing = f"{prior_folder(run)} has a prior for {run.checkpoint.name}"
        raise UsageError(f"{existing}: to train another, add --overwrite")
    data = read_sequences(run, requested.classes, requested.seed)
    length = data.train.tokens.shape[1]
    config = requested.filled(len(data.train), length)
    shape = " x ".join(map(str, run.model.index_shape))
    log(
        f"{len(data.train)} sequences of {shape} codes ({len(data.validation)} for validation, "
        f"{len(data.test)} held out), codebooks of {size}; {config.layers} layers of width "
        f"{config.width}, {config.heads} heads, dropout {config.dropout:g}, {run.device}"
    )
    model = build_prior(run, config, data.classes).to(run.device)
    parameters = sum(each.numel() for each in model.parameters())
    choose_threads(run.device, config.batch_size * length, parameters)
    with Interrupt() as interrupt:
        history = train_prior(model, data.train, data.validation, config, interrupt, log)
        metrics = evaluate_prior(model, data.train, data.test, run.samples.shape)
        folder = save_prior(run, model, config, metrics, history)
    code = 0 if interrupt.number is None else 128 + interrupt.number
    return TrainedPrior(folder, model, config, metrics, history, code)


def train_prior(
    prior: CodePrior,
    train: CodeSequences,
    validation: CodeSequences,
    config: FilledPriorConfig,
    interrupt: Interrupt,
    log: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Train in place; the prior ends with the weights that were best on ``validation``.

    A signal ends training after the current step. A loss of NaN or inf is a RunError.

    Returns:
        An entry for each epoch: ``epoch``, ``step``, ``lr``, ``train_bits`` (mean over the epoch,
        with dropout), ``aside_bits`` (on ``validation``) and ``seconds``; bits are per token.
    """
    torch.manual_seed(config.seed)
    trainer = _PriorTrainer(prior, train, config)
    history: list[dict[str, Any]] = []
    best_bits, best_epoch = math.inf, 0
    best_weights: dict[str, Tensor] = {}
    began = time.perf_counter()
    for epoch in range(config.epochs):
        train_bits = trainer.train_epoch(epoch, interrupt)
        bits = mean_bits(prior, validation)
        seconds = time.perf_counter() - began
        if not math.isfinite(train_bits + bits):
            problem = f"the prior's loss is NaN or inf in epoch {epoch}"
            raise RunError(f"{problem}: lower --lr, {config.lr:g} here")
        entry = {"epoch": epoch, "step": trainer.step, "lr": trainer.rate}
        entry |= {"train_bits": train_bits, "aside_bits": bits, "seconds": seconds}
        history.append(entry)
        both = f"train {train_bits:.3f}, validation {bits:.3f} bits per token"
        log(f"epoch {epoch}  {both}  {seconds:.0f} s")
        if bits < best_bits:
            best_bits, best_epoch = bits, epoch
            best_weights = {name: value.clone() for name, value in prior.state_dict().items()}
        if interrupt.number is not None or epoch - best_epoch >= config.patience:
            break
    prior.load_state_dict(best_weights)
    return history


class _PriorTrainer:
    """AdamW steps over the training sequences, in an order that the seed decides."""

    def __init__(self, prior: CodePrior, train: CodeSequences, config: FilledPriorConfig) -> None:
        self.prior, self.train, self.config = prior, train, config
        self.total = config.epochs * math.ceil(len(train) / config.batch_size)
        self.step = 0
        self.device = train.tokens.device
        decayed: list[Tensor] = []  # the matrices of blocks; not biases, norms or embeddings
        others: list[Tensor] = []
        for name, value in prior.named_parameters():
            (decayed if value.ndim == 2 and name.startswith("blocks") else others).append(value)
        groups: list[dict[str, Any]] = [
            {"params": decayed},
            {"params": others, "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(
            groups, lr=config.lr, betas=(0.9, 0.95), weight_decay=config.weight_decay, fused=True
        )

    @property
    def rate(self) -> float:
        """Learning rate of this step: linear warm-up over 5 % of them, cosine decay to 10 %."""
        warm = min(1.0, (self.step + 1) / (self.total / 20))
        return self.config.lr * warm * (0.55 + 0.45 * math.cos(math.pi * self.step / self.total))

    def train_epoch(self, epoch: int, interrupt: Interrupt) -> float:
        """One epoch, or the part of it before a signal; returns the mean bits per token."""
        self.prior.train()
        key = counter_rng.key_of(self.config.seed, epoch)
        order = counter_rng.permutation(key, len(self.train), device=self.device)
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        count = 0
        for rows in order.split(self.config.batch_size):
            total += self._train_step(*self.train.select(rows)).double() * len(rows)
            count += len(rows)
            if interrupt.number is not None:
                break
        return float(total) / count

    def _train_step(self, tokens: Tensor, labels: Tensor | None) -> Tensor:
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate
        kind = self.device.type
        with torch.autocast(kind, dtype=torch.bfloat16, enabled=kind == "cuda"):
            loss = self.prior.bits(tokens, labels).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.prior.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        return loss.detach()
