"""Encoder and decoder pairs: shapes, and what they refuse."""

import pytest
import torch

from vq.pipeline.backbones.base import Backbone
from vq.pipeline.backbones.conv import Conv
from vq.pipeline.backbones.mlp import MLP
from vqcore.errors import SettingError
from vqcore.registry import default_registry

REGISTRY = default_registry()


def check(backbone, shape, dim):
    """Latents of the promised shape, samples of the given one, and a gradient to every parameter."""
    x = torch.randn(2, *shape)
    z = backbone.encode(x)
    positions = z.shape[2:] if backbone.channel_first else z.shape[1:-1]
    assert z.shape[1 if backbone.channel_first else -1] == dim
    assert tuple(positions) == tuple(backbone.latent_shape)
    decoded = backbone.decode(z)
    assert decoded.shape == x.shape
    decoded.square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in backbone.parameters())


@pytest.mark.parametrize("name", REGISTRY.names("backbone"))
@pytest.mark.parametrize("dim", [1, 5])
def test_every_registered_backbone(name, dim):
    backbone = REGISTRY.build(REGISTRY.resolve("backbone", name), shape=(1, 8, 8), dim=dim)
    assert isinstance(backbone, Backbone)
    check(backbone, (1, 8, 8), dim)


@pytest.mark.parametrize(
    ("shape", "latent_shape"),
    [
        ((1, 8, 8), (4, 4)),
        ((1, 28, 28), (7, 7)),
        ((3, 32, 32), (8, 8)),
        ((3, 64, 48), (8, 6)),
        ((3, 48, 64), (6, 8)),
        ((3, 128, 128), (8, 8)),
        ((2, 9, 9), (9, 9)),
        ((1, 18, 30), (9, 15)),
    ],
)
def test_conv_leaves_a_few_positions_a_side(shape, latent_shape):
    backbone = Conv(shape=shape, dim=6, hidden=4)
    assert backbone.latent_shape == latent_shape
    check(backbone, shape, 6)


@pytest.mark.parametrize(("downsamplings", "side"), [(0, 32), (1, 16), (2, 8), (3, 4), (5, 1)])
def test_downsamplings_halve_the_sides(downsamplings, side):
    backbone = Conv(shape=(3, 32, 32), dim=6, hidden=4, downsamplings=downsamplings)
    assert backbone.latent_shape == (side, side)
    check(backbone, (3, 32, 32), 6)


@pytest.mark.parametrize(
    ("shape", "downsamplings"), [((1, 8, 8), 4), ((3, 28, 8), 3), ((3, 64, 48), 5), ((1, 9, 8), 1)]
)
def test_sides_that_cannot_be_halved_so_often(shape, downsamplings):
    with pytest.raises(SettingError) as caught:
        Conv(shape=shape, dim=6, downsamplings=downsamplings)
    expected = f"sides {shape[1]} x {shape[2]} divisible by {2**downsamplings}"
    assert str(caught.value).startswith(f"downsamplings = {downsamplings}: expected {expected}; lower it")


@pytest.mark.parametrize("shape", [(64,), (8, 8)])
def test_conv_takes_pictures_only(shape):
    with pytest.raises(SettingError, match=r"backbone = 'conv': expected pictures, .*; set backbone to mlp"):
        Conv(shape=shape, dim=6)


def test_conv_options_are_used():
    def size(**options):
        return sum(p.numel() for p in Conv(shape=(1, 8, 8), dim=6, **options).parameters())

    assert size(hidden=16) > size(hidden=8)
    assert size(hidden=8, residual_blocks=3) - size(hidden=8, residual_blocks=2) == 2 * (8 * 8 * 9 + 8 + 8 * 8 + 8)
    far = 100 * torch.randn(2, 6, 4, 4)
    with torch.no_grad():
        assert Conv(shape=(1, 8, 8), dim=6, hidden=8, output="tanh").decode(far).abs().max() <= 1
        assert Conv(shape=(1, 8, 8), dim=6, hidden=8).decode(far).abs().max() > 1


def test_a_sample_is_encoded_by_itself():
    """No layer mixes the samples of a batch, so that evaluation does not depend on batches."""
    torch.manual_seed(0)
    x = torch.randn(5, 1, 8, 8)
    for backbone in (Conv(shape=(1, 8, 8), dim=6, hidden=4), MLP(shape=(1, 8, 8), dim=6)):
        together = backbone.encode(x)
        alone = torch.cat([backbone.encode(one) for one in x.split(1)])
        assert torch.allclose(together, alone, atol=1e-6)


@pytest.mark.parametrize("shape", [(7,), (255,), (1, 8, 8), (3, 4, 6)])
@pytest.mark.parametrize("tokens", [1, 3])
def test_mlp_gives_tokens(shape, tokens):
    backbone = MLP(shape=shape, dim=6, hidden=16, tokens=tokens)
    assert backbone.latent_shape == (tokens,)
    check(backbone, shape, 6)


def test_mlp_options_are_used():
    for name, kind in (("tanh", torch.nn.Tanh), ("relu", torch.nn.ReLU), ("silu", torch.nn.SiLU)):
        layers = list(MLP(shape=(7,), dim=6, hidden=16, layers=3, activation=name).encoder)
        assert [layer.out_features for layer in layers[::2]] == [16, 16, 16, 6]
        assert [type(layer) for layer in layers[1::2]] == [kind] * 3
