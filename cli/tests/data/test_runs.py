"""Runs on data sets that are files: paths that hold from everywhere, downloading, and a data set of a third party."""

import os

import pytest
from PIL import Image

from vq.pipeline.config import make_plan
from vqcore.registry import Registry

OWN_SET = '''
from collections.abc import Iterator
from typing import Annotated

import torch
from pydantic import Field

from vq.pipeline.data.source import DataSource, PictureSource
from vq.pipeline.data.splits import ArraySplit
from vqcore.config import ComponentConfig

class Config(ComponentConfig):
    """Options of stripes."""

    side: Annotated[int, Field(ge=8)] = 8
    """Side of a picture."""

class Stripes(PictureSource):
    classes = ("rows", "columns")

    def __init__(self, *, side: int = 8) -> None:
        super().__init__((1, side, side), flip=True, shift=1)

    def split(self, name):
        labels = torch.arange(48 if name == "train" else 16) % 2
        rows = torch.arange(self.shape[1]).remainder(2).mul(255).byte().expand(self.shape)
        return ArraySplit(torch.stack([rows.mT if label == 0 else rows for label in labels.tolist()]), labels)

@hookimpl
def vq_datasets():
    return [ComponentSpec(name="stripes", target=f"{__name__}:Stripes", config=f"{__name__}:Config", summary="stripes")]
'''


def test_a_third_partys_data_set_trains_and_is_evaluated(train, vq, plugin_file):
    file = plugin_file("stripes_set", OWN_SET)
    run = train("--plugin-file", file, "--dataset", "stripes", "--dataset.side", "12", "--batch-size", "16")
    assert run.json("data")["shape"] == [1, 12, 12]
    assert run.json("data")["classes"] == ["rows", "columns"]
    assert vq("evaluate", run.path).code == 0
    refused = vq("train", "--plugin-file", file, "--dataset", "stripes", "--dataset.side", "4")
    assert refused.code == 2
    assert "dataset.side = 4" in refused.err


@pytest.fixture
def pictures(tmp_path):
    """Six small pictures below ``here/pictures``, one of them broken; ``here`` is the working directory."""
    folder = tmp_path / "here" / "pictures"
    folder.mkdir(parents=True)
    for number in range(6):
        Image.new("L", (12 + number, 9), 40 * number).save(folder / f"{number}.png")
    (folder / "5.png").write_bytes(b"")
    return folder


def test_a_run_on_a_relative_path_is_evaluated_from_anywhere(train, vq, pictures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path / "here")
    options = ("--dataset.root", "pictures", "--dataset.image_size", "8", "--dataset.workers", "0")
    run = train("--dataset", "image-folder", *options)
    assert f"root: {pictures}\n" in (run.path / "config.yaml").read_text()
    assert list(run.json("data")["skipped"]) == ["5.png"]
    monkeypatch.chdir(tmp_path)
    assert vq("evaluate", run.path).code == 0
    assert vq("train", "--resume", run.path, "--max-steps", "10").code == 0


def test_paths_are_made_absolute_by_a_run_and_not_by_its_plan(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/someone")
    for given, absolute in (("a/b", str(tmp_path / "a/b")), ("~/a", "/home/someone/a"), ("/a", "/a")):
        plan = make_plan({"dataset": {"name": "arrays", "root": given}}, Registry())
        assert plan.dump()["dataset"]["root"] == given
        assert plan.located().dump() == plan.dump() | {"dataset": plan.dump()["dataset"] | {"root": absolute}}
    plan = make_plan({}, Registry())
    assert plan.located() == plan


def test_download_is_a_flag(vq):
    assert "download: true" in vq("train", "--dataset", "mnist", "--download", "--print-config").out
    assert "download: false" in vq("train", "--dataset", "mnist", "--print-config").out
    failed = vq("train", "--dataset", "mnist", "--download", "--run-dir", "run")
    assert failed.code == 1
    assert f"MNIST could not be downloaded to dataset.root = '{os.getcwd()}/data'" in failed.err
    assert not os.path.exists("run")


def test_download_of_what_needs_none_is_refused(vq):
    refused = vq("train", "--download", "--dry-run")
    assert refused.code == 2
    assert "dataset.download" in refused.err
