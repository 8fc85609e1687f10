"""What a data set is to the pipeline: a shape, a range of values, and two splits that give batches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor


class Split(ABC):
    """Samples in a fixed order, served in batches of any order."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of samples."""

    @abstractmethod
    def batches(self, chosen: Iterable[Tensor], device: torch.device) -> Iterator[Tensor]:
        """A float batch (B, *shape) on ``device`` for each tensor of sample numbers (int64), in its order.

        An empty tensor gives an empty batch. No random number is drawn.
        """

    @property
    def labels(self) -> Tensor | None:
        """The class of each sample, (N,) int64, where the data set knows it."""
        return None


@dataclass(frozen=True)
class SampleSpec:
    """What a model must know of its data.

    Attributes:
        shape: of a sample: (C, H, W) for pictures, (F,) for vectors.
        value_range: smallest and largest value, for PSNR and for showing pictures.
        likelihood: what reconstruction loss fits: ``gaussian`` or ``bernoulli``, see ``DataSource``.
        stored_range: what files of floats hold in place of ``value_range``; None where they hold the same.
    """

    shape: tuple[int, ...]
    value_range: tuple[float, float] = (-1.0, 1.0)
    likelihood: str = "gaussian"
    stored_range: tuple[float, float] | None = None

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> SampleSpec:
        """From what ``DataSource.describe`` recorded.

        Raises:
            KeyError, TypeError, ValueError: if it records something else.
        """
        stored = values.get("stored_range")
        return cls(
            tuple(map(int, values["shape"])),
            _range(values["value_range"]),
            str(values["likelihood"]),
            _range(stored) if stored else None,
        )


class DataSource(ABC):
    """A data set: constructed from its options, read when a split is asked for.

    Attributes:
        shape: of a sample: (C, H, W) for pictures, (F,) for vectors.
        value_range: smallest and largest value, for PSNR and for showing pictures.
        likelihood: what reconstruction loss fits: ``gaussian`` (mean squared error) or ``bernoulli`` (cross-entropy
            of logits with values in [0, 1]).
        classes: what the numbers in ``Split.labels`` mean, in their order, or None where samples have no class.
        stored_range: what the data's own files of floats hold in place of ``value_range``, or None.
        credits: what the data's licence asks to be said, or None.
    """

    shape: tuple[int, ...]
    value_range: tuple[float, float] = (-1.0, 1.0)
    likelihood: Literal["gaussian", "bernoulli"] = "gaussian"
    classes: Sequence[str] | None = None
    stored_range: tuple[float, float] | None = None
    credits: ClassVar[str | None] = None

    @abstractmethod
    def split(self, name: Literal["train", "test"]) -> Split:
        """The training or the held-out samples, always the same ones.

        Raises:
            SettingError: if the files are not there, with how to get them.
        """

    def augment(self, batch: Tensor, key: int, positions: Tensor) -> Tensor:
        """Training samples (B, *shape), changed at random; unchanged unless the data set says otherwise.

        Args:
            batch: on the device, as a split served it.
            key: of the step's draws, the only source of randomness.
            positions: where the samples stand in the batch of all processes, (B,) int64: each is changed alike
                whoever holds it.
        """
        return batch

    def restore(self, described: Mapping[str, Any]) -> None:
        """Take over what an earlier ``describe`` says that costs much to find out, where it still holds."""
        return

    def describe(self) -> dict[str, Any]:
        """What a run folder records about the data, once a split was asked for."""
        values = {
            "shape": list(self.shape),
            "value_range": list(self.value_range),
            "likelihood": self.likelihood,
        }
        if self.stored_range:
            values["stored_range"] = list(self.stored_range)
        if self.classes is not None:
            values["classes"] = list(self.classes)
        return values


def _range(values: Any) -> tuple[float, float]:
    low, high = map(float, values)
    return low, high
