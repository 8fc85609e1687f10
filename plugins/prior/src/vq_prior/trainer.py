"""The steps of training a prior, in one process or in several that share each batch."""

from __future__ import annotations

import math
import time
from typing import Any

import torch
from torch import Tensor, nn

from vq.interrupt import Interrupt
from vq.processes.gradients import averaged
from vq.processes.stopping import StopVote
from vq.processes.together import rank, world
from vq.progress import working
from vq_prior.prior_config import FilledPriorConfig
from vq_prior.saved_training import Progress, SavedTraining
from vq_prior.sequences import CodeSequences
from vq_prior.transformer import CodePrior
from vqcore.distributed import sum_over_ranks
from vqcore.numerics import counter_rng

#: Steps between two saves within an epoch.
SAVE_EVERY = 1000


class PriorTrainer:
    """AdamW steps over the training sequences, in an order that the seed decides.

    Attributes:
        prior, config, optimizer: what is trained, and how.
        progress: how far it is.
        signal: the number of the signal that ends training, to whatever process it came; else 0.
    """

    def __init__(
        self,
        prior: CodePrior,
        train: CodeSequences,
        config: FilledPriorConfig,
        interrupt: Interrupt,
        saved: SavedTraining | None = None,
    ) -> None:
        self.prior, self.train, self.config = prior, train, config
        self.total = config.epochs * math.ceil(len(train) / config.batch_size)
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
        self.progress = Progress(torch.zeros((), dtype=torch.float64, device=self.device))
        self.signal = 0
        self._mean_bits = averaged(_MeanBits(prior), self.device)
        self._interrupt, self._vote, self._saved = interrupt, StopVote(), saved
        self._began = time.perf_counter()

    @property
    def rate(self) -> float:
        """Learning rate of this step: linear warm-up over 5 % of them, cosine decay to 10 %."""
        step = self.progress.step
        warm = min(1.0, (step + 1) / (self.total / 20))
        return self.config.lr * warm * (0.55 + 0.45 * math.cos(math.pi * step / self.total))

    @property
    def seconds(self) -> float:
        """Training took so far, earlier parts included."""
        return time.perf_counter() - self._began

    @property
    def is_over(self) -> bool:
        """Whether all epochs are done, or too many brought no progress."""
        epoch, best = self.progress.epoch, self.progress.best_epoch
        return epoch >= self.config.epochs or epoch - best > self.config.patience

    def resume(self) -> None:
        """Go on from what was saved."""
        assert self._saved is not None
        self.progress = self._saved.restore(self.prior, self.optimizer)
        self._began = time.perf_counter() - self.progress.seconds

    def train_epoch(self) -> float:
        """What is left of an epoch, or the part before a signal; returns the mean bits per token.

        A signal saves, so that a resumed training takes the steps that are left out now.
        """
        self.prior.train()
        progress = self.progress
        key = counter_rng.key_of(self.config.seed, progress.epoch)
        order = counter_rng.permutation(key, len(self.train), device=self.device)
        left = order[progress.sequences :]
        with working(f"epoch {progress.epoch}", len(left), "sequences") as task:
            for rows in task.through(left.split(self.config.batch_size)):
                progress.bits += self._train_step(rows)
                progress.sequences += len(rows)
                self._look_for_signals()
                if self._is_within and (self.signal or progress.step % SAVE_EVERY == 0):
                    self._save()
                if self.signal:
                    break
        bits = progress.bits.clone()
        sum_over_ranks(bits)
        return float(bits) / progress.sequences

    def end_epoch(self) -> None:
        """Go on to the next epoch, and save, unless a signal has ended this one early."""
        if self._is_within:
            return
        self.progress.epoch += 1
        self.progress.sequences = 0
        self.progress.bits.zero_()
        self._look_for_signals()
        self._save()

    def close(self) -> None:
        """Wait for the votes under way."""
        self._vote.close()

    @property
    def _is_within(self) -> bool:
        return self.progress.sequences < len(self.train)

    def _look_for_signals(self) -> None:
        self.signal = self.signal or self._vote(self._interrupt.number or 0)

    def _save(self) -> None:
        self.progress.seconds = self.seconds
        if self._saved is not None:
            self._saved.write(self.prior, self.optimizer, self.progress)

    def _train_step(self, rows: Tensor) -> Tensor:
        """One step on the sequences of these numbers; returns the bits of this process's part."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate
        own = rows.tensor_split(world())[rank()]
        kind = self.device.type
        with torch.autocast(kind, dtype=torch.bfloat16, enabled=kind == "cuda"):
            # where the last batch has too few, one that does not count: gradients are exchanged
            loss = self._mean_bits(*self.train.select(own if len(own) else rows[:1]))
        share = len(own) / len(rows) * world()  # gradients are averaged over the processes
        (loss if share == 1 else loss * share).backward()
        torch.nn.utils.clip_grad_norm_(self.prior.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.progress.step += 1
        return loss.detach().double() * len(own)


class _MeanBits(nn.Module):
    """The loss as a module, which is what data parallelism takes."""

    def __init__(self, prior: CodePrior) -> None:
        super().__init__()
        self.prior = prior

    def forward(self, tokens: Tensor, labels: Tensor | None) -> Tensor:
        """Mean bits per token, a scalar."""
        return self.prior.bits(tokens, labels).mean()
