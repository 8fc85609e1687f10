"""Snapshots of the codebooks during training: whole, bounded, in order, and gone after a rewind."""

import numpy as np
import pytest
import torch
from torch import nn

from vq.models.autoencoder import VQModel
from vq.runs import history
from vqcore import VectorQuantizer
from vqcore.data.tensor_split import TensorSplit
from vqcore.interfaces.backbone import Backbone


def layer(**choices):
    torch.manual_seed(0)
    return VectorQuantizer(dim=4, codebook_size=8, **choices)


class Bare(Backbone):
    """Samples are latents already."""

    latent_shape = (3,)

    def encode(self, x):
        return x

    def decode(self, z):
        return z


def model_of(**choices):
    return VQModel(Bare(), layer(**choices))


def held_out():
    return TensorSplit(torch.randn(20, 3, 4, generator=torch.Generator().manual_seed(0)))


def test_a_snapshot_is_read_back(tmp_path):
    model, split = model_of(manifold="poincare").train(), held_out()
    history.record(tmp_path, 3, model, split)
    assert model.training
    (found,) = history.read(tmp_path)
    assert found.step == 3
    assert found.codes[0].dtype == np.float16
    expected = model.bottleneck.manifold.logmap0(model.bottleneck.codebook.detach())
    assert torch.allclose(torch.from_numpy(found.codes[0]).float(), expected, atol=1e-3)
    assert found.chosen[0].tolist() == list(range(8))
    counts = model.eval()(split.data).bottleneck.counts
    assert found.counts[0].tolist() == counts[0].tolist()
    history.record(tmp_path, 4, model, split, batch_size=7)
    assert np.array_equal(history.read(tmp_path)[1].counts, found.counts)


@pytest.mark.parametrize(
    ("quantizer", "rows", "codebooks"),
    [
        ({"name": "grouped", "groups": 2}, 2, 2),
        ({"name": "grouped", "groups": 2, "shared": True}, 1, 1),
        ({"name": "residual", "stages": 3}, 3, 3),
        ({"name": "residual", "stages": 3, "shared": True}, 3, 1),
        ({"name": "residual", "stages": 2, "inner": {"name": "grouped", "groups": 2}}, 4, 4),
        ("simvq", 1, 1),
    ],
)
def test_every_codebook_has_its_counts(tmp_path, quantizer, rows, codebooks):
    model, split = model_of(quantizer=quantizer), held_out()
    counts = model.eval()(split.data).bottleneck.counts
    history.record(tmp_path, 1, model, split)
    (found,) = history.read(tmp_path)
    assert len(counts) == rows
    assert len(found.codes) == len(found.counts) == codebooks
    assert np.array_equal(np.stack(found.counts), counts.view(codebooks, -1, 8).sum(1).numpy())


def test_levels_have_their_codebooks_one_after_the_other(tmp_path):
    history.record(tmp_path, 1, nn.ModuleList([layer(), layer(manifold="sphere")]))
    (found,) = history.read(tmp_path)
    assert [codes.shape for codes in found.codes] == [(8, 4), (8, 4)]
    assert found.counts == ()


def test_there_is_nothing_to_keep_of_an_implicit_codebook(tmp_path):
    history.record(tmp_path, 1, layer(quantizer="fsq"))
    history.record(tmp_path, 1, nn.Linear(2, 2))
    assert history.read(tmp_path) == []
    assert not list(tmp_path.iterdir())


def test_a_large_codebook_is_kept_in_part(tmp_path, monkeypatch):
    monkeypatch.setattr(history, "VALUES", 12)
    history.record(tmp_path, 1, layer())
    (found,) = history.read(tmp_path)
    assert found.codes[0].shape == (3, 4)
    assert found.chosen[0].tolist() == [0, 3, 7]


def test_the_number_of_snapshots_is_bounded_and_they_are_spread_over_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(history, "KEPT", 5)
    model = layer()
    for step in range(1, 41):
        history.record(tmp_path, step, model)
    steps = [snapshot.step for snapshot in history.read(tmp_path)]
    assert len(steps) == 5
    assert (steps[0], steps[-1]) == (1, 40)
    assert max(np.diff(steps)) <= 20


def test_a_rewind_forgets_later_steps(tmp_path):
    model = layer()
    for step in (4, 8, 12):
        history.record(tmp_path, step, model)
    history.rewind(tmp_path, 8)
    assert [snapshot.step for snapshot in history.read(tmp_path)] == [4, 8]
    history.rewind(tmp_path / "nowhere", 8)


def test_damaged_snapshots_are_passed_over(tmp_path):
    model = layer()
    for step in (4, 8, 12):
        history.record(tmp_path, step, model)
    paths = sorted((tmp_path / history.FOLDER).iterdir())
    paths[0].write_bytes(paths[0].read_bytes()[:40])
    paths[1].write_bytes(b"")
    assert [snapshot.step for snapshot in history.read(tmp_path)] == [12]


def test_codes_that_are_no_numbers_are_kept_as_finite_ones(tmp_path):
    model = layer()
    with torch.no_grad():
        next(model.quantizer.parameters())[0] = torch.tensor([torch.nan, torch.inf, -1e9, 1.0])
    history.record(tmp_path, 1, model)
    assert np.isfinite(history.read(tmp_path)[0].codes[0].astype(np.float64)).all()
