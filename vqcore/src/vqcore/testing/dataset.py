"""What must hold for every data set."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor

from vqcore.data.dataset_split import DatasetSplit
from vqcore.errors import SettingError, UsageError
from vqcore.interfaces.dataset import DataSource, SampleSpec, Split, TrainingBatch
from vqcore.testing.rules import expect, fail, finite, near, rule, same
from vqcore.testing.samples import seeded, untouched
from vqcore.testing.waits import device

SPLITS = ("train", "test")
#: Samples of a training batch, and batches of a sequence; keys of their random changes.
BATCH, STEPS, KEY = 4, 3, 1234
#: Training samples that are searched for held-out ones, at most.
COMPARED = 4096
#: By how much of its width a value may leave the declared range: rounding.
ROUNDING = 1e-5


class DatasetConformance:
    """Subclass it, return your data set from ``make``, and let pytest or ``violations`` run it.

    Attributes:
        read: samples of each split that are read, at most.
        disjoint: whether no held-out sample is a training sample too.
        equivalent: options that change no sample, each given to ``make`` in turn:
            ``({"workers": 2},)``.
        refused: options that do not fit, such as a folder that is not there.
    """

    read: int = 64
    disjoint: bool = True
    equivalent: Sequence[Mapping[str, Any]] = ()
    refused: Sequence[Mapping[str, Any]] = ()

    def make(self, **options: Any) -> DataSource:
        """A new data set, the same each time, with one of ``equivalent`` or ``refused`` or none."""
        raise NotImplementedError("make: return the data set to be tested")

    @rule
    def test_samples_are_as_declared(self) -> None:
        """Batches are floats (B, *shape) on the device, finite and within ``value_range``."""
        source, where = self.make(), device()
        for name, split in _splits(source):
            batch = self._samples(split, where)
            shape = tuple(batch.shape[1:])
            expect(shape == tuple(source.shape), f"{name}: shape {shape}, not {source.shape}")
            right = batch.is_floating_point() and batch.device.type == where.type
            expect(right, f"{name}: {batch.dtype} on {batch.device}")
            _in_range(batch, source, name)

    @rule
    def test_description_is_complete(self) -> None:
        """``describe`` gives plain values from which ``SampleSpec.read`` reads the same spec."""
        source = self.make()
        for _ in _splits(source):
            pass
        described = json.loads(json.dumps(source.describe()))
        same(SampleSpec.read(described), SampleSpec.of(source), "the spec that was read")
        low, high = source.value_range
        expect(low < high, f"value_range {source.value_range}")

    @rule
    def test_splits_are_sequences_of_samples(self) -> None:
        """Each split has samples, and ``names`` one for each where there are any."""
        for name, split in _splits(self.make()):
            expect(len(split) > 0, f"{name} has no sample")
            names = split.names
            found = len(split) if names is None else len(names)
            expect(found == len(split), f"{name}: {found} names of {len(split)} samples")

    @rule
    def test_labels_are_classes(self) -> None:
        """Labels are int64 (N,), numbers of ``classes``, which are there if labels are."""
        source = self.make()
        for name, split in _splits(source):
            if split.labels is None:
                continue
            wanted = torch.int64, (len(split),)
            found = split.labels.dtype, tuple(split.labels.shape)
            expect(found == wanted, f"labels of {name}: {found} instead of {wanted}")
            taken = split.training_labels(_training(split)[0])
            for what, labels in (("labels", split.labels), ("training labels", taken)):
                _classes(labels, source, f"{what} of {name}")

    @rule
    def test_batches_are_the_samples_asked_for(self) -> None:
        """A sample is the same in every batch and order; no index gives an empty batch."""
        for name, split in _splits(self.make()):
            whole, count = self._samples(split), min(self.read, len(split))
            order = torch.arange(count - 1, -1, -1)
            asked = [order[:1], order[:0], order[1:], order[:1].repeat(2)]
            found = list(split.batches(asked, torch.device("cpu")))
            same([len(each) for each in found], [len(each) for each in asked], f"sizes of {name}")
            expect(found[1].shape == whole[:0].shape, f"{name}: {found[1].shape} of no index")
            for rows, batch in zip(asked, found, strict=True):
                same(batch, whole[rows], f"samples of {name} in another order")
            one, other = (split.batches(order.split(3), torch.device("cpu")) for _ in range(2))
            for rows, first, second in zip(order.split(3), one, other, strict=True):
                same(first, whole[rows], f"{name} with two readers at a time")
                same(second, whole[rows], f"{name} with two readers at a time")

    @rule
    def test_samples_are_always_the_same(self) -> None:
        """Made again, asked for in another order, with ``equivalent`` options: the same samples.

        Nor do they depend on a global seed.
        """
        first, others = self.make(), [{}, *self.equivalent]
        expected = {name: self._samples(split) for name, split in _splits(first)}
        for seed, options in enumerate(others, 1):
            with seeded(seed):
                source = self.make(**options)
                for name in reversed(SPLITS):
                    split = source.split(name)  # type: ignore[arg-type]  # one of the two
                    same(self._samples(split), expected[name], f"{name} made with {options}")
                    labels = first.split(name).labels  # type: ignore[arg-type]
                    same(split.labels, labels, f"labels of {name} made with {options}")

    @rule
    def test_no_global_number_is_drawn(self) -> None:
        """Reading and augmenting draw nothing from torch's global generator."""
        with seeded(3):
            before = torch.get_rng_state()
            source = self.make()
            for _, split in _splits(source):
                self._samples(split)
            _trained(source, _training(source.split("train")))
            same(torch.get_rng_state(), before, "the state of the global generator")

    @rule
    def test_training_follows_the_key(self) -> None:
        """Training samples are a function of indices, key and positions: resuming repeats them.

        So is every part of a batch, whichever process holds it.
        """
        source, again = self.make(), self.make()
        steps = _training(source.split("train"))
        expected = _trained(source, steps)
        for batch, served in zip(_trained(again, steps[1:]), expected[1:], strict=True):
            same(batch, served, "a training batch of a run that begins with the second")
        half = len(steps[0].samples) // 2
        for part in (slice(None, half), slice(half, None)):
            own = TrainingBatch(steps[0].samples[part], steps[0].key, steps[0].positions[part])
            (batch,) = _trained(again, [own])
            near(batch, expected[0][part], "a part of a training batch", 1e-5, 1e-6)

    @rule
    def test_training_samples_fit(self) -> None:
        """Augmented samples have the declared shape and range, and samples are not written to."""
        source = self.make()
        split = source.split("train")
        steps = _training(split)
        served = split.training_batches(steps, torch.device("cpu"))
        for step, batch in zip(steps, served, strict=True):
            with untouched(samples=batch):
                changed = source.augment(batch, step.key, step.positions)
            wanted = (len(step.samples), *source.shape)
            expect(changed.shape == wanted, f"shape {tuple(changed.shape)} instead of {wanted}")
            _in_range(changed, source, "augmented samples")

    @rule
    def test_splits_are_disjoint(self) -> None:
        """No held-out sample is among the training samples; ``disjoint`` says whether it matters.

        Compared are names, and the first ``read`` held-out samples with thousands for training.
        """
        if not self.disjoint:
            return
        train, test = (split for _, split in _splits(self.make()))
        if train.names is not None and test.names is not None:
            named = set(train.names) & set(test.names)
            found = f"{len(named)} names are in both splits, such as {min(named, default='')}"
            expect(not named, found)
        both = _digests(test, self.read) & _digests(train, COMPARED)
        expect(not both, f"{len(both)} held-out samples are for training too")

    @rule
    def test_restoring_changes_no_sample(self) -> None:
        """After ``restore`` of what ``describe`` gave, a new data set serves the same samples."""
        first, second = self.make(), self.make()
        expected = {name: self._samples(split) for name, split in _splits(first)}
        second.restore(json.loads(json.dumps(first.describe())))
        for name, split in _splits(second):
            same(self._samples(split), expected[name], f"{name} after restore")
        same(SampleSpec.of(second), SampleSpec.of(first), "the spec after restore")

    @rule
    def test_workers_get_what_can_be_pickled(self) -> None:
        """What worker processes read can be pickled, as where they are not forked."""
        for _, split in _splits(self.make()):
            for each in (split, getattr(split, "whole", None)):
                if isinstance(each, DatasetSplit):
                    pickle.dumps(each.dataset)

    @rule
    def test_options_that_do_not_fit_are_refused(self) -> None:
        """Each of ``refused`` is a SettingError, or a UsageError, at the latest when it is read."""
        for options in self.refused:
            try:
                source = self.make(**options)
                for _ in _splits(source):
                    pass
            except (SettingError, UsageError):
                continue
            fail(f"{dict(options)} is accepted")

    def _samples(self, split: Split, where: torch.device | None = None) -> Tensor:
        """The first samples of a split, at most ``read``."""
        chosen = torch.arange(min(self.read, len(split))).split(16)
        return torch.cat(list(split.batches(chosen, where or torch.device("cpu"))))


