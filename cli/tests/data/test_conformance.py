"""Registered data sets keep the contract: the conformance kit over those that need no download.

The others have theirs in the test file that writes their files, or imports what they need.
"""

import numpy as np
import pytest
from PIL import Image

from vqcore.plugin.registry import default_registry
from vqcore.testing import DatasetConformance

REGISTRY = default_registry()
AUGMENTED = {"flip": True, "shift": 2}
SMALL = {"image_size": 8, "workers": 0}
ARRAYS = {"name": "arrays", "root": "images.npz"}
#: Options of each data set, and the fixture that makes its files below the working directory.
CHOICES = {
    "digits": ({**AUGMENTED, "crop": "resized"}, None),
    "trees": ({"depth": 5, "samples": 62}, None),
    "tree-links": ({"depth": 4}, None),
    "hierarchy": ({**AUGMENTED, "depth": 2, "cell": 4, "samples": 64}, None),
    "arrays": ({**AUGMENTED, "root": "images.npz"}, "images"),
    "mixture": ({"sources": {"a": ARRAYS, "b": {**ARRAYS, "flip": True}}}, "images"),
    "image-folder": ({**SMALL, "root": "images", "crop": "random", "held_out": 0.3}, "images"),
    "webdataset": ({**SMALL, "shards": "shards/*.tar"}, "tar_shards"),
    "huggingface": ({**SMALL, "root": "table.parquet"}, "table"),
    "audio-folder": ({"root": "audio", "length": 256, "workers": 0}, "audio"),
    "frames": ({**SMALL, **AUGMENTED, "root": "clips", "length": 3}, "clips"),
}
#: What each refuses, when it is built or when it looks for its files.
REFUSED = {
    **{name: {"shift": 99} for name in ("digits", "hierarchy")},
    "trees": {"samples": 3},
    "tree-links": {"depth": 1},
    "mixture": {"sources": {"a": {**ARRAYS, "root": "nowhere"}}},
    "webdataset": {"shards": "nowhere"},
}


@pytest.fixture
def images(tmp_path):
    """Twenty pictures of noise, as files and as one array."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 10, 8), dtype=np.uint8)
    np.savez(tmp_path / "images.npz", x=pixels, y=np.arange(20) % 3)
    for number, each in enumerate(pixels):
        file = tmp_path / "images" / f"{number % 3}" / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(each).save(file)


@pytest.mark.parametrize("name", CHOICES, scope="class")
class TestDatasets(DatasetConformance):
    @pytest.fixture(autouse=True)
    def _choose(self, name, tmp_path, monkeypatch, request):
        monkeypatch.chdir(tmp_path)
        self.options, fixture = CHOICES[name]
        self.name = name
        self.disjoint = False if name == "mixture" else None  # of sources that are the same
        self.refused = [REFUSED.get(name, {"root": "nowhere"})]
        files = fixture and request.getfixturevalue(fixture)
        if name == "huggingface":
            files.to_parquet("table.parquet")
        elif "workers" in self.options:
            self.equivalent = [{"workers": 1}]

    def make(self, **options):
        return REGISTRY.build(
            REGISTRY.resolve("dataset", {"name": self.name, **self.options, **options})
        )
