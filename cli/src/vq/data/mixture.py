"""Several data sets as one, each with its share of the training samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate, chain, tee
from types import MappingProxyType
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from vq.data.packed_names import PackedNames
from vqcore.data.transfer import to_device
from vqcore.errors import SettingError
from vqcore.interfaces.dataset import DataSource, Split, TrainingBatch
from vqcore.numerics.counter_rng import key_of, uniform_at

T = TypeVar("T")
#: Of the key of a step, for the choice of samples; augmentation uses the numbers below 7.
_CHOICE = 16


class Mixture(DataSource):
    """The union of several data sets, whose samples have one shape and range.

    An epoch has as many samples as their training splits together; the weights say which share of
    it each one gives, see ``MixedSplit``. Each augments its own samples. The held-out samples are
    those of all. The classes are those of all by name, if each has some.

    Args:
        sources: makes each data set, by name.
        weights: of the sources that have another one than 1.

    Raises:
        SettingError: if there are no sources, or their samples differ in shape or range.
    """

    def __init__(
        self,
        *,
        sources: Mapping[str, Callable[[], DataSource]] = MappingProxyType({}),
        weights: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        self.sources = {name: make() for name, make in sources.items()}
        self.weights = [weights.get(name, 1.0) for name in self.sources]
        if not self.sources:
            fix = "name one with --dataset.sources.NAME.name image-folder, and its options likewise"
            raise SettingError("sources", {}, "one data set or more", fix)

    @property
    def credits(self) -> str | None:  # type: ignore[override]  # of what is in it
        """Of all sources."""
        found = [source.credits for source in self.sources.values() if source.credits]
        return "\n".join(found) or None

    def split(self, name: Literal["train", "test"]) -> MixedSplit:
        """The samples of all sources, one source after the other."""
        parts = []
        for title, source in self.sources.items():
            with _settings_of(title):
                parts.append(source.split(name))
        self._check_alike()
        labels = self._labels(parts)
        return MixedSplit(self.sources, parts, self.weights, labels)

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """Of a sample of every source."""
        return self._first.shape

    @property
    def value_range(self) -> tuple[float, float]:  # type: ignore[override]
        """Of every source."""
        return self._first.value_range

    @property
    def likelihood(self) -> Literal["gaussian", "bernoulli"]:  # type: ignore[override]
        """Of every source."""
        return self._first.likelihood

    @property
    def classes(self) -> list[str] | None:  # type: ignore[override]
        """The names of all classes, sorted; None if a source has none."""
        each = [source.classes for source in self.sources.values()]
        return None if None in each else sorted(set(chain(*(names or () for names in each))))

    def describe(self) -> dict[str, Any]:
        """Adds what each source describes."""
        parts = {name: source.describe() for name, source in self.sources.items()}
        return super().describe() | {"sources": parts}

    def restore(self, described: Mapping[str, Any]) -> None:
        """Restore each source."""
        parts = described.get("sources")
        for name, source in self.sources.items():
            part = parts.get(name) if isinstance(parts, Mapping) else None
            source.restore(part if isinstance(part, Mapping) else {})

    @property
    def _first(self) -> DataSource:
        return next(iter(self.sources.values()))

    def _check_alike(self) -> None:
        kinds = {
            name: (source.shape, source.value_range, source.likelihood)
            for name, source in self.sources.items()
        }
        first, *others = kinds
        for name in others:
            for what, one, other in zip(
                ("shape", "value range", "likelihood"), kinds[first], kinds[name], strict=True
            ):
                if one != other:
                    expected = f"samples of one {what}: {first} has {one}, {name} has {other}"
                    fix = "set image_size of those that have it" if what == "shape" else ""
                    raise SettingError("dataset.sources", list(kinds), expected, fix)

    def _labels(self, parts: Sequence[Split]) -> Tensor | None:
        if self.classes is None:
            return None
        numbers = {name: number for number, name in enumerate(self.classes)}
        found = []
        for source, part in zip(self.sources.values(), parts, strict=True):
            if part.labels is None:
                return None
            own = torch.tensor([numbers[name] for name in source.classes or ()])
            found.append(own[part.labels.cpu()])
        return torch.cat(found)


class MixedSplit(Split):
    """The samples of several splits, one after the other.

    Of the N samples of an epoch, a source of weight w gives its share w / sum(w), rounded. Where
    that is as many as it has or more, each of its samples is there as often as all of them fit; the
    rest of its share is drawn from its samples, anew in each epoch.

    Args:
        sources: the data sets by name, which augment their training samples.
        parts: their splits.
        weights: of each.
        labels: of all samples, or None.

    Attributes:
        titles: the names of the sources.
        starts: the number of each source's first sample, and the number of all samples.
    """

    def __init__(
        self,
        sources: Mapping[str, DataSource],
        parts: Sequence[Split],
        weights: Sequence[float],
        labels: Tensor | None = None,
    ) -> None:
        self.parts, self.labels = parts, labels
        self.titles, self.sources = list(sources), list(sources.values())
        self.starts = [0, *accumulate(map(len, parts))]
        shares = [0.0, *accumulate(weights)]
        self._ends = torch.tensor([round(len(self) * share / shares[-1]) for share in shares])

    def __len__(self) -> int:
        return self.starts[-1]

    @property
    def names(self) -> PackedNames:  # type: ignore[override]
        """Those of the sources, each after the name of its source."""
        return PackedNames(
            f"{name}/{each}"
            for name, part in zip(self.titles, self.parts, strict=True)
            for each in (part.names or range(len(part)))
        )

    @property
    def skipped(self) -> dict[int, str] | None:  # type: ignore[override]
        """Of all sources; None if a sample that cannot be read ends the run in all."""
        if all(part.skipped is None for part in self.parts):
            return None
        return {
            start + row: reason
            for start, part in zip(self.starts, self.parts, strict=False)
            for row, reason in (part.skipped or {}).items()
        }

    @property
    def replaced(self) -> int:  # type: ignore[override]
        """Of all sources."""
        return sum(part.replaced for part in self.parts)

    def batches(self, chosen: Iterable[Tensor], device: torch.device) -> Iterator[Tensor]:
        """See ``Split.batches``."""
        starts = torch.tensor(self.starts)
        mixed = (_Mixed(samples.cpu(), starts) for samples in chosen)
        batches, own = _by_source(((batch, batch.rows) for batch in mixed), len(self.parts))
        streams = [part.batches(rows, device) for part, rows in zip(self.parts, own, strict=True)]
        for batch, _ in batches:
            yield batch.in_order([next(stream) for stream in streams])

    def training_batches(
        self, chosen: Iterable[TrainingBatch], device: torch.device
    ) -> Iterator[Tensor]:
        """See ``Split.training_batches``: the samples that the weights choose, augmented."""
        batches, own = _by_source(map(self._choose, chosen), len(self.parts))
        streams = [
            part.training_batches(taken, device)
            for part, taken in zip(self.parts, own, strict=True)
        ]
        for batch, taken in batches:
            served = [
                source.augment(next(stream), each.key, each.positions)
                for source, stream, each in zip(self.sources, streams, taken, strict=True)
            ]
            yield batch.in_order(served)

    def training_labels(self, batch: TrainingBatch) -> Tensor:
        """See ``Split.training_labels``."""
        mixed, taken = self._choose(batch)
        labels: Any = self.labels
        chosen = zip(self.starts, taken, strict=False)
        return mixed.in_order([labels[start + own.samples] for start, own in chosen])

    def _choose(self, batch: TrainingBatch) -> tuple[_Mixed, list[TrainingBatch]]:
        """The samples of each source that stand for the numbers of an epoch in a batch."""
        mixed = _Mixed(batch.samples, self._ends)
        uniform = uniform_at(key_of(batch.key, _CHOICE), batch.positions)
        taken = []
        for number, (part, places, slots) in enumerate(
            zip(self.parts, mixed.places, mixed.rows, strict=True)
        ):
            whole = int(self._ends[number + 1] - self._ends[number]) // len(part) * len(part)
            drawn = (uniform[places] * len(part)).long()
            rows = torch.where(slots < whole, slots % len(part), drawn)
            taken.append(TrainingBatch(rows, batch.key, batch.positions[places]))
        return mixed, taken


@contextmanager
def _settings_of(title: str) -> Iterator[None]:
    """Inside, errors name the settings of a data set by where they are in a mixture."""
    try:
        yield
    except SettingError as error:
        path = f"dataset.sources.{title}."
        setting, fix = (text.replace("dataset.", path) for text in (error.setting, error.fix))
        raise SettingError(setting, error.value, error.expected, fix) from error


class _Mixed:
    """A batch of several sources.

    Args:
        samples: numbers (B,) in the sequence of all sources.
        starts: the number of each source's first one, and the number of all, (S + 1,).

    Attributes:
        places: of each source, where its samples are in the batch.
        rows: of each source, the numbers of its samples from its own first one on.
    """

    def __init__(self, samples: Tensor, starts: Tensor) -> None:
        owner = torch.searchsorted(starts, samples, right=True) - 1
        self.places = [(owner == number).nonzero().squeeze(1) for number in range(len(starts) - 1)]
        self.rows = [samples[at] - start for at, start in zip(self.places, starts, strict=False)]

    def in_order(self, parts: Sequence[Tensor]) -> Tensor:
        """The batch (B, *shape) from what each source serves."""
        together = torch.cat(list(parts))
        return together[to_device(torch.cat(self.places).argsort(), together.device)]


def _by_source(
    batches: Iterable[tuple[_Mixed, Sequence[T]]], count: int
) -> tuple[Iterator[tuple[_Mixed, Sequence[T]]], list[Iterator[T]]]:
    """The batches, and what is each source's own in them, to be read at different speeds."""
    all_of_them, *copies = tee(batches, 1 + count)
    return all_of_them, [_own(copy, number) for number, copy in enumerate(copies)]


def _own(batches: Iterable[tuple[_Mixed, Sequence[T]]], number: int) -> Iterator[T]:
    for _, each in batches:
        yield each[number]
