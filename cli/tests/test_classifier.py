"""Classification through the bottleneck: a head in place of the decoder, and labels in training."""

import math

import numpy as np
import pytest
import torch

import vq
from vq.config.resolved_config import resolve_config
from vq.models.autoencoder import build_model
from vq.models.backbones.classifier import Classifier
from vq.training.objective import build_objective
from vq_prior import sample
from vq_report import report
from vqcore import Backbone
from vqcore.builtin.losses.cross_entropy import LabelCrossEntropy
from vqcore.data.tensor_split import SubsetSplit, TensorSplit
from vqcore.errors import SettingError
from vqcore.interfaces.dataset import DataSource, SampleSpec, TrainingBatch
from vqcore.interfaces.loss import LossBatch
from vqcore.plugin.registry import default_registry

REGISTRY = default_registry()
SPEC = SampleSpec((1, 8, 8), classes=tuple("0123456789"))
INNER = {"name": "mlp", "hidden": 64, "layers": 1, "tokens": 8}
SMALL = {"dataset": "digits", "backbone": {"name": "classifier", "inner": INNER}, "dim": 4}


def one_hot(count, classes=5):
    """Samples that say which class they are of: every class in turn."""
    labels = [number % classes for number in range(count)]
    return [(torch.eye(5)[label], label) for label in labels]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classifier") / "run"
    return vq.train(**SMALL, max_steps=60, batch_size=128, run_dir=folder, lr=5e-3)


def test_a_run_learns_classes_and_says_how_well(run):
    last = run.history[-1]
    terms = [last[name] for name in ("classification", "codebook", "commitment")]
    assert last["loss"] == pytest.approx(sum(terms))
    assert {"test_accuracy", "test_cross_entropy"} < last.keys()
    assert run.metrics["accuracy"] == last["test_accuracy"] > 0.5
    assert run.metrics["cross_entropy"] < math.log(10) / 2
    assert not {"psnr", "mse"} & run.metrics.keys()
    assert not run.folder.samples.exists()


def test_a_loaded_classifier_is_evaluated_alike_and_gives_probabilities(run):
    loaded = vq.load_run(run.folder.path)
    found = vq.evaluate(loaded)
    assert found.items() >= {name: run.metrics[name] for name in ("accuracy", "samples")}.items()
    assert not {"psnr", "ssim"} & found.keys()
    split = loaded.source.split("test")
    x = next(split.batches([torch.arange(len(split))], torch.device("cpu")))
    probabilities = loaded.model.reconstruct(x)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(len(x)))
    assert (probabilities.argmax(1) == split.labels).double().mean() == found["accuracy"]
    torch.testing.assert_close(loaded.model.decode(loaded.model.encode(x)), probabilities)


def test_what_needs_reconstructions_says_that_there_are_none(run, tmp_path):
    np.save(tmp_path / "digits.npy", np.zeros((2, 1, 8, 8), np.uint8))
    vq.encode(run, tmp_path / "digits.npy", tmp_path / "tokens")
    with pytest.raises(SettingError, match=r"backbone = 'classifier'.*vq export"):
        vq.export(run, tmp_path / "programs")
    with pytest.raises(SettingError, match=r"backbone = 'classifier'.*vq decode"):
        vq.decode(run, tmp_path / "tokens", tmp_path / "pictures")
    with pytest.raises(SettingError, match=r"backbone = 'classifier'.*vq sample"):
        sample(run)
    with pytest.raises(SettingError, match=r"--lpips.*tells their classes"):
        vq.evaluate(run, lpips=tmp_path)


def test_report_and_card_of_a_classifier(run, tmp_path):
    text = report(run, tmp_path / "report.html").read_text()
    assert "Accuracy" in text
    assert "cannot be shown" not in text
    vq.push(run, to_folder=tmp_path / "model")
    card = (tmp_path / "model" / "README.md").read_text()
    assert "A classifier of 10 classes with 64 codes" in card
    assert "| accuracy |" in card
    assert vq.from_pretrained(tmp_path / "model").classifies


