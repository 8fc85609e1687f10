"""Reading any files as samples for a model."""

import contextlib
import logging
import os
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from vq.data.digits import Digits
from vq.data.read_samples import read_samples
from vqcore.errors import SettingError
from vqcore.interfaces.dataset import SampleSpec

GREY, COLOUR = SampleSpec((1, 8, 8)), SampleSpec((3, 8, 12))
BITS = SampleSpec((5,), (0.0, 1.0), "bernoulli")


@pytest.fixture
def folder(tmp_path):
    """Three nested images of mixed sizes and modes, and two files that are not images."""
    (tmp_path / "deep" / "er").mkdir(parents=True)
    Image.new("L", (20, 30), 51).save(tmp_path / "deep" / "b.png")
    Image.new("RGBA", (9, 40), (255, 255, 255, 255)).save(tmp_path / "deep" / "er" / "c.png")
    Image.new("RGB", (64, 8), (0, 0, 0)).save(tmp_path / "a.bmp")
    (tmp_path / "deep" / "cut.jpg").write_text("no image")
    (tmp_path / "notes.txt").touch()
    return tmp_path


@pytest.mark.parametrize("samples", [GREY, COLOUR])
@pytest.mark.parametrize("workers", [0, 1])
def test_a_folder_of_images(folder, served, samples, workers):
    inputs = read_samples(folder, samples, workers=workers)
    assert inputs.names == ["a.bmp", "deep/b.png", "deep/er/c.png"]
    assert list(inputs.skipped) == ["deep/cut.jpg"]
    assert "not an image" in inputs.skipped["deep/cut.jpg"]
    batch = served(inputs.split, 2)
    assert batch.shape == (3, *samples.shape)
    torch.testing.assert_close(batch[:, 0, 0, 0], torch.tensor([-1.0, -0.6, 1.0]))


def test_images_are_cropped_to_the_models_proportions(tmp_path, served):
    image = Image.new("RGB", (30, 40), (255, 0, 0))
    image.paste((0, 255, 0), (0, 10, 30, 30))  # 30 wide and 20 high in the middle, as 12 and 8 are
    image.save(tmp_path / "a.png")
    batch = served(read_samples(tmp_path / "a.png", COLOUR).split)
    assert (batch == torch.tensor([-1.0, 1.0, -1.0]).view(1, 3, 1, 1)).all()


def test_one_image(folder, served):
    inputs = read_samples(folder / "deep" / "b.png", GREY)
    assert (inputs.names, inputs.skipped) == (["b.png"], {})
    torch.testing.assert_close(served(inputs.split), torch.full((1, 1, 8, 8), -0.6))


def test_rows_of_bytes(tmp_path, served):
    rows = np.arange(256, dtype=np.uint8).reshape(4, 8, 8, 1)
    np.save(tmp_path / "a.npy", rows)
    inputs = read_samples(tmp_path / "a.npy", GREY)
    assert inputs.names == ["0", "1", "2", "3"]
    torch.testing.assert_close(served(inputs.split).flatten(), torch.arange(256) / 127.5 - 1)


def test_files_are_read_as_the_data_set_serves_them(tmp_path, served):
    expected = served(Digits().split("test"))
    np.save(tmp_path / "a.npy", Digits().split("test").data.numpy())
    assert torch.equal(served(read_samples(tmp_path / "a.npy", GREY).split), expected)


def test_floats_are_in_the_units_of_the_models_own_data(tmp_path, served):
    np.savez(tmp_path / "a.npz", x=np.full((2, 8, 8), 30.0), y=np.arange(2))
    stored = SampleSpec((1, 8, 8), stored_range=(0.0, 40.0))
    torch.testing.assert_close(
        served(read_samples(tmp_path / "a.npz", stored).split), torch.full((2, 1, 8, 8), 0.5)
    )
    np.save(tmp_path / "b.npy", np.full((2, 8, 8), 0.5))
    assert (served(read_samples(tmp_path / "b.npy", GREY).split) == 0.5).all()


@pytest.mark.parametrize("shape", [(2, 16), (1, 16), (16, 3), (2, 4, 4, 4), (5, 4, 4), (8, 8, 1)])
def test_rows_of_any_shape_that_the_model_takes(tmp_path, served, shape):
    rows = np.random.default_rng(0).uniform(-1, 1, (3, *shape)).astype(np.float32)
    np.save(tmp_path / "a.npy", rows)
    assert np.array_equal(served(read_samples(tmp_path / "a.npy", SampleSpec(shape)).split), rows)


