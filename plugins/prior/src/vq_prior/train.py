"""Training a prior over a run's codes: passes over them until the codes set aside are predicted no better."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from vq.interrupt import Interrupt
from vq_prior.codes import Sequences
from vq_prior.model import CodePrior
from vq_prior.prior_config import PriorConfig
from vqcore.errors import RunError
from vqcore.numerics import counter_rng

Line = dict[str, Any]
#: Sequences that are judged at a time, of so many probabilities at most, and of the training ones at the end.
_BATCH, _PROBABILITIES, _JUDGED = 256, 2**27, 10_000


def train_prior(
    prior: CodePrior,
    train: Sequences,
    aside: Sequences,
    config: PriorConfig,
    interrupt: Interrupt,
    report: Callable[[Line], None],
) -> list[Line]:
    """Train in place; what is left in the end are the weights that were best on ``aside``.

    Args:
        prior: on its device.
        train, aside: sequences there.
        config: filled.
        interrupt: a signal ends training after the present step.
        report: called with each line.

    Returns:
        A line for each pass: ``epoch``, ``step``, ``lr``, ``train_bits`` (mean over the pass, with dropout),
        ``aside_bits`` and ``seconds``; bits are per token.

    Raises:
        RunError: if the loss is NaN or inf.
    """
    torch.manual_seed(config.seed)
    fit = _Fit(prior, train, config)
    lines: list[Line] = []
    best, weights = math.inf, {}
    began, best_epoch = time.perf_counter(), 0
    for epoch in range(config.epochs):
        train_bits = fit.epoch(epoch, interrupt)
        judged = {"aside_bits": mean_bits(prior, aside), "seconds": time.perf_counter() - began}
        lines.append(
            {"epoch": epoch, "step": fit.step, "lr": fit.rate, "train_bits": train_bits, **judged}
        )
        if not math.isfinite(train_bits + judged["aside_bits"]):
            raise RunError(
                f"the prior's loss is NaN or inf in epoch {epoch}: lower --lr, {config.lr:g} here"
            )
        report(lines[-1])
        if judged["aside_bits"] < best:
            best, best_epoch = judged["aside_bits"], epoch
            weights = {name: value.clone() for name, value in prior.state_dict().items()}
        if interrupt.number is not None or epoch - best_epoch >= config.patience:
            break
    prior.load_state_dict(weights)
    return lines


class _Fit:
    """Steps of AdamW over the training sequences, in an order that the seed decides."""

    def __init__(self, prior: CodePrior, train: Sequences, config: PriorConfig) -> None:
        self.prior, self.train, self.config = prior, train, config
        self.total = config.epochs * math.ceil(len(train) / config.batch_size)
        self.step, self.device = 0, train.tokens.device
        decays = {True: [], False: []}  # matrices do, biases, norms and what is looked up do not
        for name, value in prior.named_parameters():
            decays[value.ndim == 2 and name.startswith("blocks")].append(value)
        groups = [{"params": decays[True]}, {"params": decays[False], "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(
            groups, lr=config.lr, betas=(0.9, 0.95), weight_decay=config.weight_decay, fused=True
        )

    @property
    def rate(self) -> float:
        """The learning rate of the present step: up over a twentieth of the steps, then down to a tenth."""
        warm = min(1.0, (self.step + 1) / (self.total / 20))
        return self.config.lr * warm * (0.55 + 0.45 * math.cos(math.pi * self.step / self.total))

    def epoch(self, epoch: int, interrupt: Interrupt) -> float:
        """One pass, or the part of it before a signal; the mean bits per token."""
        self.prior.train()
        order = counter_rng.permutation(
            counter_rng.key_of(self.config.seed, epoch), len(self.train), device=self.device
        )
        total, count = torch.zeros((), dtype=torch.float64, device=self.device), 0
        for rows in order.split(self.config.batch_size):
            total += self._step(*self.train.at(rows)).double() * len(rows)
            count += len(rows)
            if interrupt.number is not None:
                break
        return float(total) / count

    def _step(self, tokens: Tensor, labels: Tensor | None) -> Tensor:
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate
        with torch.autocast(
            self.device.type, dtype=torch.bfloat16, enabled=self.device.type == "cuda"
        ):
            loss = self.prior.bits(tokens, labels).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.prior.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        return loss.detach()


@torch.no_grad()
def mean_bits(prior: CodePrior, sequences: Sequences, most: int | None = None) -> float:
    """Mean bits per token in eval mode, over the first ``most`` sequences or all of them."""
    prior.eval()
    rows = torch.arange(min(len(sequences), most or len(sequences)), device=sequences.tokens.device)
    batch = max(1, min(_BATCH, _PROBABILITIES // (prior.length * prior.codebook_size)))
    sums = [prior.bits(*sequences.at(part)).double().sum() for part in rows.split(batch)]
    return float(torch.stack(sums).sum()) / (len(rows) * prior.length)


def unigram_bits(train: Sequences, test: Sequences, books: list[int], codebook_size: int) -> float:
    """Bits per token of ``test`` by how often each code of each codebook comes in ``train``, every count raised by 1.

    Adding one (Laplace's rule of succession) leaves no code impossible.
    """
    offset = torch.tensor(books, device=train.tokens.device) * codebook_size
    size = (max(books) + 1) * codebook_size
    counts = torch.bincount((train.tokens + offset).flatten(), minlength=size).double() + 1
    bits = (
        counts.view(-1, codebook_size).sum(1, keepdim=True).log2()
        - counts.view(-1, codebook_size).log2()
    )
    return float(bits.flatten()[test.tokens + offset].mean())


def judge(
    prior: CodePrior, train: Sequences, test: Sequences, books: list[int], shape: tuple[int, ...]
) -> dict[str, float]:
    """Figures of a trained prior.

    Args:
        prior: trained.
        train, test: what it was trained on, and what it has not seen.
        books: which codebook each position belongs to.
        shape: of a sample, for bits per pixel (of vectors, per value).

    Returns:
        ``bits_per_token`` (held-out), ``train_bits_per_token``, ``unigram_bits_per_token``,
        ``uniform_bits_per_token`` = log2 K, and ``bits_per_pixel`` or ``bits_per_value``: what all codes of a sample
        take by this prior, held-out, over its pixels or values.
    """
    bits = mean_bits(prior, test)
    unit, size = ("pixel", math.prod(shape[1:])) if len(shape) == 3 else ("value", math.prod(shape))
    return {
        "bits_per_token": bits,
        "train_bits_per_token": mean_bits(prior, train, _JUDGED),
        "unigram_bits_per_token": unigram_bits(train, test, books, prior.codebook_size),
        "uniform_bits_per_token": math.log2(prior.codebook_size),
        f"bits_per_{unit}": bits * prior.length / size,
    }
