"""NumPy's files as a data set: layouts, dtypes, labels, and files that are refused."""

import numpy as np
import pytest
import torch

from vq.data.arrays import Arrays
from vqcore.errors import SettingError, VQError

RANDOM = np.random.default_rng(0)
BYTES = RANDOM.integers(0, 256, (12, 6, 5, 3), dtype=np.uint8)


def source(path, **options):
    return Arrays(root=str(path), **options)


def both(arrays, served):
    return torch.cat([served(arrays.split(name)) for name in ("train", "test")])


@pytest.fixture
def saved(tmp_path):
    """A .npz file of these arrays."""

    def save(**arrays):
        np.savez(tmp_path / "a.npz", **arrays)
        return tmp_path / "a.npz"

    return save


@pytest.mark.parametrize("pair", [("train", "test"), ("x_train", "x_test")])
def test_two_arrays_are_the_splits(saved, served, pair):
    file = saved(**{pair[0]: BYTES[:8], pair[1]: BYTES[8:], "other": BYTES})
    arrays = source(file)
    assert arrays.shape == (3, 6, 5)
    for name, rows in (("train", BYTES[:8]), ("test", BYTES[8:])):
        torch.testing.assert_close(
            served(arrays.split(name)), torch.tensor(rows).permute(0, 3, 1, 2) / 127.5 - 1
        )
    assert arrays.describe() == {
        "shape": [3, 6, 5],
        "value_range": [-1.0, 1.0],
        "likelihood": "gaussian",
    }


@pytest.mark.parametrize("form", ["npz", "npy", "folder", "only one"])
def test_a_part_of_one_array_is_held_out(tmp_path, served, form):
    if form == "npy":
        np.save(tmp_path / "a.npy", BYTES)
    elif form == "folder":
        (tmp_path / "a").mkdir()
        np.save(tmp_path / "a" / "x.npy", BYTES)
    else:
        np.savez(tmp_path / "a.npz", **{"x" if form == "npz" else "pictures": BYTES})
    (file,) = tmp_path.iterdir()
    arrays = source(file, held_out=0.25)
    assert (len(arrays.split("train")), len(arrays.split("test"))) == (9, 3)
    expected = {bytes(row) for row in BYTES.transpose(0, 3, 1, 2).reshape(12, -1)}
    assert {
        bytes(row.flatten().tolist()) for row in ((both(arrays, served) + 1) * 127.5).round().byte()
    } == expected
    assert (
        np.array_equal(np.load(file if form == "npy" else file / "x.npy"), BYTES)
        if form in ("npy", "folder")
        else 1
    )


def test_a_npy_file_is_memory_mapped(tmp_path):
    np.save(tmp_path / "a.npy", BYTES)
    assert isinstance(source(tmp_path / "a.npy")._files["x"](), np.memmap)


@pytest.mark.parametrize(
    ("array", "layout", "shape"),
    [
        (BYTES, "auto", (3, 6, 5)),
        (BYTES.transpose(0, 3, 1, 2), "auto", (3, 6, 5)),
        (BYTES[..., 0], "auto", (1, 6, 5)),
        (BYTES[..., :1], "auto", (1, 6, 5)),
        (BYTES, "NCHW", (6, 5, 3)),
        (np.zeros((4, 7, 8, 9), np.uint8), "NHWC", (9, 7, 8)),
        (BYTES.reshape(12, -1), "auto", (90,)),
    ],
)
def test_layouts(saved, served, array, layout, shape):
    arrays = source(saved(x=array), layout=layout)
    assert arrays.shape == shape
    assert both(arrays, served).shape == (len(array), *shape)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, ">f4"])
def test_floats_of_any_range_are_mapped_to_minus_one_to_one(saved, served, kind):
    rows = np.linspace(100, 900, 24).reshape(6, 4).astype(kind)
    arrays = source(saved(train=rows, test=rows[:2] + 50))
    assert arrays.shape == (4,)
    assert arrays.stored_range == (100, 900)
    assert arrays.describe()["stored_range"] == [100, 900]
    train, test = served(arrays.split("train")), served(arrays.split("test"))
    assert train.dtype == torch.float32
    torch.testing.assert_close(train, (torch.tensor(rows.astype(np.float64)) / 400 - 1.25).float())
    torch.testing.assert_close(test, train[:2] + 50 / 400, atol=2e-3, rtol=0)


def test_the_range_can_be_given(saved, served):
    arrays = source(saved(x=np.array([[0.25, 0.5], [0.75, 0.5]])), range=(0.0, 1.0))
    assert sorted(both(arrays, served).flatten().tolist()) == [-0.5, 0, 0, 0.5]


def test_bool_is_served_as_zeros_and_ones_with_cross_entropy(saved, served):
    rows = RANDOM.random((8, 5)) < 0.5
    arrays = source(saved(train=rows, test=rows))
    assert (arrays.value_range, arrays.likelihood, arrays.stored_range) == (
        (0.0, 1.0),
        "bernoulli",
        None,
    )
    assert torch.equal(served(arrays.split("test")), torch.tensor(rows).float())


@pytest.mark.parametrize(
    ("labels", "numbers", "classes"),
    [
        ([0, 2, 1, 0], [0, 2, 1, 0], ["0", "1", "2"]),
        (np.array([[1], [0], [1], [0]], dtype=np.uint8), [1, 0, 1, 0], ["0", "1"]),
        (["cat", "ant", "cat", "bee"], [2, 0, 2, 1], ["ant", "bee", "cat"]),
    ],
)
def test_labels_are_numbers_or_names(saved, labels, numbers, classes):
    labels = np.array(labels)
    arrays = source(saved(x_train=BYTES[:4], y_train=labels, x_test=BYTES[4:7], y_test=labels[:3]))
    assert arrays.split("train").labels.tolist() == numbers
    assert arrays.split("test").labels.tolist() == numbers[:3]
    assert arrays.describe()["classes"] == classes


