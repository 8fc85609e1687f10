"""The interface of a data set: a sample shape, a value range, and two splits that serve batches."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from vqcore.errors import shown

#: Values in a sample, at most.
LARGEST = 2**31


class TrainingBatch(NamedTuple):
    """Which samples a training step takes, and what its random changes depend on.

    Attributes:
        samples: their numbers in the split, (B,) int64.
        key, positions: see ``DataSource.augment``.
    """

    samples: Tensor
    key: int
    positions: Tensor


class Split(ABC):
    """Samples in a fixed order, served in batches of any order.

    Attributes:
        labels: the class of each sample, (N,) int64, or None if the data set has no classes.
        names: of each sample, such as the path of its file, or None where it has only a number.
        skipped: of each sample that could not be read so far, by its number, the reason; another
            one stood in for it. None for a split that ends the run instead.
        replaced: how often one stood in.
    """

    labels: Tensor | None = None
    names: Sequence[str] | None = None
    skipped: Mapping[int, str] | None = None
    replaced: int = 0

    @abstractmethod
    def __len__(self) -> int:
        """Number of samples."""

    @abstractmethod
    def batches(self, chosen: Iterable[Tensor], device: torch.device) -> Iterator[Tensor]:
        """A float batch (B, *shape) on ``device`` for each tensor of sample indices (B,), int64.

        An empty tensor gives an empty batch. No random number is drawn.
        """

    def training_batches(
        self, chosen: Iterable[TrainingBatch], device: torch.device
    ) -> Iterator[Tensor]:
        """``batches`` for training steps, where a split may cut or choose at random.

        It does so before ``DataSource.augment``, and by the same rules.
        """
        return self.batches((batch.samples for batch in chosen), device)

    def training_labels(self, batch: TrainingBatch) -> Tensor:
        """The classes (B,) int64 of the samples that ``training_batches`` serves for a batch.

        Only of a split that has ``labels``.
        """
        labels: Any = self.labels
        return labels[batch.samples.to(labels.device)]


@dataclass(frozen=True)
class SampleSpec:
    """What a model must know of its data; the fields are those of ``DataSource``.

    ``likelihood`` is that of what the model's decoder emits: also ``categorical``, for logits of
    the classes.
    """

    shape: tuple[int, ...]
    value_range: tuple[float, float] = (-1.0, 1.0)
    likelihood: str = "gaussian"
    stored_range: tuple[float, float] | None = None
    sample_rate: int | None = None
    frame_stride: int | None = None
    classes: tuple[str, ...] | None = None

    @classmethod
    def of(cls, source: DataSource) -> SampleSpec:
        """The spec of a data set."""
        values = {each.name: getattr(source, each.name) for each in fields(cls)}
        return cls(**values | {"classes": _names(source.classes)})

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> SampleSpec:
        """The spec from what ``DataSource.describe`` returned.

        Raises:
            KeyError, TypeError, ValueError: if the values are malformed.
        """
        if not isinstance(values, Mapping):
            raise TypeError(f"expected a mapping, found {type(values).__name__}")
        stored, likelihood = values.get("stored_range"), values["likelihood"]
        if likelihood not in ("gaussian", "bernoulli", "categorical"):
            expected = "expected gaussian, bernoulli or categorical"
            raise ValueError(f"likelihood {shown(likelihood)}: {expected}")
        return cls(
            _shape(values["shape"]),
            _range(values["value_range"]),
            str(likelihood),
            _range(stored) if stored else None,
            _whole(values, "sample_rate"),
            _whole(values, "frame_stride"),
            _names(values.get("classes")),
        )


class DataSource(ABC):
    """A data set, constructed from its options and read when a split is requested.

    Attributes:
        shape: of a sample: (C, H, W) for images, (F,) for vectors, (C, T) for audio and other
            signals, (C, T, H, W) for video.
        value_range: smallest and largest value, for PSNR and for display.
        likelihood: the reconstruction loss that fits: ``gaussian`` (mean squared error) or
            ``bernoulli`` (cross-entropy between logits and values in [0, 1]).
        classes: names of the classes that ``Split.labels`` numbers, or None without classes.
        stored_range: the value range of the data set's own float files if it differs from
            ``value_range``, else None.
        sample_rate: of audio (C, T), in Hz; None for other data.
        frame_stride: of video (C, T, H, W): 2 if every second frame was taken; None for other data.
        disjoint: whether no held-out sample is a training sample too.
        credits: the attribution that the data's licence requires, or None.
    """

    shape: tuple[int, ...]
    value_range: tuple[float, float] = (-1.0, 1.0)
    likelihood: Literal["gaussian", "bernoulli"] = "gaussian"
    classes: Sequence[str] | None = None
    stored_range: tuple[float, float] | None = None
    sample_rate: int | None = None
    frame_stride: int | None = None
    disjoint: bool = True
    credits: ClassVar[str | None] = None

    @abstractmethod
    def split(self, name: Literal["train", "test"]) -> Split:
        """The training or the held-out samples, always the same ones.

        Raises:
            SettingError: if files are missing; the message says how to get them.
        """

    def augment(self, batch: Tensor, key: int, positions: Tensor) -> Tensor:
        """Training samples (B, *shape) after random augmentation; unchanged by default.

        Args:
            batch: on the device, as a split served it.
            key: of the step's draws, the only source of randomness.
            positions: (B,) int64, places of the samples in the batch of all ranks. A sample is
                augmented the same way whichever rank holds it.
        """
        return batch

    def restore(self, described: Mapping[str, Any]) -> None:
        """Reuse expensive results that an earlier ``describe`` recorded, if they still hold."""
        return

    def describe(self) -> dict[str, Any]:
        """The metadata that a run folder records, available once a split was requested."""
        values = {
            "shape": list(self.shape),
            "value_range": list(self.value_range),
            "likelihood": self.likelihood,
        }
        if self.stored_range:
            values["stored_range"] = list(self.stored_range)
        for name in ("sample_rate", "frame_stride"):
            if getattr(self, name) is not None:
                values[name] = getattr(self, name)
        if self.classes is not None:
            values["classes"] = list(self.classes)
        return values


def _shape(values: Any) -> tuple[int, ...]:
    sides = isinstance(values, list | tuple) and all(type(side) is int for side in values)
    if not sides or not values or min(values) < 1 or math.prod(values) > LARGEST:
        expected = f"a list of sides, at most {LARGEST} values in all"
        raise ValueError(f"shape {shown(values)}: expected {expected}")
    return tuple(values)


def _names(values: Any) -> tuple[str, ...] | None:
    if values is not None and (isinstance(values, str) or not isinstance(values, Sequence)):
        raise ValueError(f"classes {shown(values)}: expected a list of their names")
    return None if values is None else tuple(map(str, values))


def _range(values: Any) -> tuple[float, float]:
    ends = isinstance(values, list | tuple) and all(type(end) in (int, float) for end in values)
    if not ends or len(values) != 2 or not -1e300 < values[0] <= values[1] < 1e300:
        raise ValueError(f"range {shown(values)}: expected its lower and its upper end")
    return float(values[0]), float(values[1])


def _whole(values: Mapping[str, Any], name: str) -> int | None:
    value = values.get(name)
    if value is not None and (type(value) is not int or not 0 < value <= LARGEST):
        raise ValueError(f"{name} {shown(value)}: expected a whole number from 1")
    return value