def _splits(source: DataSource) -> Iterator[tuple[str, Split]]:
    for name in SPLITS:
        yield name, source.split(name)  # type: ignore[arg-type]  # one of the two


def _training(split: Split) -> list[TrainingBatch]:
    """What a few training steps ask for: samples in turn, from the first again after the last."""
    rows = [torch.arange(BATCH) + step * BATCH for step in range(STEPS)]
    positions = torch.arange(BATCH)
    return [
        TrainingBatch(each % len(split), KEY + step, positions) for step, each in enumerate(rows)
    ]


def _trained(source: DataSource, steps: Sequence[TrainingBatch]) -> list[Tensor]:
    """The augmented samples of training steps."""
    served = source.split("train").training_batches(steps, torch.device("cpu"))
    return [
        source.augment(batch, step.key, step.positions)
        for step, batch in zip(steps, served, strict=True)
    ]


def _in_range(batch: Tensor, source: DataSource, what: str) -> None:
    finite(batch, what)
    low, high = (0.0, 1.0) if source.likelihood == "bernoulli" else source.value_range
    slack = ROUNDING * (high - low)
    found = float(batch.min()), float(batch.max())
    inside = low - slack <= found[0] and found[1] <= high + slack
    expect(inside, f"{what}: values from {found[0]:g} to {found[1]:g} outside of {low:g}, {high:g}")


def _classes(labels: Tensor, source: DataSource, what: str) -> None:
    expect(source.classes is not None, f"{what} without classes")
    count, found = len(source.classes or ()), (int(labels.min()), int(labels.max()))
    inside = found[0] >= 0 and found[1] < count
    expect(inside, f"{what} from {found[0]} to {found[1]} of {count} classes")


def _digests(split: Split, most: int) -> set[bytes]:
    """What tells samples apart, of the first ones of a split."""
    rows = torch.arange(min(most, len(split))).split(16)
    return {
        sha256(sample.contiguous().numpy()).digest()
        for batch in split.batches(rows, torch.device("cpu"))
        for sample in batch
    }
