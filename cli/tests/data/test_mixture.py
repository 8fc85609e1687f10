"""Several data sets as one: what an epoch holds, on any number of processes, and after a stop."""

import json
from collections import Counter
from types import MappingProxyType

import numpy as np
import pytest
import torch
from PIL import Image

import vq
from vq.config.resolved_config import resolve_config
from vq.data.mixture import Mixture
from vq.evaluation.per_source import PerSource
from vqcore import DataSource, TensorSplit
from vqcore.errors import SettingError, UsageError
from vqcore.interfaces.dataset import TrainingBatch
from vqcore.plugin.registry import default_registry

CPU = torch.device("cpu")


class Numbers(DataSource):
    """``count`` samples from ``first`` on, of one class; augmentation adds 1/2."""

    def __init__(self, first, count, name=None, shape=(1,)):
        self.first, self.count, self.shape = first, count, shape
        self.classes = name and [name]

    def split(self, name):
        values = self.first + torch.arange(float(self.count)).view(-1, *[1] * len(self.shape))
        labels = torch.zeros(self.count, dtype=torch.int64) if self.classes else None
        return TensorSplit(values.expand(-1, *self.shape), labels)

    def augment(self, batch, key, positions):
        return batch + 0.5


def mixture(weights=MappingProxyType({}), **sources):
    return Mixture(
        sources={name: lambda made=made: made for name, made in sources.items()}, weights=weights
    )


THREE = {"a": Numbers(0, 10), "b": Numbers(100, 50), "c": Numbers(1000, 40)}


def epoch(split, processes=1, key=0):
    """The values of an epoch in batches of 7, as all processes together see it."""
    order = torch.randperm(len(split), generator=torch.Generator().manual_seed(0))
    parts = []
    for step, samples in enumerate(order.split(7)):
        places = torch.arange(len(samples)).tensor_split(processes)
        batches = [TrainingBatch(samples[rows], key + step, rows) for rows in places]
        parts += [next(split.training_batches([batch], CPU)) for batch in batches]
    return torch.cat(parts).flatten()


def test_the_union_serves_every_sample_once(served):
    split = mixture(**THREE).split("test")
    expected = [*range(10), *range(100, 150), *range(1000, 1040)]
    assert served(split).flatten().tolist() == expected
    assert (split.names[0], split.names[10], split.names[99]) == ("a/0", "b/0", "c/39")
    order = torch.tensor([99, 0, 55, 0])
    assert next(split.batches([order], CPU)).flatten().tolist() == [1039, 0, 145, 0]


@pytest.mark.parametrize(
    ("weights", "shares"),
    [({}, (33, 34, 33)), ({"a": 8}, (80, 10, 10)), ({"a": 1, "b": 5, "c": 4}, (10, 50, 40))],
)
def test_an_epoch_has_the_shares_of_the_weights(weights, shares):
    values = epoch(mixture(weights, **THREE).split("train"))
    assert (values % 1 == 0.5).all()
    samples = Counter(values.long().tolist())
    for (first, count), share in zip([(0, 10), (100, 50), (1000, 40)], shares, strict=True):
        times = [samples[first + row] for row in range(count)]
        assert sum(times) == share
        assert min(times) >= share // count  # as often as all fit
        if share % count == 0:
            assert set(times) == {share // count}


def test_an_epoch_does_not_depend_on_the_number_of_processes():
    split = mixture({"a": 3}, **THREE).split("train")
    whole = epoch(split)
    for processes in (2, 3, 9):
        assert torch.equal(epoch(split, processes), whole)
    assert not torch.equal(epoch(split, key=1000), whole)


def test_held_out_quality_is_that_of_each_source():
    split = mixture(a=Numbers(0, 2), b=Numbers(10, 3)).split("test")
    metric = PerSource(split, (0.0, 10.0))
    for batch in (torch.tensor([0, 1, 2]), torch.tensor([3, 4])):
        (values,) = split.batches([batch], CPU)
        metric.update(values, values + torch.where(batch < 2, 1.0, 0.1).view(-1, 1), None)
    assert metric.compute() == pytest.approx({"psnr_a": 20, "psnr_b": 40}, rel=1e-3)


def test_classes_are_those_of_all_by_name(served):
    mixed = mixture(a=Numbers(0, 2, "dog"), b=Numbers(9, 1, "cat"), c=Numbers(5, 2, "dog"))
    assert mixed.classes == ["cat", "dog"]
    assert mixed.split("train").labels.tolist() == [1, 1, 0, 1, 1]
    without = mixture(a=Numbers(0, 2, "dog"), b=Numbers(9, 1))
    assert without.classes is without.split("train").labels is None


def test_sources_of_other_shapes_are_refused():
    with pytest.raises(SettingError, match=r"one shape: a has \(1,\), b has \(2,\)"):
        mixture(a=Numbers(0, 3), b=Numbers(0, 3, shape=(2,))).split("train")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"sources": {"a": "digits"}, "weights": {"a": 0}}, "weights.a = 0: expected greater than"),
        ({"sources": {"a": "digits"}, "weights": {"b": 1}}, "which are 'a'; found 'b'"),
        ({"sources": {"a": {"name": "digits", "shif": 1}}}, "dataset.sources.a.shif: unknown"),
        ({"sources": {"a": {"shift": 1}}}, "dataset.sources.a.name = None: expected the name"),
        ({"sources": ["digits"]}, "dataset.sources = ['digits']: expected a valid dictionary"),
    ],
)
def test_a_mistake_is_named_with_its_whole_path(options, expected):
    with pytest.raises(UsageError) as caught:
        resolve_config({"dataset": {"name": "mixture", **options}}, default_registry())
    assert expected in str(caught.value)