def test_labels_follow_the_rows_that_are_held_out(saved, served):
    arrays = source(saved(x=np.arange(20.0).reshape(20, 1), y=np.arange(20)), held_out=0.3)
    for name in ("train", "test"):
        split = arrays.split(name)
        rows = (served(split).flatten() + 1) * 9.5
        torch.testing.assert_close(rows, split.labels.float())


def test_one_split_may_have_no_labels(saved):
    arrays = source(saved(train=BYTES[:4], test=BYTES[4:], y_train=np.arange(4)))
    assert arrays.split("test").labels is None
    assert arrays.split("train").labels.tolist() == [0, 1, 2, 3]


WRONG = {
    "no such array": (
        {"a": BYTES, "b": BYTES},
        "arrays named train and test, x_train and x_test, or x, found: a, b",
    ),
    "half a pair": ({"train": BYTES}, "found: train"),
    "whole numbers": (
        {"x": BYTES.astype(np.int32)},
        r"x: uint8, bool or float values expected, .*int32 found.*astype",
    ),
    "one axis": ({"x": np.zeros(5)}, r"x: an array of shape \(N, F\), .* expected, \(5,\) found"),
    "no rows": ({"x": np.zeros((0, 4))}, r"\(0, 4\) found"),
    "one row": ({"x": np.zeros((1, 4))}, "two or more rows of x expected, 1 found"),
    "no channels": ({"x": np.zeros((3, 8, 8, 8))}, r"1 or 3 channels expected .*layout"),
    "two shapes": (
        {"train": BYTES, "test": BYTES[:, 1:]},
        r"\(3, 6, 5\) of uint8 and \(3, 5, 5\) of uint8",
    ),
    "two types": ({"train": BYTES, "test": BYTES / 255}, "uint8 and .* float64"),
    "objects": ({"x": np.array([{}, []], dtype=object)}, "cannot be read: ValueError"),
    "not finite": ({"x": np.array([[1.0], [np.nan]])}, "finite values expected, nan found"),
    "infinite": ({"x": np.array([[1.0], [-np.inf]])}, "finite values expected, -inf found"),
    "constant": ({"x": np.ones((4, 2))}, "rows that differ expected, every value is 1"),
    "few labels": ({"x": BYTES, "y": np.arange(3)}, r"y of shape \(12,\) expected, \(3,\) found"),
    "odd labels": ({"x": BYTES, "y": np.linspace(0, 1, 12)}, "names or whole numbers from 0"),
    "negative labels": ({"x": BYTES, "y": np.arange(12) - 1}, "names or whole numbers from 0"),
}


@pytest.mark.parametrize("case", WRONG)
def test_an_unusable_array_is_refused_in_one_message(saved, case):
    arrays, message = WRONG[case]
    with pytest.raises(SettingError, match=message) as caught:
        source(saved(**arrays)).split("train")
    assert str(caught.value).startswith("dataset.root = ")


@pytest.mark.parametrize("name", ["a.npz", "a.npy", "a.csv"])
def test_a_file_of_another_kind_is_refused_in_one_message(tmp_path, name):
    (tmp_path / name).write_text("no array")
    with pytest.raises(
        SettingError, match=r"dataset\.root = .*(cannot be read|is no \.npy file, \.npz file)"
    ):
        source(tmp_path / name).split("train")


def test_a_truncated_file_is_refused_in_one_message(saved, tmp_path):
    for file in (saved(x=BYTES), tmp_path / "b.npy"):
        np.save(tmp_path / "b.npy", BYTES)
        file.write_bytes(file.read_bytes()[:-100])
        with pytest.raises(SettingError, match="cannot be read"):
            source(file).split("train")


def test_a_missing_file_is_refused_with_the_fix(tmp_path):
    with pytest.raises(
        SettingError, match=r"nothing is there; name another with --set dataset\.root=PATH"
    ):
        source(tmp_path / "no.npz").split("train")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"flip": True}, r"dataset\.flip = True: .*vectors"),
        ({"shift": 1}, r"dataset\.shift = 1: .*vectors"),
    ],
)
def test_vectors_are_not_augmented(saved, options, message):
    with pytest.raises(VQError, match=message):
        source(saved(x=BYTES.reshape(12, -1)), **options).shape  # noqa: B018


def test_a_shift_beyond_the_image_is_refused(saved):
    with pytest.raises(SettingError, match=r"dataset\.shift = 5: expected less than 5"):
        source(saved(x=BYTES), shift=5).shape  # noqa: B018


def test_a_descending_range_is_refused():
    with pytest.raises(SettingError, match="the smaller number first"):
        Arrays(range=(1.0, 0.0))


def test_a_run_trains_on_arrays(train, saved, tmp_path):
    saved(x=RANDOM.random((40, 8, 8)) * 50, y=np.arange(40) % 2)
    run = train(
        "--dataset",
        "arrays",
        "--dataset.root",
        "a.npz",
        "--dataset.flip",
        "true",
        "--batch-size",
        "8",
    )
    assert run.json("data")["shape"] == [1, 8, 8]
    assert f"root: {tmp_path / 'a.npz'}\n" in (run.path / "config.yaml").read_text()
