"""Samples of another shape or type than a model takes are refused in its words."""

import numpy as np
import pytest
import torch

from vq.config.resolved_config import resolve_config
from vq.models.autoencoder import VQModel, build_model
from vqcore.errors import SettingError
from vqcore.interfaces.backbone import Backbone
from vqcore.interfaces.dataset import SampleSpec
from vqcore.layer import VectorQuantizer
from vqcore.plugin.registry import default_registry

METHODS = ("forward", "encode", "reconstruct")
CHANNELS_FIRST = "put the channels first: samples.movedim(-1, 1)"


def model_of(backbone):
    registry = default_registry()
    config = resolve_config({"codebook_size": 16, "backbone": backbone}, registry)
    return build_model(config, registry, SampleSpec((1, 8, 8)))


class Strided(Backbone):
    """Means over blocks of each of any number of axes."""

    channel_first = True

    def __init__(self, *, shape, dim, steps):
        super().__init__()
        self.steps = steps
        self.latent_shape = tuple(n // k for n, k in zip(shape[1:], steps, strict=True))
        self.mix = torch.nn.Parameter(torch.ones(dim, shape[0]))

    def encode(self, x):
        for axis, step in enumerate(self.steps, 2):
            x = x.unfold(axis, step, step).mean(-1)
        return torch.einsum("dc,bc...->bd...", self.mix, x)

    def decode(self, z):
        return z


def refused(model, x):
    """What every method says of samples."""
    said = set()
    for method in METHODS:
        with pytest.raises(SettingError) as caught:
            getattr(model, method)(x)
        said.add(str(caught.value))
    (text,) = said
    return text


@pytest.mark.parametrize(
    ("backbone", "size", "factor", "fix"),
    [
        ("conv", (9, 9), 2, "8 x 8 or 10 x 10"),
        ("conv", (8, 9), 2, "8 x 8 or 8 x 10"),
        ("conv", (1, 8), 2, "2 x 8"),
        ("conv", (0, 8), 2, "2 x 8"),
        ("hierarchical", (10, 12), 4, "8 x 12 or 12 x 12"),
        ({"name": "patches", "size": 4}, (6, 8), 4, "4 x 8 or 8 x 8"),
        ({"name": "conv", "downsamplings": 3}, (12, 20), 8, "8 x 16 or 16 x 24"),
    ],
)
def test_sides_that_the_strides_do_not_divide(backbone, size, factor, fix):
    assert refused(model_of(backbone), torch.zeros(2, 1, *size)) == (
        f"samples = {(2, 1, *size)}: expected sides divisible by {factor}, the strides of the "
        f"network; resize or pad them to {fix}"
    )


@pytest.mark.parametrize(
    ("shape", "steps", "sides", "factor", "fix"),
    [
        ((3, 12), (4,), (10,), "4", "8 or 12"),
        ((1, 4, 6, 8), (2, 3, 4), (4, 7, 8), "2 x 3 x 4", "4 x 6 x 8 or 4 x 9 x 8"),
    ],
)
def test_strides_of_any_number_of_axes(shape, steps, sides, factor, fix):
    layer = VectorQuantizer(dim=4, codebook_size=8, channel_first=True)
    model = VQModel(Strided(shape=shape, dim=4, steps=steps), layer, sample_shape=shape)
    good = torch.zeros(2, shape[0], *(2 * side for side in shape[1:]))
    assert model.encode(good).shape == (2, *(2 * n for n in model.latent_shapes[0]))
    text = refused(model, torch.zeros(2, shape[0], *sides))
    assert f"divisible by {factor}, the" in text
    assert f"pad them to {fix}" in text


@pytest.mark.parametrize(
    ("backbone", "shape", "fix"),
    [
        ("conv", (2, 3, 8, 8), ""),
        ("conv", (1, 8, 8), ""),
        ("conv", (2, 8, 8, 1), CHANNELS_FIRST),
        ("conv", (), ""),
        ("mlp", (2, 8, 8), ""),
        ("mlp", (2, 1, 8, 16), ""),
        ("mlp", (2, 8, 8, 1), CHANNELS_FIRST),
    ],
)
def test_other_shapes(backbone, shape, fix):
    found = refused(model_of(backbone), torch.zeros(shape))
    assert found == f"samples = {shape}: expected the shape (B, 1, 8, 8)" + (fix and f"; {fix}")


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (torch.float64, "torch.float32, as the model's parameters; convert them: samples.to("),
        (torch.float16, "torch.float32, as the model's parameters"),
        (torch.uint8, "a tensor of floats in the range of the data"),
        (torch.bool, "a tensor of floats"),
    ],
)
def test_other_types(given, named):
    text = refused(model_of("conv"), torch.zeros(2, 1, 8, 8, dtype=given))
    assert f"samples = '{given}': expected {named}" in text


def test_what_is_no_tensor():
    text = refused(model_of("conv"), np.zeros((2, 1, 8, 8)))
    assert "samples = 'ndarray': expected a tensor of floats" in text


def test_what_fits_is_taken():
    model = model_of("conv").eval()
    x = torch.zeros(2, 1, 12, 16)
    assert model.decode(model.encode(x)).shape == x.shape
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model.encode(x.bfloat16()).shape == (2, 6, 8)
    assert model.double().encode(x.double()).shape == (2, 6, 8)