def test_no_source_at_all_is_refused():
    registry = default_registry()
    chosen = registry.resolve("dataset", "mixture")
    with pytest.raises(
        SettingError, match=r"dataset.sources = \{\}: expected one data set or more"
    ):
        registry.build(chosen)


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Two folders of small pictures of noise, relative to the working directory."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    for name, count in (("few", 6), ("many", 20)):
        (tmp_path / name).mkdir()
        for number in range(count):
            pixels = random.integers(0, 256, (12, 20), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{number}.png")
    options = {"name": "image-folder", "image_size": (8, 12), "workers": 0}
    return {
        "name": "mixture",
        "sources": {
            "few": {**options, "root": "few", "crop": "random", "flip": True},
            "many": {**options, "root": "many", "crop": "resized"},
        },
        "weights": {"few": 2},
    }


def test_a_run_that_was_stopped_continues_to_the_same_weights(folders, tmp_path):
    settings = {"dataset": folders, "batch_size": 6, "codebook_size": 8, "schedule": "constant"}
    vq.train(**settings, max_steps=7, run_dir="whole")
    vq.train(**settings, max_steps=3, run_dir="parts")
    vq.train(resume="parts", max_steps=7)
    whole, parts = (vq.load(name).state_dict() for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    recorded = vq.load_run("parts").config.components["dataset"].dump()
    assert recorded["sources"]["few"]["root"] == str(tmp_path / "few")
    manifest = vq.encode("parts", "test", "tokens")
    assert manifest.index_shape == [4, 6]
    assert all(name.startswith(("few/", "many/")) for name in manifest.names)


def test_a_missing_folder_is_named_with_its_whole_path(folders):
    folders["sources"]["many"]["root"] = "gone"
    with pytest.raises(
        SettingError, match=r"^dataset.sources.many.root = 'gone': .* does not exist"
    ):
        vq.train(dataset=folders, max_steps=1)


def test_what_could_not_be_read_is_counted_and_named(folders, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("vq.data.image_folder.MANY", 7)
    (tmp_path / "many" / "3.png").write_bytes(b"")
    folders["weights"] = {"many": 9}  # as many samples of an epoch as it has, or more
    run = vq.train(
        dataset=folders, batch_size=6, codebook_size=8, max_steps=12, log_every=4, run_dir="run"
    )
    assert run.metrics["skipped_samples"] == 1
    assert sum(line["skipped_samples"] for line in run.history) > 0
    data = json.loads((tmp_path / "run" / "data.json").read_text())
    assert data["unreadable"] == {"many/3.png": "not an image of a known format"}
    assert (
        "1 of 26 samples cannot be read; the next ones stood in:\n  many/3.png: not an"
        in caplog.text
    )
