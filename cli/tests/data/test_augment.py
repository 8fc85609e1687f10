"""Augmentation by the options of a data set, and in a run."""

import pytest
import torch

from vq.data.digits import Digits
from vqcore.data.augment import augment
from vqcore.numerics.counter_rng import key_of

KEY = key_of(3, 5)


def test_image_sources_augment_as_their_options_say():
    (batch,) = Digits().split("train").batches([torch.arange(8)], torch.device("cpu"))
    assert Digits().augment(batch, KEY, torch.arange(8)) is batch
    changed = Digits(flip=True, shift=1).augment(batch, KEY, torch.arange(8))
    assert torch.equal(changed, augment(batch, KEY, torch.arange(8), flip=True, shift=1))


@pytest.mark.parametrize("choice", ["flip", "shift"])
def test_augmentation_acts_in_training_and_is_reproducible(train, choice):
    plain = train(run="plain")
    changed = train(f"--dataset.{choice}", "1", run=choice)
    assert plain.metrics[-1]["reconstruction"] != changed.metrics[-1]["reconstruction"]
    assert changed.weights == train(f"--dataset.{choice}", "1", run="again").weights
