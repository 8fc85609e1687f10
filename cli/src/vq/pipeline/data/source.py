"""What a data set is to the pipeline: a shape, a range of values, and two splits that give batches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from vqcore.errors import VQError


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


class ArraySplit(Split):
    """Samples held whole in memory, moved to the device once.

    Args:
        data: (N, *shape) of the small type it is stored in; ``to_float`` turns each batch into floats.
        labels: (N,) int64, or None.
    """

    def __init__(self, data: Tensor, labels: Tensor | None = None) -> None:
        self.data, self._labels = data, labels

    def __len__(self) -> int:
        return self.data.shape[0]

    @property
    def labels(self) -> Tensor | None:
        """See ``Split.labels``."""
        return self._labels

    def batches(self, chosen: Iterable[Tensor], device: torch.device) -> Iterator[Tensor]:
        """See ``Split.batches``."""
        if self.data.device != device:
            self.data = self.data.to(device)
        for index in chosen:
            yield to_float(self.data[index.to(device, non_blocking=True)])


class FileSplit(Split):
    """Samples read when they are needed, by worker processes.

    Args:
        dataset: a map-style data set of uint8 pictures (C, H, W), all of one shape.
        workers: processes that read ahead; 0 reads in this one.
    """

    def __init__(self, dataset: Dataset, workers: int = 0) -> None:
        self.dataset, self.workers = dataset, workers

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def batches(self, chosen: Iterable[Tensor], device: torch.device) -> Iterator[Tensor]:
        """See ``Split.batches``."""
        loader = DataLoader(
            _Guarded(self.dataset),
            batch_sampler=[index.tolist() for index in chosen],
            num_workers=self.workers,
            collate_fn=_collate,
            pin_memory=device.type == "cuda",
            generator=torch.Generator(),  # else each epoch draws the workers' seed from the global generator
        )
        for batch in loader:
            if isinstance(batch, VQError):
                raise batch
            yield to_float(batch.to(device, non_blocking=True))


class _Guarded(Dataset):
    """A data set whose errors are answers: raised in a worker, a message would arrive wrapped in a traceback."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def __getitem__(self, index: int) -> Any:
        try:
            return self.dataset[index]
        except VQError as error:
            return error


def _collate(samples: list[Any]) -> Any:
    errors = (sample for sample in samples if isinstance(sample, VQError))
    return next(errors, None) or default_collate(samples)


def to_float(batch: Tensor) -> Tensor:
    """Bytes as floats in [-1, 1]; truth values as 0 and 1; floats as they are."""
    if batch.dtype == torch.uint8:
        return batch.float().div_(127.5).sub_(1)
    return batch.float() if batch.dtype == torch.bool else batch


@dataclass(frozen=True)
class SampleSpec:
    """What a model must know of its data.

    Attributes:
        shape: of a sample: (C, H, W) for pictures, (F,) for vectors.
        value_range: smallest and largest value, for PSNR and for showing pictures.
        likelihood: what reconstruction loss fits: ``gaussian`` or ``bernoulli``, see ``DataSource``.
    """

    shape: tuple[int, ...]
    value_range: tuple[float, float] = (-1.0, 1.0)
    likelihood: str = "gaussian"

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> SampleSpec:
        """From what ``DataSource.describe`` recorded.

        Raises:
            KeyError, TypeError, ValueError: if it records something else.
        """
        low, high = values["value_range"]
        return cls(tuple(map(int, values["shape"])), (float(low), float(high)), str(values["likelihood"]))


class DataSource(ABC):
    """A data set: constructed from its options, read when a split is asked for.

    Attributes:
        shape: of a sample: (C, H, W) for pictures, (F,) for vectors.
        value_range: smallest and largest value, for PSNR and for showing pictures.
        likelihood: what reconstruction loss fits: ``gaussian`` (mean squared error) or ``bernoulli`` (cross-entropy
            of logits with values in [0, 1]).
        credits: what the data's licence asks to be said, or None.
    """

    shape: tuple[int, ...]
    value_range: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    likelihood: ClassVar[Literal["gaussian", "bernoulli"]] = "gaussian"
    credits: ClassVar[str | None] = None

    @abstractmethod
    def split(self, name: Literal["train", "test"]) -> Split:
        """The training or the held-out samples, always the same ones.

        Raises:
            SettingError: if the files are not there, with how to get them.
        """

    def describe(self) -> dict[str, Any]:
        """What a run folder records about the data."""
        return {"shape": list(self.shape), "value_range": list(self.value_range), "likelihood": self.likelihood}
