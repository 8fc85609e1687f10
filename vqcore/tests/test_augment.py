"""Flips and shifts, which depend only on the key and the sample's position."""

import torch

from vqcore.data.augment import augment
from vqcore.numerics.counter_rng import key_of

IMAGES = torch.arange(64 * 2 * 6 * 7, dtype=torch.float32).view(64, 2, 6, 7)
POSITIONS = torch.arange(64)
KEY = key_of(3, 5)


def reflected(image, up, left):
    """An image (C, H, W) shifted up and left by definition: reflection padding, then a crop."""
    height, width = image.shape[1:]
    padded = torch.nn.functional.pad(image.unsqueeze(0), (3, 3, 3, 3), mode="reflect")[0]
    return padded[:, 3 + up : 3 + up + height, 3 + left : 3 + left + width]


def test_without_options_the_batch_is_unchanged():
    assert augment(IMAGES, KEY, POSITIONS) is IMAGES


def test_a_flip_mirrors_half_of_the_images():
    flipped = augment(IMAGES, KEY, POSITIONS, flip=True)
    mirrored = (flipped == IMAGES.flip(-1)).flatten(1).all(1)
    assert ((flipped == IMAGES).flatten(1).all(1) ^ mirrored).all()
    assert 20 < mirrored.sum() < 44


def test_a_shift_reflects_the_border():
    shifted, seen = augment(IMAGES, KEY, POSITIONS, shift=3), set()
    for before, after in zip(IMAGES, shifted, strict=True):
        moves = [
            (u, v)
            for u in range(-3, 4)
            for v in range(-3, 4)
            if torch.equal(after, reflected(before, u, v))
        ]
        assert len(moves) == 1
        seen |= set(moves)
    assert len(seen) > 25  # of 49, in 64 draws


def test_all_shifts_are_equally_likely():
    line = torch.arange(5.0).view(1, 1, 1, 5).expand(20_000, 1, 5, 5)
    moved = augment(line, KEY, torch.arange(20_000), shift=2)[:, 0, 0, 2] - 2
    shares = torch.bincount(moved.long() + 2, minlength=5) / 20_000
    assert (shares - 0.2).abs().max() < 0.015


def test_the_number_of_processes_does_not_matter():
    whole = augment(IMAGES, KEY, POSITIONS, flip=True, shift=2)
    parts = [
        augment(IMAGES[part], KEY, part, flip=True, shift=2) for part in POSITIONS.tensor_split(3)
    ]
    assert torch.equal(torch.cat(parts), whole)
    backwards = augment(IMAGES.flip(0), KEY, POSITIONS.flip(0), flip=True, shift=2)
    assert torch.equal(backwards.flip(0), whole)


def test_steps_differ_and_are_reproducible():
    one, again, other = (
        augment(IMAGES, key_of(3, step), POSITIONS, flip=True, shift=2) for step in (5, 5, 6)
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_nothing_is_drawn_from_torchs_generator():
    before = torch.get_rng_state()
    augment(IMAGES, KEY, POSITIONS, flip=True, shift=2)
    assert torch.equal(before, torch.get_rng_state())


def test_an_empty_batch_stays_empty():
    assert augment(IMAGES[:0], KEY, POSITIONS[:0], flip=True, shift=2).shape == (0, 2, 6, 7)


def test_the_device_is_never_synchronized():
    """The meta device has no values: reading one raises."""
    meta = torch.device("meta")
    assert augment(IMAGES.to(meta), KEY, POSITIONS, flip=True, shift=2).shape == IMAGES.shape
