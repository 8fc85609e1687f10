"""MNIST from small files in the true idx format."""

import gzip
import hashlib
import struct

import pytest
import torch
from torchvision import datasets

from vq.data.mnist import FashionMnist, Mnist
from vqcore.errors import RunError, SettingError
from vqcore.testing import DatasetConformance

SOURCES = [(Mnist, "MNIST"), (FashionMnist, "FashionMNIST")]


def idx(values):
    """Bytes of the idx format: type 8 (bytes), rank, big-endian sizes, values."""
    return struct.pack(f">HBB{values.dim()}I", 0, 8, values.dim(), *values.shape) + bytes(
        values.flatten().tolist()
    )


def images(seed, count, side=28):
    return torch.randint(
        256, (count, side, side), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8
    )


def contents(side=28):
    """The four files by name."""
    files = {}
    for seed, (part, count) in enumerate([("train", 6), ("t10k", 3)]):
        files[f"{part}-images-idx3-ubyte"] = idx(images(seed, count, side))
        files[f"{part}-labels-idx1-ubyte"] = idx(torch.arange(count, dtype=torch.uint8))
    return files


def write(root, folder, side=28):
    raw = root / folder / "raw"
    raw.mkdir(parents=True)
    for name, content in contents(side).items():
        (raw / name).write_bytes(content)
    return raw


@pytest.mark.parametrize(("source", "folder"), SOURCES)
def test_splits_are_the_published_files(tmp_path, served, source, folder):
    write(tmp_path, folder)
    mnist = source(root=str(tmp_path))
    for seed, (name, count) in enumerate([("train", 6), ("test", 3)]):
        split = mnist.split(name)
        assert split.data.dtype == torch.uint8
        torch.testing.assert_close(served(split, 2), images(seed, count).unsqueeze(1) / 127.5 - 1)
        assert split.labels.tolist() == list(range(count))
        assert split.labels.dtype == torch.int64
    assert len(mnist.classes) == 10
    assert mnist.shape == (1, 28, 28)


def test_pad_adds_background_on_every_side(tmp_path, served):
    write(tmp_path, "MNIST")
    mnist = Mnist(root=str(tmp_path), pad=2)
    batch = served(mnist.split("test"))
    assert batch.shape[1:] == mnist.shape == (1, 32, 32)
    torch.testing.assert_close(batch[:, :, 2:-2, 2:-2], images(1, 3).unsqueeze(1) / 127.5 - 1)
    for edge in (batch[..., :2], batch[..., -2:], batch[..., :2, :], batch[..., -2:, :]):
        assert (edge == -1).all()


def test_download_unpacks_existing_archives(tmp_path, served, monkeypatch):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    sums = []
    for name, content in contents().items():
        packed = gzip.compress(content)
        (raw / f"{name}.gz").write_bytes(packed)
        sums.append((f"{name}.gz", hashlib.md5(packed).hexdigest()))
    monkeypatch.setattr(datasets.MNIST, "resources", sums)  # the sums of these small files
    assert served(Mnist(root=str(tmp_path), download=True).split("train")).shape == (6, 1, 28, 28)


@pytest.mark.parametrize(("source", "folder"), SOURCES)
def test_missing_files_are_refused_with_the_fix(tmp_path, source, folder):
    raw = write(tmp_path, folder)
    (raw / "t10k-images-idx3-ubyte").unlink()
    with pytest.raises(SettingError) as caught:
        source(root=str(tmp_path)).split("test")
    message = str(caught.value)
    assert message.startswith(
        f"dataset.root = {str(tmp_path)!r}: expected the folder that holds {folder}"
    )
    assert str(raw / "t10k-images-idx3-ubyte") in message
    assert "--set dataset.download=true" in message


def test_a_failed_download_ends_in_one_message(tmp_path):
    with pytest.raises(
        RunError, match=r"MNIST could not be downloaded to dataset\.root.*name resolution.*yourself"
    ):
        Mnist(root=str(tmp_path), download=True).split("train")


def test_a_root_that_cannot_be_created_is_refused_in_one_message(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="Not a directory"):
        Mnist(root=str(tmp_path / "file" / "data"), download=True).split("train")


@pytest.mark.parametrize("keep", [0, 3, 16, 1000])
def test_a_damaged_file_is_refused_in_one_message(tmp_path, keep):
    raw = write(tmp_path, "MNIST")
    file = raw / "train-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(SettingError, match=r"dataset\.root = .*intact files of MNIST"):
        Mnist(root=str(tmp_path)).split("train")


def test_missing_labels_are_refused_in_one_message(tmp_path):
    file = write(tmp_path, "MNIST") / "t10k-labels-idx1-ubyte"
    file.write_bytes(idx(torch.arange(2, dtype=torch.uint8)))
    with pytest.raises(SettingError, match="a label for each of 3 images expected, 2 found"):
        Mnist(root=str(tmp_path)).split("test")


def test_images_of_another_size_are_refused(tmp_path):
    write(tmp_path, "MNIST", side=20)
    with pytest.raises(SettingError, match="28x28 expected"):
        Mnist(root=str(tmp_path)).split("train")


@pytest.mark.parametrize(("kind", "folder"), SOURCES, scope="class")
class TestMnist(DatasetConformance):
    @pytest.fixture(autouse=True)
    def _choose(self, kind, folder, tmp_path):
        write(tmp_path, folder)
        self.kind, self.root = kind, str(tmp_path)
        self.refused = [{"root": str(tmp_path / "nowhere")}]

    def make(self, **options):
        return self.kind(**{"root": self.root, "pad": 2, "shift": 2} | options)
