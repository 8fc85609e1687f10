"""What a model offers to Python: reconstructions and codebooks."""

import numpy as np
import pytest
import torch

from vq.config.resolved_config import resolve_config
from vq.models.autoencoder import build_model
from vqcore.errors import SettingError
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


@pytest.mark.parametrize("backbone", ["conv", "mlp", "hierarchical"])
def test_indices_of_any_integer_type_decode(backbone):
    model = model_of(backbone=backbone).eval()
    indices = model.encode(data(IMAGES))
    expected = model.decode(indices)
    kinds = [np.uint8, np.uint16, np.uint32, np.uint64, np.int8, np.int16, np.int32, ">i8"]
    for given in [indices.tolist(), *(indices.numpy().astype(kind) for kind in kinds)]:
        assert torch.equal(model.decode(given), expected)
    for wrong, named in ((indices.numpy() / 2, "float64"), (indices > 0, "torch.bool")):
        with pytest.raises(SettingError, match=f"indices = '{named}': expected whole numbers"):
            model.decode(wrong)
    shape = model.index_shape
    for wrong in (0, [0] * 3, torch.zeros(2, *shape[:-1], 1, 1).long()):
        with pytest.raises(SettingError, match=r"expected the shape \(B, "):
            model.decode(wrong)
    if backbone == "mlp":
        with pytest.raises(SettingError, match=r"\(2, 5\): expected the shape \(B, 1\)"):
            model.decode(torch.zeros(2, 5, dtype=torch.int64))


@pytest.mark.parametrize("bottleneck", ["none", "gaussian"])
def test_vectors_of_a_bottleneck_without_codes_are_contiguous_or_channels_last(bottleneck):
    layer = model_of(bottleneck=bottleneck).bottleneck
    z = torch.randn(2, layer.parts * layer.dim, 3, 4)
    assert layer(z).quantized.is_contiguous()
    last = z.contiguous(memory_format=torch.channels_last)
    assert layer(last).quantized.is_contiguous(memory_format=torch.channels_last)
