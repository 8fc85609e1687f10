import json
import sys

import pytest

from vq.data.huggingface import HuggingFace
from vq.data.skipping import unreadable
from vqcore.errors import RunError, SettingError, UsageError

ROWS = [n for n in range(20) if n not in (4, 5)]  # of a table of 20 rows, 2 of them held out


def source(root=None, **options):
    return HuggingFace(root=root and str(root), image_size=8, workers=0, **options)


def saved(table, folder):
    table.save_to_disk(folder)
    return folder


def parquet(table, file):
    table.to_parquet(file)
    return file


def arrow(table, file):
    return next(saved(table, file).glob("*.arrow"))


@pytest.mark.parametrize("write", [saved, parquet, arrow])
def test_files_of_one_table(table, tmp_path, seen, write):
    suffix = ".parquet" if write is parquet else ""
    data = source(write(table, tmp_path / f"table{suffix}"))
    train, test = data.split("train"), data.split("test")
    assert seen(train) == [5 * (6 if n == 3 else n) for n in ROWS]
    assert seen(test) == [20, 25]
    assert train.labels.tolist() == [n % 2 for n in ROWS]
    assert data.classes == ["cat", "dog"]
    assert "row 3 of the split train cannot be read: not an image" in unreadable(train)["train/3"]
    chosen = {"train": "train", "test": "train", "image": "img", "label": "label"}
    assert data.describe()["chosen"] == chosen


def test_splits_of_a_folder_of_parquet_files(table, tmp_path, seen):
    (tmp_path / "folder").mkdir()
    table.to_parquet(tmp_path / "folder" / "train-00000-of-00001.parquet")
    table.select(range(6, 9)).to_parquet(tmp_path / "folder" / "validation-00000-of-00001.parquet")
    data = source(tmp_path / "folder")
    assert len(data.split("train")) == 20
    assert seen(data.split("test")) == [30, 35, 40]
    assert data.split("test").names == ["validation/0", "validation/1", "validation/2"]
    other = source(tmp_path / "folder", train="validation", test="train")
    assert (len(other.split("train")), len(other.split("test"))) == (3, 20)


def test_a_folder_of_images(table, tmp_path, seen):
    for n in range(4):
        file = tmp_path / "images" / "train" / "ab"[n % 2] / f"{n}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(table.cast_column("img", _undecoded())[n + 4]["img"]["bytes"])
    data = source(tmp_path / "images")
    assert sorted(seen(data.split("train")) + seen(data.split("test"))) == [20, 25, 30, 35]
    assert data.classes == ["a", "b"]


def _undecoded():
    from datasets import Image

    return Image(decode=False)


def test_bytes_and_texts_of_a_plain_table(table, tmp_path, seen):
    import pyarrow
    from pyarrow import parquet

    images = [each["bytes"] for each in table.cast_column("img", _undecoded())["img"]]
    columns = {"jpg": images, "caption": ["x"] * 20, "kind": [f"k{n % 2}" for n in range(20)]}
    parquet.write_table(pyarrow.table(columns), tmp_path / "plain.parquet")
    data = source(tmp_path / "plain.parquet")
    assert seen(data.split("test")) == [20, 25]
    assert data.classes is None
    named = source(tmp_path / "plain.parquet", label="kind")
    assert named.split("test").labels.tolist() == [0, 1]
    assert named.classes == ["k0", "k1"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image": "image"}, "dataset.image = 'image': expected one of the columns img, label"),
        ({"label": "kind"}, "dataset.label = 'kind': expected one of the columns img, label"),
        ({"train": "trian"}, "dataset.train = 'trian': expected one of the splits train"),
        ({"hub": "a/b"}, "dataset.root = .*: expected a file or folder here, or dataset.hub"),
    ],
)
def test_what_a_table_does_not_have_is_refused(table, tmp_path, options, message):
    with pytest.raises(SettingError, match=message):
        source(saved(table, tmp_path / "table"), **options).split("train")


@pytest.mark.usefixtures("table")
def test_files_that_cannot_be_read_are_refused(tmp_path):
    (tmp_path / "text.txt").write_text("text")
    (tmp_path / "bad.parquet").write_text("no parquet")
    for name, message in (
        ("none", "a file or folder, but nothing is there"),
        ("text.txt", "a folder, or a file that ends in .parquet or .arrow"),
        ("bad.parquet", "a data set that can be read"),
    ):
        with pytest.raises(SettingError, match=f"dataset.root = .*{message}"):
            source(tmp_path / name).split("train")
    with pytest.raises(
        SettingError, match=r"dataset.root = None: expected a file or folder here, or dataset.hub"
    ):
        source().split("train")


@pytest.fixture
def hub(table, tmp_path, monkeypatch):
    """A hub's cache that holds one data set, by its commit."""
    from huggingface_hub import constants

    cache = tmp_path / "hub"
    repository = cache / "datasets--someone--pets"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("c0ffee")
    data = repository / "snapshots" / "c0ffee" / "data"
    data.mkdir(parents=True)
    table.to_parquet(data / "train-00000-of-00001.parquet")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    return cache


@pytest.mark.usefixtures("hub")
def test_a_data_set_of_the_hub_comes_from_its_cache_without_a_network(seen):
    data = source(hub="someone/pets")
    assert seen(data.split("test")) == [20, 25]


@pytest.mark.usefixtures("hub")
def test_nothing_is_downloaded_unless_asked():
    with pytest.raises(SettingError, match="but it is not there; download it with --set"):
        source(hub="someone/birds").split("train")
    with pytest.raises(RunError, match=r"dataset.hub = 'someone/birds' is not downloaded"):
        source(hub="someone/birds", download=True).split("train")
    with pytest.raises(SettingError, match=r"dataset.hub = 'a b/../c': expected the name"):
        source(hub="a b/../c").split("train")


def test_without_the_library_its_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UsageError, match=r"needs datasets: pip install 'vq-cli\[datasets\]'"):
        source("anywhere")


def test_what_is_recorded_is_json(table, tmp_path):
    data = source(saved(table, tmp_path / "table"))
    data.split("train")
    assert json.loads(json.dumps(data.describe()))["pictures"] == {"train": 18, "test": 2}
