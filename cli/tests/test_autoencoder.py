"""What a model offers to Python: reconstructions and codebooks."""

import pytest
import torch

from vq.config.resolved_config import resolve_config
from vq.models.autoencoder import build_model
from vqcore.interfaces.dataset import SampleSpec
from vqcore.plugin.registry import default_registry

REGISTRY = default_registry()
IMAGES, BITS = SampleSpec((1, 8, 8)), SampleSpec((15,), (0.0, 1.0), "bernoulli")


def model_of(samples=IMAGES, **settings):
    """A small model whose codebooks are initialised from the data."""
    config = resolve_config({"codebook_size": 16, **settings}, REGISTRY)
    model = build_model(config, REGISTRY, samples)
    model(data(samples))
    return model


def data(samples, count=8):
    low, high = samples.value_range
    generator = torch.Generator().manual_seed(0)
    return low + (high - low) * torch.rand(count, *samples.shape, generator=generator)


@pytest.mark.parametrize("bottleneck", ["vq", "none", "gaussian"])
@pytest.mark.parametrize(
    ("samples", "backbone"), [(IMAGES, "conv"), (IMAGES, "hierarchical"), (BITS, "mlp")]
)
def test_reconstruct_is_the_forward_pass_in_eval_mode(samples, backbone, bottleneck):
    model, x = model_of(samples, backbone=backbone, bottleneck=bottleneck), data(samples)
    model.train()
    model.bottleneck.eval()
    found = model.reconstruct(x)
    assert model.training
    assert not model.bottleneck.training
    assert not found.requires_grad
    expected = model.eval().to_values(model(x).reconstruction)
    assert torch.equal(found, expected)
    if bottleneck == "vq":
        assert torch.equal(found, model.decode(model.encode(x)))
    assert model.reconstruct(x[:0]).shape == (0, *samples.shape)


def test_reconstructions_of_bits_are_probabilities():
    found = model_of(BITS, backbone="mlp").reconstruct(data(BITS))
    assert (found > 0).all()
    assert (found < 1).all()


def test_the_codebook_is_points_on_the_manifold():
    model = model_of(manifold="poincare")
    assert model.codebook.shape == (16, 8)
    assert (model.codebook.norm(dim=1) < 1).all()
    assert model_of(quantizer="grouped").codebook.shape[:2] == (2, 16)


@pytest.mark.parametrize("settings", [{"quantizer": "fsq"}, {"bottleneck": "gaussian"}])
def test_there_is_no_codebook_without_explicit_codes(settings):
    assert model_of(**settings).codebook is None


def test_a_hierarchical_model_has_a_codebook_per_level():
    codebooks = model_of(backbone="hierarchical").codebook
    assert [codebook.shape for codebook in codebooks] == [(16, 8), (16, 8)]
    assert model_of(backbone="hierarchical", quantizer="fsq").codebook == (None, None)
    assert model_of(backbone="hierarchical", bottleneck="none").codebook is None
