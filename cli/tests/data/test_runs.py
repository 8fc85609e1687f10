"""Runs on data sets in files: absolute paths, downloads, and a third-party data set."""

import os
import re
import sys
from pathlib import Path

import pytest
from PIL import Image

from vq.config.resolved_config import resolve_config
from vq.runs.trained_run import load_run
from vqcore.plugin.registry import Registry

DOCUMENTATION = Path(__file__).parents[3] / "docs" / "data.md"


@pytest.fixture
def documented_plugin(tmp_path):
    """The documented data set as a plugin file."""
    blocks = re.findall(
        r"^```python\n(.*?)^```", DOCUMENTATION.read_text(encoding="utf-8"), re.M | re.S
    )
    (source,) = [block for block in blocks if "def vq_datasets" in block]
    (tmp_path / "my_data.py").write_text(source)
    yield "my_data.py"
    sys.modules.pop("my_data", None)


def test_the_documented_data_set_trains(train, vq, documented_plugin):
    choice = ("--plugin-file", documented_plugin, "--dataset", "stripes")
    run = train(*choice, "--dataset.side", "8", "--dataset.shift", "1")
    assert run.json("data")["shape"] == [1, 8, 8]
    assert run.json("data")["classes"] == ["rows", "columns"]
    assert run.json("summary")["samples"] == 512
    refused = vq("train", *choice, "--dataset.side", "4")
    assert refused.code == 2
    assert "dataset.side = 4" in refused.err


@pytest.fixture
def images(tmp_path):
    """Six small images in ``here/images``, one of them broken."""
    folder = tmp_path / "here" / "images"
    folder.mkdir(parents=True)
    for number in range(6):
        Image.new("L", (12 + number, 9), 40 * number).save(folder / f"{number}.png")
    (folder / "5.png").write_bytes(b"")
    return folder


def test_a_run_on_a_relative_path_finds_its_data_from_anywhere(
    train, vq, images, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path / "here")
    options = ("--dataset.root", "images", "--dataset.image_size", "8", "--dataset.workers", "0")
    run = train("--dataset", "image-folder", *options)
    assert f"root: {images}\n" in (run.path / "config.yaml").read_text()
    assert list(run.json("data")["skipped"]) == ["5.png"]
    monkeypatch.chdir(tmp_path)
    assert len(load_run(run.path).source.split("test")) == 1
    assert vq("train", "--resume", run.path, "--max-steps", "10").code == 0
    assert f"root: {images}\n" in (run.path / "config.yaml").read_text()


def test_a_run_makes_paths_absolute_and_its_config_does_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/someone")
    for given, absolute in (
        ("a/b", str(tmp_path / "a/b")),
        ("~/a", "/home/someone/a"),
        ("/a", "/a"),
    ):
        config = resolve_config({"dataset": {"name": "arrays", "root": given}}, Registry())
        assert config.dump()["dataset"]["root"] == given
        assert config.located().dump() == config.dump() | {
            "dataset": config.dump()["dataset"] | {"root": absolute}
        }
    config = resolve_config({}, Registry())
    assert config.located() == config


def test_download_is_a_flag(vq):
    assert "download: true" in vq("train", "--dataset", "mnist", "--download", "--print-config").out
    assert "download: false" in vq("train", "--dataset", "mnist", "--print-config").out
    failed = vq("train", "--dataset", "mnist", "--download", "--run-dir", "run")
    assert failed.code == 1
    assert "MNIST could not be downloaded to dataset.root = 'data'" in failed.err
    assert not os.path.exists("run")


def test_strict_is_a_flag(vq, images):
    choice = (
        "train",
        "--dataset",
        "image-folder",
        "--dataset.root",
        images,
        "--strict",
        "--run-dir",
        "run",
    )
    assert "strict: true" in vq(*choice, "--print-config").out
    refused = vq(*choice)
    assert refused.code == 2
    assert "1 of 6 cannot be read" in refused.err.replace("images ", "")
    assert not os.path.exists("run")


def test_download_is_refused_without_anything_to_download(vq):
    refused = vq("train", "--download", "--dry-run")
    assert refused.code == 2
    assert "dataset.download" in refused.err
