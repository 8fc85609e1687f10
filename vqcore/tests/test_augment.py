"""Crops, flips and shifts, which depend only on the key and the sample's position."""

import pytest
import torch

from vqcore.data.augment import augment, crop_draws
from vqcore.data.crop import Crop
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


RESIZED = Crop("resized", scale=(0.2, 0.9), ratio=(0.5, 2.0))


@pytest.mark.parametrize("kind", ["center", "random", "resized", "pixels"])
@pytest.mark.parametrize("size", [(40, 90), (90, 40), (7, 8), (8, 7), (5, 300)])
@pytest.mark.parametrize("sides", [(8, 8), (6, 10)])
def test_every_crop_is_inside_the_image(kind, size, sides):
    crop = Crop(kind, RESIZED.scale, RESIZED.ratio)
    proportion = sides[1] / sides[0]
    for draws in crop_draws(KEY, POSITIONS).tolist():
        top, left, height, width = crop.box(*size, sides, draws)
        assert top >= 0
        assert left >= 0
        assert 0 < height <= size[0] - top + 1e-9
        assert 0 < width <= size[1] - left + 1e-9
        stretch = width / height / proportion
        assert 0.5 - 1e-9 < stretch < 2 + 1e-9 if kind == "resized" else abs(stretch - 1) < 1e-9
        whole = abs(height - size[0]) < 1e-9 or abs(width - size[1]) < 1e-9
        if kind == "pixels":
            assert whole or (height, width) == sides
        elif kind == "resized":
            assert height * width <= 0.9 * size[0] * size[1] + 1e-9
        else:
            assert whole


def test_areas_and_proportions_are_spread_over_their_bounds():
    boxes = [
        RESIZED.box(100, 100, (8, 8), draws)
        for draws in crop_draws(KEY, torch.arange(500)).tolist()
    ]
    areas = torch.tensor([box.height * box.width / 100**2 for box in boxes])
    stretches = torch.tensor([box.width / box.height for box in boxes]).log2()
    assert areas.min() < 0.23
    assert areas.max() > 0.85
    assert stretches.abs().max() > 0.95
    assert abs(stretches.mean()) < 0.1


def test_a_held_out_image_is_cut_in_the_middle():
    for kind in ("center", "random", "resized"):
        assert Crop(kind).box(40, 90, (8, 8), None) == (0, 25, 40, 40)
    assert Crop("pixels").box(40, 90, (8, 8), None) == (16, 41, 8, 8)
    assert Crop("pixels").box(4, 90, (8, 8), None) == (0, 43, 4, 4)


def test_a_crop_is_resized_by_linear_interpolation():
    (draws,) = crop_draws(KEY, POSITIONS[:1]).tolist()
    ramp = torch.arange(64.0).expand(1, 1, 48, 64)
    _, left, _, width = RESIZED.box(48, 64, (48, 64), draws)
    (cropped,) = augment(ramp, KEY, POSITIONS[:1], crop=RESIZED)
    expected = left + (torch.arange(64) + 0.5) * width / 64 - 0.5
    torch.testing.assert_close(cropped[0, 7], expected.clamp(0, 63), rtol=0, atol=1e-3)


@pytest.mark.parametrize("crop", [None, RESIZED])
def test_crops_do_not_depend_on_the_number_of_processes(crop):
    options = {"flip": True, "shift": 2, "crop": crop}
    whole = augment(IMAGES, KEY, POSITIONS, **options)
    parts = [augment(IMAGES[part], KEY, part, **options) for part in POSITIONS.tensor_split(3)]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=1e-3)
    assert len(augment(IMAGES[:0], KEY, POSITIONS[:0], **options)) == 0
