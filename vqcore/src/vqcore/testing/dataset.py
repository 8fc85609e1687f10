"""What must hold for every data set."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from vqcore.data.dataset_split import DatasetSplit
from vqcore.errors import SettingError, UsageError
from vqcore.interfaces.dataset import DataSource, SampleSpec, Split, TrainingBatch
from vqcore.testing.rules import expect, fail, near, rule, same, stated, unless_stated
from vqcore.testing.samples import seeded, untouched
from vqcore.testing.served_samples import (
    SPLITS,
    check_classes,
    check_range,
    digests,
    splits_of,
    trained_on,
    training_steps,
)
from vqcore.testing.waits import device

#: Training samples that are searched for held-out ones, at most.
COMPARED = 4096


class DatasetConformance:
    """Subclass it, return your data set from ``make``, and let pytest or ``violations`` run it.

    Attributes:
        read: samples of each split that are read, at most.
        disjoint: instead of what the data set states.
        equivalent: options that change no sample, each given to ``make`` in turn:
            ``({"workers": 2},)``.
        refused: options that do not fit, such as a folder that is not there.
    """

    read: int = 64
    disjoint: bool | None = None
    equivalent: Sequence[Mapping[str, Any]] = ()
    refused: Sequence[Mapping[str, Any]] = ()

    def make(self, **options: Any) -> DataSource:
        """A new data set, the same each time, with one of ``equivalent`` or ``refused`` or none."""
        raise NotImplementedError("make: return the data set to be tested")

    @rule
    def test_samples_are_as_declared(self) -> None:
        """Batches are floats (B, *shape) on the device, finite and within ``value_range``."""
        source, where = self.make(), device()
        for name, split in splits_of(source):
            batch = self._samples(split, where)
            shape = tuple(batch.shape[1:])
            expect(shape == tuple(source.shape), f"{name}: shape {shape}, not {source.shape}")
            right = batch.is_floating_point() and batch.device.type == where.type
            expect(right, f"{name}: {batch.dtype} on {batch.device}")
            check_range(batch, source, name)

    @rule
    def test_description_is_complete(self) -> None:
        """``describe`` gives plain values from which ``SampleSpec.read`` reads the same spec."""
        source = self.make()
        for _ in splits_of(source):
            pass
        described = json.loads(json.dumps(source.describe()))
        same(SampleSpec.read(described), SampleSpec.of(source), "the spec that was read")
        low, high = source.value_range
        expect(low < high, f"value_range {source.value_range}")

    @rule
    def test_splits_are_sequences_of_samples(self) -> None:
        """Each split has samples, and ``names`` one for each where there are any."""
        for name, split in splits_of(self.make()):
            expect(len(split) > 0, f"{name} has no sample")
            names = split.names
            found = len(split) if names is None else len(names)
            expect(found == len(split), f"{name}: {found} names of {len(split)} samples")

    @rule
    def test_labels_are_classes(self) -> None:
        """Labels are int64 (N,), numbers of ``classes``, which are there if labels are."""
        source = self.make()
        for name, split in splits_of(source):
            if split.labels is None:
                continue
            wanted = torch.int64, (len(split),)
            found = split.labels.dtype, tuple(split.labels.shape)
            expect(found == wanted, f"labels of {name}: {found} instead of {wanted}")
            taken = split.training_labels(training_steps(split)[0])
            for what, labels in (("labels", split.labels), ("training labels", taken)):
                check_classes(labels, source, f"{what} of {name}")

    @rule
    def test_batches_are_the_samples_asked_for(self) -> None:
        """A sample is the same in every batch and order; no index gives an empty batch."""
        for name, split in splits_of(self.make()):
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
        expected = {name: self._samples(split) for name, split in splits_of(first)}
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
            for _, split in splits_of(source):
                self._samples(split)
            trained_on(source, training_steps(source.split("train")))
            same(torch.get_rng_state(), before, "the state of the global generator")

    @rule
    def test_training_follows_the_key(self) -> None:
        """Training samples are a function of indices, key and positions: resuming repeats them.

        So is every part of a batch, whichever process holds it.
        """
        source, again = self.make(), self.make()
        steps = training_steps(source.split("train"))
        expected = trained_on(source, steps)
        for batch, served in zip(trained_on(again, steps[1:]), expected[1:], strict=True):
            same(batch, served, "a training batch of a run that begins with the second")
        half = len(steps[0].samples) // 2
        for part in (slice(None, half), slice(half, None)):
            own = TrainingBatch(steps[0].samples[part], steps[0].key, steps[0].positions[part])
            (batch,) = trained_on(again, [own])
            near(batch, expected[0][part], "a part of a training batch", 1e-5, 1e-6)

    @rule
    def test_training_samples_fit(self) -> None:
        """Augmented samples have the declared shape and range, and samples are not written to."""
        source = self.make()
        split = source.split("train")
        steps = training_steps(split)
        served = split.training_batches(steps, torch.device("cpu"))
        for step, batch in zip(steps, served, strict=True):
            with untouched(samples=batch):
                changed = source.augment(batch, step.key, step.positions)
            wanted = (len(step.samples), *source.shape)
            expect(changed.shape == wanted, f"shape {tuple(changed.shape)} instead of {wanted}")
            check_range(changed, source, "augmented samples")

    @rule
    def test_splits_are_disjoint(self) -> None:
        """No held-out sample is among the training samples; ``disjoint`` says whether it matters.

        Compared are names, and the first ``read`` held-out samples with thousands for training.
        """
        source = self.make()
        if not stated(self, source, "disjoint"):
            return
        train, test = (split for _, split in splits_of(source))
        with unless_stated(source, "disjoint = False", "samples may be in both"):
            if train.names is not None and test.names is not None:
                named = set(train.names) & set(test.names)
                found = f"{len(named)} names are in both splits, such as {min(named, default='')}"
                expect(not named, found)
            both = digests(test, self.read) & digests(train, COMPARED)
            expect(not both, f"{len(both)} held-out samples are for training too")

    @rule
    def test_restoring_changes_no_sample(self) -> None:
        """After ``restore`` of what ``describe`` gave, a new data set serves the same samples."""
        first, second = self.make(), self.make()
        expected = {name: self._samples(split) for name, split in splits_of(first)}
        second.restore(json.loads(json.dumps(first.describe())))
        for name, split in splits_of(second):
            same(self._samples(split), expected[name], f"{name} after restore")
        same(SampleSpec.of(second), SampleSpec.of(first), "the spec after restore")

    @rule
    def test_workers_get_what_can_be_pickled(self) -> None:
        """What worker processes read can be pickled, as where they are not forked."""
        for _, split in splits_of(self.make()):
            for each in (split, getattr(split, "whole", None)):
                if isinstance(each, DatasetSplit):
                    pickle.dumps(each.dataset)

    @rule
    def test_options_that_do_not_fit_are_refused(self) -> None:
        """Each of ``refused`` is a SettingError, or a UsageError, at the latest when it is read."""
        for options in self.refused:
            try:
                source = self.make(**options)
                for _ in splits_of(source):
                    pass
            except (SettingError, UsageError):
                continue
            fail(f"{dict(options)} is accepted")

    def _samples(self, split: Split, where: torch.device | None = None) -> Tensor:
        """The first samples of a split, at most ``read``."""
        chosen = torch.arange(min(self.read, len(split))).split(16)
        return torch.cat(list(split.batches(chosen, where or torch.device("cpu"))))
