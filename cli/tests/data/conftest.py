"""Tests of data sets never reach the network, and read splits through one fixture."""

import io
import json
import socket
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """Every host lookup fails, as on a machine without a network."""

    def refuse(*_args, **_kwargs):
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def served():
    """A function that gives all samples of a split in their order."""

    def collect(split, batch_size=7):
        order = torch.arange(len(split))
        return torch.cat(list(split.batches(order.split(batch_size), torch.device("cpu"))))

    return collect


def png(light):
    """The bytes of a PNG file of 12x10 pixels of one colour."""
    file = io.BytesIO()
    Image.new("RGB", (12, 10), (light, 10, 20)).save(file, "PNG")
    return file.getvalue()


def lights(batch):
    """The ``light`` of each image, as a split serves it."""
    return ((batch[:, 0, 0, 0] + 1) * 127.5).round().int().tolist()


@pytest.fixture
def seen(served):
    """A function that gives the ``light`` of every sample of a split."""
    return lambda split: lights(served(split))


@pytest.fixture
def tar_shards(tmp_path):
    """Three shards of ten samples, 8 n bright; number 5 is broken."""
    folder = tmp_path / "shards"
    folder.mkdir()
    for shard in range(3):
        with tarfile.open(folder / f"s-{shard:03d}.tar", "w") as tar:
            for number in range(10 * shard, 10 * shard + 10):
                content = {
                    "png": png(8 * number) if number != 5 else b"broken",
                    "cls": f"{number % 3}\n".encode(),
                    "json": json.dumps({"kind": "ab"[number % 2], "n": number}).encode(),
                }
                for extension, data in content.items():
                    member = tarfile.TarInfo(f"./deep/{number:04d}.{extension}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
    return folder


@pytest.fixture
def table():
    """A table of 20 images, 5 n bright, of two classes; number 3 is broken."""
    datasets = pytest.importorskip("datasets", reason="needs the extra datasets")
    datasets.disable_progress_bars()
    images = [{"bytes": png(5 * n) if n != 3 else b"broken", "path": None} for n in range(20)]
    kinds = datasets.ClassLabel(names=["cat", "dog"])
    features = datasets.Features({"img": datasets.Image(), "label": kinds})
    rows = {"img": images, "label": [n % 2 for n in range(20)]}
    return datasets.Dataset.from_dict(rows, features=features)


@pytest.fixture
def audio(tmp_path):
    """Six files of 1,000 to 1,500 samples at 8 kHz in two folders, a broken and an empty one."""
    soundfile = pytest.importorskip("soundfile", reason="needs the extra audio")
    folder = tmp_path / "audio"
    for number in range(6):
        file = folder / ("low", "high")[number % 2] / f"{number}.{('wav', 'flac')[number % 3 == 0]}"
        file.parent.mkdir(parents=True, exist_ok=True)
        time = np.arange(1000 + 100 * number) / 8000
        soundfile.write(file, 0.5 * np.sin(2 * np.pi * 100 * (1 + number) * time), 8000)
    (folder / "low" / "broken.wav").write_bytes(b"no audio")
    soundfile.write(folder / "low" / "empty.wav", np.zeros(0), 8000)
    return folder


@pytest.fixture
def clips(tmp_path):
    """Five videos of 9 to 13 frames, frame f of video v 10 f + v bright, and one that is short."""
    folder = tmp_path / "clips"
    for video in range(5):
        (folder / f"v{video}").mkdir(parents=True)
        for frame in range(9 + video):
            (folder / f"v{video}" / f"frame{frame}.png").write_bytes(png(10 * frame + video))
    (folder / "short").mkdir()
    (folder / "short" / "0.png").write_bytes(png(0))
    return folder