def test_a_layout_that_is_named_holds(tmp_path, served):
    rows = np.random.default_rng(0).uniform(-1, 1, (2, 3, 3, 3)).astype(np.float32)
    np.save(tmp_path / "a.npy", rows)
    inputs = read_samples(tmp_path / "a.npy", SampleSpec((3, 3, 3)), layout="NHWC")
    assert np.array_equal(served(inputs.split), rows.transpose(0, 3, 1, 2))


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_LZMA])
def test_damaged_files_are_refused_whatever_numpy_raises(tmp_path, method):
    np.savez(tmp_path / "good.npz", x=np.zeros((4, 8, 8), np.uint8))
    with zipfile.ZipFile(tmp_path / "good.npz") as good:
        content = good.read("x.npy")
    with zipfile.ZipFile(tmp_path / "a.npz", "w", method) as archive:
        archive.writestr("x.npy", content)
    whole = (tmp_path / "a.npz").read_bytes()
    directory = whole.rindex(b"PK\1\2")
    places = range(directory, directory + 46)  # flags, method, sizes, offset of the entry
    for place in [*places, *range(0, directory, 7)]:
        damaged = bytearray(whole)
        damaged[place] ^= 0xFF
        (tmp_path / "a.npz").write_bytes(damaged)
        with contextlib.suppress(SettingError):
            read_samples(tmp_path / "a.npz", GREY)


def test_a_pipe_is_not_waited_for(tmp_path):
    for name in ("a.npy", "a.png"):
        os.mkfifo(tmp_path / name)
        with pytest.raises(SettingError, match="not a regular file"):
            read_samples(tmp_path / name, GREY)


@pytest.mark.parametrize("kind", [bool, np.float32, np.uint8])
def test_vectors_of_bits(tmp_path, served, kind):
    bits = np.random.default_rng(0).random((6, 5)) < 0.5
    np.save(tmp_path / "a.npy", np.where(bits, 255 if kind is np.uint8 else 1, 0).astype(kind))
    assert torch.equal(
        served(read_samples(tmp_path / "a.npy", BITS).split), torch.tensor(bits).float()
    )


def test_an_array_is_chosen_by_its_key(tmp_path):
    np.savez(
        tmp_path / "a.npz", train=np.zeros((4, 8, 8), np.uint8), test=np.zeros((3, 8, 8), np.uint8)
    )
    assert len(read_samples(tmp_path / "a.npz", GREY, key="test").split) == 3
    with pytest.raises(SettingError, match="an array named x expected, found: train, test"):
        read_samples(tmp_path / "a.npz", GREY)


def test_floats_from_0_to_1_for_a_model_of_minus_1_to_1_give_a_warning(tmp_path, caplog):
    np.save(tmp_path / "a.npy", np.random.default_rng(0).random((3, 8, 8)))
    with caplog.at_level(logging.WARNING):
        read_samples(tmp_path / "a.npy", GREY)
    assert "the model was trained on -1 to 1" in caplog.text


@pytest.mark.parametrize(
    ("name", "rows", "samples", "message"),
    [
        (
            "a.npy",
            np.zeros((3, 9, 8), np.uint8),
            GREY,
            r"rows of shape \(1, 8, 8\) expected, \(1, 9, 8\) found",
        ),
        (
            "a.npy",
            np.zeros((3, 64), np.uint8),
            GREY,
            r"rows of shape \(1, 8, 8\) expected, \(64,\) found",
        ),
        (
            "a.npy",
            np.full((3, 8, 8), 255.0),
            GREY,
            "values between -1 and 1 expected, 255 to 255 found",
        ),
        ("a.npy", np.full((3, 8, 8), np.nan), GREY, "finite values expected"),
        ("a.npy", np.zeros((3, 8, 8), np.int64), GREY, "int64 found"),
        ("a.npy", None, GREY, "cannot be read"),
        (
            "a.png",
            None,
            GREY,
            r"expected images \(.*but none of 1 can be read \(not an image of a known format",
        ),
        ("a.txt", None, GREY, "expected images"),
        ("", None, GREY, "there are none"),
        (
            "",
            None,
            BITS,
            r"a \.npy or \.npz file, since the model takes samples of shape \(5,\), not images",
        ),
        ("", None, SampleSpec((7, 8, 8)), "not images"),
        ("no", None, GREY, "nothing is there"),
    ],
)
def test_samples_that_do_not_fit_are_refused_in_one_message(tmp_path, name, rows, samples, message):
    path = tmp_path / name
    if rows is not None:
        np.save(path, rows)
    elif name not in ("", "no"):
        path.write_text("something else")
    with pytest.raises(SettingError, match=message) as caught:
        read_samples(path, samples)
    assert str(caught.value).startswith(f"PATH = {str(path)!r}: expected ")
