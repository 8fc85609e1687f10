"""Linear probes: their features, and that they find a relation if and only if there is one."""

import json

import numpy as np
import pytest
import torch

from vq.runs.trained_run import load_run
from vq.tokens.codes import encode_split
from vq_prior import linear_probe, probe


@pytest.fixture(scope="module")
def found(complete_run):
    return probe(load_run(complete_run.path), samples=600, seeds=2)


def test_pixels_beat_codes_and_codes_beat_the_majority_class(found):
    accuracy = {row.features: row.accuracy for row in found.rows}
    assert list(accuracy) == ["codes", "histogram", "pixels", "majority"]
    assert accuracy["pixels"] > 0.9
    assert (
        accuracy["pixels"] > accuracy["codes"] > accuracy["histogram"] > accuracy["majority"] + 0.05
    )
    assert (found.classes, found.train_samples, found.test_samples, found.seeds) == (
        10,
        600,
        359,
        2,
    )


def test_spread_and_standard_error(found):
    rows = {row.features: row for row in found.rows}
    assert rows["codes"].spread > 0
    assert rows["majority"].spread is None
    p = rows["pixels"].accuracy
    assert rows["pixels"].error == pytest.approx((p * (1 - p) / 359) ** 0.5)
    assert rows["codes"].size == 16 * 8
    assert rows["pixels"].size == 64


def test_vectors_are_the_input_of_the_decoder(complete_run):
    run = load_run(complete_run.path)
    codes = encode_split(run, "test")[:5]
    vectors = linear_probe._vectors(run, codes)
    assert torch.equal(torch.from_numpy(vectors), run.model.bottleneck.decode(codes).flatten(1))


def test_levels_are_concatenated(train):
    run = load_run(train("--backbone", "hierarchical", "--max-steps", 2).path)
    codes = encode_split(run, "test")[:5]
    assert linear_probe._vectors(run, codes).shape == (5, codes[0].numel() * 8)


def test_no_more_training_samples_are_read_than_used(complete_run, monkeypatch):
    read = []

    def labels_for_pixels(run, split, rows):
        read.append(rows)
        labels = run.source.split(split).labels.numpy()
        return (labels if rows is None else labels[rows])[:, None]

    monkeypatch.setattr(linear_probe, "_samples", labels_for_pixels)
    monkeypatch.setattr(
        linear_probe, "_accuracy", lambda x, y, *_others: float((x[:, :1] == y[:, None]).mean())
    )
    found = probe(load_run(complete_run.path), samples=20, seeds=2)
    assert (20 < len(read[0]) <= 40, read[1]) == (True, None)
    assert {row.features: row.accuracy for row in found.rows}["pixels"] == 1  # its own label each


def test_histograms_by_hand():
    found = linear_probe.histograms(torch.tensor([[0, 1, 0], [1, 1, 1]]), [0, 1, 0], 2).toarray()
    assert found.tolist() == [[2, 0, 0, 1], [0, 2, 0, 1]]


def test_only_labels_related_to_the_features_are_predicted():
    random = np.random.default_rng(0)
    x, y = random.standard_normal((900, 20)).astype(np.float32), random.integers(0, 2, 900)
    assert linear_probe._accuracy(x[:300], y[:300], x[300:], y[300:], 0) == pytest.approx(
        0.5, abs=0.08
    )
    y = (x[:, 0] > 0).astype(int)
    assert linear_probe._accuracy(x[:300], y[:300], x[300:], y[300:], 0) > 0.95


def test_the_command(complete_run, vq):
    options = ("--samples", 100, "--seeds", 1)
    table, plain = (
        vq("probe", complete_run.path, *options),
        vq("probe", complete_run.path, *options, "--json"),
    )
    found = json.loads(plain.out)
    assert (table.code, plain.code) == (0, 0)
    assert f"{found['rows'][0]['accuracy']:.4f}" in table.out
    assert "100 training and 359 held-out samples" in table.out
    assert found["rows"][0]["spread"] is None


def test_too_few_samples(complete_run, vq):
    result = vq("probe", complete_run.path, "--samples", 9)
    assert result.code == 2