def test_the_encoder_is_that_of_the_autoencoder_and_its_decoder_is_gone():
    made = {
        name: build_model(resolve_config({"backbone": choice}, REGISTRY), REGISTRY, SPEC)
        for name, choice in {
            "plain": "vit",
            "labels": {"name": "classifier", "inner": "vit"},
        }.items()
    }
    plain, labels = (dict(model.backbone.named_parameters()) for model in made.values())
    inner = {n.removeprefix("inner."): p for n, p in labels.items() if not n.startswith("head.")}
    kept = {
        name
        for name in plain
        if name.split(".")[0] in ("patches", "encoder", "before_latents", "latents")
    }
    assert inner.keys() == kept
    assert all(torch.equal(inner[name], plain[name]) for name in kept)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dataset": "photos"}, "dataset = 'photos': expected a data set with labels"),
        ({"losses": {"mse": {}}}, "losses = 'mse': expected cross-entropy"),
        ({"losses": {"cross-entropy": {}, "l1": {}}}, "losses = 'l1': expected cross-entropy"),
        ({"backbone": "mlp", "losses": {"cross-entropy": {}}}, "set backbone to classifier"),
        (
            {"backbone.inner": "hierarchical"},
            "backbone.inner = 'hierarchical': expected .* one level",
        ),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, settings, message):
    values = {"dataset": "digits", "backbone": {"name": "classifier", "inner": "mlp"}}
    with pytest.raises(SettingError, match=message):
        vq.train(config=values, settings=settings, max_steps=1, run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_data_of_other_classes_are_refused(run):
    class Letters(DataSource):
        shape, classes = (1, 8, 8), ("a", "b")

        def split(self, name):
            return TensorSplit(torch.zeros(4, 1, 8, 8), torch.zeros(4, dtype=torch.int64))

    with pytest.raises(SettingError, match=r"expected the classes of the model"):
        vq.evaluate(run, dataset=Letters())


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("mixed", [False, True], ids=["subset", "mixture"])
def test_labels_are_those_of_the_samples_of_each_step(tmp_path, monkeypatch, mixed, accumulate):
    seen = []

    def forward(self, batch):
        assert torch.equal(batch.inputs.argmax(1), batch.labels)
        seen.append(len(batch.labels))
        return batch.decoded.square().mean()

    monkeypatch.setattr(LabelCrossEntropy, "forward", forward)
    dataset = one_hot(50)  # a tenth of which is held out, so that the rest are a subset
    if mixed:
        sources = {}
        for name, classes in (("one", 5), ("two", 3)):
            x, y = zip(*one_hot(30, classes), strict=True)
            file = tmp_path / f"{name}.npz"
            np.savez(file, x=torch.stack(x).numpy(), y=np.array(y))
            sources[name] = {"name": "arrays", "root": str(file)}
        dataset = {"name": "mixture", "sources": sources, "weights": {"two": 3.0}}
    vq.train(
        dataset=dataset, backbone={"name": "classifier", "inner": {"name": "mlp", "hidden": 4}},
        epochs=2, batch_size=20, accumulate=accumulate, run_dir=tmp_path / "run",
    )  # fmt: skip
    assert sum(seen) >= 2 * 45


def test_a_run_in_two_parts_is_the_run_in_one(tmp_path):
    choices = SMALL | {"batch_size": 500, "schedule": "constant", "warmup_steps": 2}
    choices |= {"weight_ema": 0.9, "accumulate": 2}
    whole = vq.train(**choices, max_steps=6, run_dir=tmp_path / "whole")
    vq.train(**choices, max_steps=4, run_dir=tmp_path / "parts")
    parts = vq.train(resume=tmp_path / "parts", max_steps=6)
    assert parts.metrics["cross_entropy"] == whole.metrics["cross_entropy"]
    for name, one in whole.model.state_dict().items():
        assert torch.equal(one, parts.model.state_dict()[name])


def test_a_subset_has_the_labels_of_what_it_is_a_subset_of():
    whole = TensorSplit(torch.zeros(6, 2), torch.arange(6))
    subset = SubsetSplit(whole, torch.tensor([5, 3, 1]))
    batch = TrainingBatch(torch.tensor([2, 0]), 0, torch.arange(2))
    assert subset.training_labels(batch).tolist() == [1, 5]


def test_cross_entropy_is_that_of_the_labels():
    config = resolve_config(
        {"backbone": "classifier", "losses": {"cross-entropy": {"weight": 3}}}, REGISTRY
    )
    objective = build_objective(config, REGISTRY, SPEC)
    assert objective.likelihood == "categorical"
    logits = torch.randn(4, 10, requires_grad=True)
    labels = torch.tensor([1, 0, 9, 9])
    batch = LossBatch(
        torch.zeros(4, 1, 8, 8), logits.softmax(1), logits, None, (-1, 1), 0, labels=labels
    )
    (term,) = objective(batch).values()
    torch.testing.assert_close(term, -3 * logits.log_softmax(1)[range(4), labels].mean())
    empty = LossBatch(batch.inputs[:0], logits[:0], logits[:0], None, (-1, 1), 0, labels=labels[:0])
    (none,) = objective(empty).values()
    assert none == 0
    assert torch.equal(torch.autograd.grad(none, logits)[0], 0 * logits)


def test_a_backbone_of_ones_own_may_emit_logits(tmp_path):
    class Own(Backbone):
        emits, latent_shape = "logits", ()

        def __init__(self):
            super().__init__()
            self.encoder, self.head = torch.nn.Linear(5, 8), torch.nn.Linear(8, 5)

        def encode(self, x):
            return self.encoder(x)

        def decode(self, z):
            return self.head(z)

    run = vq.train(
        dataset=one_hot(50), backbone=Own(), dim=8, max_steps=2, run_dir=tmp_path / "run"
    )
    assert 0 <= run.metrics["accuracy"] <= 1


def test_an_encoder_may_be_frozen():
    inner = vq_backbone((1, 8, 8))
    inner.encoder.requires_grad_(False)
    made = Classifier(shape=(1, 8, 8), dim=4, classes=3, inner=lambda **injected: inner)
    assert made.decode(made.encode(torch.zeros(2, 1, 8, 8))).shape == (2, 3)
    assert not any(each.requires_grad for each in inner.parameters())


def test_labels_of_classes_that_training_lacks_are_refused(tmp_path):
    few, more = one_hot(20, classes=3), one_hot(20, classes=4)
    with pytest.raises(SettingError, match="labels from 0 to 2"):
        vq.train(
            dataset=few, test_dataset=more, backbone={"name": "classifier", "inner": "mlp"},
            max_steps=1, batch_size=4, run_dir=tmp_path / "run",
        )  # fmt: skip


def vq_backbone(shape):
    return REGISTRY.build(REGISTRY.resolve("backbone", "mlp"), shape=shape, dim=4)
