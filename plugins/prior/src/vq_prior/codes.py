"""What a prior learns from: the codes of a run as sequences, with those that decide when to stop set apart."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vq.runs.trained_run import TrainedRun
from vq.tokens.codes import codes_of
from vqcore.errors import SettingError
from vqcore.numerics import counter_rng

#: One of so many training sequences is set aside.
_ASIDE = 10


@dataclass(frozen=True)
class Sequences:
    """Codes of some samples.

    Attributes:
        tokens: (N, T) int64, positions row by row, groups or stages of a position next to each other.
        labels: (N,) int64, or None.
    """

    tokens: Tensor
    labels: Tensor | None

    def __len__(self) -> int:
        return len(self.tokens)

    def at(self, rows: Tensor) -> tuple[Tensor, Tensor | None]:
        """Tokens and labels of these rows."""
        return self.tokens[rows], None if self.labels is None else self.labels[rows]

    def to(self, device: torch.device) -> Sequences:
        """The same on a device."""
        return Sequences(
            self.tokens.to(device), None if self.labels is None else self.labels.to(device)
        )


@dataclass(frozen=True)
class PriorData:
    """What a prior is trained, stopped and judged on.

    Attributes:
        train: nine tenths of the run's training split.
        aside: the other tenth, which early stopping looks at.
        test: the held-out split, which nothing looks at before the end.
        classes: number of classes, 0 where the prior is not told of them.
    """

    train: Sequences
    aside: Sequences
    test: Sequences
    classes: int


def read_codes(run: TrainedRun, classes: bool, seed: int) -> PriorData:
    """Encode a run's data set once.

    Args:
        run: the trained run.
        classes: with the labels of its samples.
        seed: of the choice of what is set aside.

    Raises:
        SettingError: if classes are asked for and there are none, or the training split is too small.
    """
    labels = {
        split: run.source.split(split).labels if classes else None for split in ("train", "test")
    }
    if classes and any(each is None for each in labels.values()):
        name = run.config.components["dataset"].spec.name
        raise SettingError(
            "classes", True, f"a data set with labels, and {name} has none", "leave out --classes"
        )
    both = {split: Sequences(codes_of(run, split).flatten(1), labels[split]) for split in labels}
    count = len(both["train"])
    if count < 2:
        raise SettingError(
            "dataset", run.config.components["dataset"].spec.name, "at least 2 training samples"
        )
    order = counter_rng.permutation(counter_rng.key_of(seed), count)
    aside, rest = order.tensor_split([max(1, count // _ASIDE)])
    number = 1 + max(int(each.max()) for each in labels.values()) if classes else 0
    return PriorData(
        Sequences(*both["train"].at(rest)),
        Sequences(*both["train"].at(aside)),
        both["test"],
        number,
    )
