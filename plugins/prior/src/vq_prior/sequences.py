"""The data of a prior: a run's codes as sequences, for training, validation and test."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from vq.processes.together import main_first
from vq.runs.trained_run import TrainedRun
from vq.tokens.codes import SplitName, encode_together
from vqcore.errors import SettingError
from vqcore.numerics import counter_rng

#: One training sequence in this many goes to the validation split.
_VALIDATION = 10


@dataclass(frozen=True)
class CodeSequences:
    """The codes of some samples.

    Attributes:
        tokens: (N, T) int64: positions row by row, the groups or stages of a position adjacent.
        labels: (N,) int64, or None.
    """

    tokens: Tensor
    labels: Tensor | None

    def __len__(self) -> int:
        return len(self.tokens)

    def select(self, rows: Tensor) -> tuple[Tensor, Tensor | None]:
        """Tokens and labels of these rows."""
        return self.tokens[rows], None if self.labels is None else self.labels[rows]


@dataclass(frozen=True)
class PriorData:
    """``validation`` is a tenth of the run's training split; ``classes`` is 0 without labels."""

    train: CodeSequences
    validation: CodeSequences
    test: CodeSequences
    classes: int


def read_sequences(run: TrainedRun, with_labels: bool, seed: int) -> PriorData:
    """Encode a run's data set, onto the run's device; the seed decides what is for validation."""
    labels = [labels_of(run, "train"), labels_of(run, "test")] if with_labels else [None, None]
    tokens = [encode_together(run, "train").flatten(1), encode_together(run, "test").flatten(1)]
    if len(tokens[0]) < 2:
        name = run.config.components["dataset"].spec.name
        raise SettingError("dataset", name, "at least 2 training samples")
    whole, test = (
        CodeSequences(codes.to(run.device), None if own is None else own.to(run.device))
        for codes, own in zip(tokens, labels, strict=True)
    )
    order = counter_rng.permutation(counter_rng.key_of(seed), len(whole), device=run.device)
    validation, train = order.tensor_split([max(1, len(whole) // _VALIDATION)])
    return PriorData(
        train=CodeSequences(*whole.select(train)),
        validation=CodeSequences(*whole.select(validation)),
        test=test,
        classes=max(0 if own is None else 1 + int(own.max()) for own in labels),
    )


def labels_of(run: TrainedRun, split: SplitName) -> Tensor:
    """The class of each sample, (N,) int64; a SettingError if the data set has no labels.

    Every process calls it.
    """
    labels = main_first(lambda: run.source.split(split)).labels
    if labels is None:
        name = run.config.components["dataset"].spec.name
        fix = "image-folder takes folder names as labels"
        raise SettingError("dataset", name, "a data set with labels, and this one has none", fix)
    return labels
