"""The data sets as components: torch-free to list, cheap to build, read on demand."""

import importlib
import inspect
import subprocess
import sys

import pytest

from vq.data.specs import DATASETS
from vqcore.data.image_source import ImageSource
from vqcore.errors import SettingError, UsageError
from vqcore.interfaces.dataset import DataSource
from vqcore.plugin.component_config import descriptions
from vqcore.plugin.registry import Registry

SETS = [
    "digits",
    "photos",
    "trees",
    "tree-links",
    "mnist",
    "fashion-mnist",
    "cifar10",
    "celeba",
    "image-folder",
]
OWN = ["arrays", "huggingface", "webdataset", "audio-folder", "frames", "mixture"]
NAMES = [*SETS, *OWN, "hierarchy"]


def load(location):
    module, _, name = location.partition(":")
    return getattr(importlib.import_module(module), name)


def test_the_names_are_those_of_the_documentation():
    assert [spec.name for spec in DATASETS] == NAMES


@pytest.mark.parametrize("spec", DATASETS, ids=NAMES)
def test_the_constructor_takes_the_options_with_the_same_defaults(spec):
    parameters = dict(inspect.signature(load(spec.target)).parameters)
    if parameters.pop("augmentation", None):  # passed on
        of_images = dict(inspect.signature(ImageSource).parameters)
        parameters |= {name: of_images[name] for name in of_images if name != "shape"}
    options = load(spec.config).model_fields if spec.config else {}
    assert {name: field.default for name, field in options.items()} == {
        name: parameter.default for name, parameter in parameters.items()
    }
    assert set(options) <= set(descriptions(load(spec.config)) if spec.config else ())


@pytest.mark.parametrize("name", NAMES)
def test_a_source_is_built_without_its_data(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    registry = Registry()
    sources = {"sources": {"a": "digits"}} if name == "mixture" else {}
    source = registry.build(registry.resolve("dataset", {"name": name, **sources}))
    assert isinstance(source, DataSource)
    assert name == "arrays" or 1 <= len(source.shape) <= 4  # the shape of arrays is in their file
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("photos", "patch", 257),
        ("photos", "stride", 0),
        ("trees", "depth", 1),
        ("trees", "noise", 0.6),
        ("mnist", "pad", -1),
        ("cifar10", "root", ""),
        ("celeba", "image_size", 2),
        ("image-folder", "held_out", 1.0),
        ("image-folder", "workers", -1),
        ("arrays", "layout", "HWC"),
        ("hierarchy", "branching", 1),
        ("digits", "shift", -1),
    ],
)
def test_a_value_out_of_range_is_refused_with_its_whole_path(name, option, value):
    with pytest.raises(UsageError, match=rf"dataset\.{option} = "):
        Registry().resolve("dataset", {"name": name, option: value})


def test_a_source_that_refuses_an_option_gives_its_whole_path():
    registry = Registry()
    with pytest.raises(SettingError, match=r"^dataset\.samples = 10: expected 255"):
        registry.build(registry.resolve("dataset", {"name": "trees", "samples": 10}))


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in NAMES
        if name not in ("trees", "tree-links", "arrays", "audio-folder", "mixture")
    ],
)
def test_a_shift_beyond_the_image_is_refused(name):
    registry = Registry()
    with pytest.raises(
        SettingError, match=r"^dataset\.shift = 1000: expected less than \d+, the shorter side"
    ):
        registry.build(registry.resolve("dataset", {"name": name, "shift": 1000}))


def test_imports_stay_lazy():
    script = """
import sys
import vq.data.specs, vq.data.dataset_config
heavy = {"torch", "numpy", "sklearn", "torchvision", "PIL"}
assert not heavy & set(sys.modules), "options need heavy modules"
from vq.data import digits
from vq.data import hierarchy
from vq.data import photos
from vq.data import trees
assert "sklearn" not in sys.modules, "scikit-learn is imported before a split is asked for"
digits.Digits().split("test")
assert "sklearn" not in sys.modules, "reading digits takes no import of scikit-learn"
for source in (photos.Photos(), trees.Trees(), hierarchy.Hierarchy(samples=8)):
    source.split("test")
assert "torchvision" not in sys.modules, "an offline data set imports torchvision"
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
