"""Flips and shifts: what they do to a picture, and that they depend on the key and the sample's place alone."""

import pytest
import torch

from vq.data.augment import augment
from vq.data.digits import Digits
from vqcore.numerics.counter_rng import key_of

PICTURES = torch.arange(64 * 2 * 6 * 7, dtype=torch.float32).view(64, 2, 6, 7)
PLACES = torch.arange(64)
KEY = key_of(3, 5)


def reflected(picture, up, left):
    """A picture (C, H, W) moved up and to the left by the definition: padded by reflection, then cut."""
    height, width = picture.shape[1:]
    padded = torch.nn.functional.pad(picture.unsqueeze(0), (3, 3, 3, 3), mode="reflect")[0]
    return padded[:, 3 + up : 3 + up + height, 3 + left : 3 + left + width]


def test_nothing_is_done_unless_asked_for():
    assert augment(PICTURES, KEY, PLACES) is PICTURES


def test_a_flip_mirrors_half_of_the_pictures():
    flipped = augment(PICTURES, KEY, PLACES, flip=True)
    mirrored = (flipped == PICTURES.flip(-1)).flatten(1).all(1)
    assert ((flipped == PICTURES).flatten(1).all(1) ^ mirrored).all()
    assert 20 < mirrored.sum() < 44


def test_a_shift_moves_and_reflects_the_border():
    shifted, seen = augment(PICTURES, KEY, PLACES, shift=3), set()
    for before, after in zip(PICTURES, shifted, strict=True):
        moves = [
            (u, v)
            for u in range(-3, 4)
            for v in range(-3, 4)
            if torch.equal(after, reflected(before, u, v))
        ]
        assert len(moves) == 1
        seen |= set(moves)
    assert len(seen) > 25  # of 49, by 64 draws


def test_every_move_is_as_likely():
    line = torch.arange(5.0).view(1, 1, 1, 5).expand(20_000, 1, 5, 5)
    moved = augment(line, KEY, torch.arange(20_000), shift=2)[:, 0, 0, 2] - 2
    shares = torch.bincount(moved.long() + 2, minlength=5) / 20_000
    assert (shares - 0.2).abs().max() < 0.015


def test_processes_change_a_sample_as_one_process_does():
    whole = augment(PICTURES, KEY, PLACES, flip=True, shift=2)
    parts = [
        augment(PICTURES[part], KEY, part, flip=True, shift=2) for part in PLACES.tensor_split(3)
    ]
    assert torch.equal(torch.cat(parts), whole)
    backwards = augment(PICTURES.flip(0), KEY, PLACES.flip(0), flip=True, shift=2)
    assert torch.equal(backwards.flip(0), whole)


def test_each_step_is_changed_anew_and_repeats():
    one, again, other = (
        augment(PICTURES, key_of(3, step), PLACES, flip=True, shift=2) for step in (5, 5, 6)
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_no_random_number_of_torch_is_drawn():
    before = torch.get_rng_state()
    augment(PICTURES, KEY, PLACES, flip=True, shift=2)
    assert torch.equal(before, torch.get_rng_state())


def test_an_empty_batch_stays_empty():
    assert augment(PICTURES[:0], KEY, PLACES[:0], flip=True, shift=2).shape == (0, 2, 6, 7)


def test_nothing_waits_for_the_device():
    """The meta device has no values to wait for: whatever reads one raises."""
    meta = torch.device("meta")
    assert augment(PICTURES.to(meta), KEY, PLACES, flip=True, shift=2).shape == PICTURES.shape


def test_sources_augment_as_their_options_say():
    (batch,) = Digits().split("train").batches([torch.arange(8)], torch.device("cpu"))
    assert Digits().augment(batch, KEY, torch.arange(8)) is batch
    changed = Digits(flip=True, shift=1).augment(batch, KEY, torch.arange(8))
    assert torch.equal(changed, augment(batch, KEY, torch.arange(8), flip=True, shift=1))


@pytest.mark.parametrize("choice", ["flip", "shift"])
def test_training_sees_changed_samples_and_evaluation_the_others(train, choice):
    plain = train(run="plain")
    changed = train(f"--dataset.{choice}", "1", run=choice)
    assert plain.metrics[-1]["reconstruction"] != changed.metrics[-1]["reconstruction"]
    assert changed.weights == train(f"--dataset.{choice}", "1", run="again").weights
