"""CIFAR-10 from small files in the true layout.

torchvision checks MD5 sums before it reads the pickles. The tests replace the published sums by
those of the small files, so that the check itself still runs.
"""

import hashlib
import pickle
import tarfile

import numpy as np
import pytest
import torch
from torchvision import datasets

from vq.data.cifar10 import Cifar10
from vqcore.errors import RunError, SettingError
from vqcore.testing import DatasetConformance

TRAIN = [f"data_batch_{number}" for number in range(1, 6)]


def rows(seed, count=2):
    return np.random.default_rng(seed).integers(0, 256, (count, 3072), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A ``cifar-10-batches-py``: five training files of two images and a test file of three."""
    base = tmp_path / "data" / "cifar-10-batches-py"
    base.mkdir(parents=True)
    sums = {}

    def write(name, content):
        packed = pickle.dumps(content, protocol=2)
        (base / name).write_bytes(packed)
        sums[name] = hashlib.md5(packed).hexdigest()

    for seed, name in enumerate(TRAIN):
        write(
            name,
            {"batch_label": name, "labels": [0, 1], "data": rows(seed), "filenames": ["a", "b"]},
        )
    write(
        "test_batch",
        {"batch_label": "test", "labels": [0] * 3, "data": rows(9, 3), "filenames": ["c"] * 3},
    )
    write("batches.meta", {"label_names": [str(label) for label in range(10)]})
    monkeypatch.setattr(datasets.CIFAR10, "train_list", [[name, sums[name]] for name in TRAIN])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setitem(datasets.CIFAR10.meta, "md5", sums["batches.meta"])
    return tmp_path / "data"


def test_splits_are_the_published_files(folder, served):
    source = Cifar10(root=str(folder))
    expected = {"train": np.concatenate([rows(seed) for seed in range(5)]), "test": rows(9, 3)}
    for name, values in expected.items():
        split = source.split(name)
        assert split.data.dtype == torch.uint8
        assert split.data.is_contiguous()
        images = torch.from_numpy(values).view(-1, *source.shape)
        torch.testing.assert_close(served(split, 4), images / 127.5 - 1)
        assert split.labels.tolist() == {"train": [0, 1] * 5, "test": [0] * 3}[name]


def test_download_unpacks_an_existing_archive(folder, served, tmp_path, monkeypatch):
    root = tmp_path / "fresh"
    root.mkdir()
    archive = root / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder / "cifar-10-batches-py", "cifar-10-batches-py")
    monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    assert served(Cifar10(root=str(root), download=True).split("test")).shape == (3, 3, 32, 32)


def test_a_missing_file_is_refused_with_the_fix(folder):
    (folder / "cifar-10-batches-py" / "data_batch_3").unlink()
    with pytest.raises(SettingError) as caught:
        Cifar10(root=str(folder)).split("train")
    message = str(caught.value)
    assert message.startswith(
        f"dataset.root = {str(folder)!r}: expected the folder that holds CIFAR-10"
    )
    assert "data_batch_3 is missing" in message
    assert "--set dataset.download=true" in message


def test_a_changed_pickle_is_not_read(folder):
    file = folder / "cifar-10-batches-py" / "test_batch"
    file.write_bytes(file.read_bytes() + b"\0")  # the pickle itself would still load
    with pytest.raises(SettingError, match="intact files of CIFAR-10"):
        Cifar10(root=str(folder)).split("test")


def test_a_failed_download_ends_in_one_message(tmp_path):
    with pytest.raises(
        RunError, match=r"CIFAR-10 could not be downloaded to dataset\.root.*name resolution"
    ):
        Cifar10(root=str(tmp_path), download=True).split("train")


class TestCifar10(DatasetConformance):
    refused = ({"root": "nowhere"},)

    @pytest.fixture(autouse=True)
    def _choose(self, folder):
        self.root = str(folder)

    def make(self, **options):
        return Cifar10(**{"root": self.root, "flip": True} | options)
