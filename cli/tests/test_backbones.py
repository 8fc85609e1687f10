"""Backbones: the shapes that they give, and the settings that they refuse."""

import pytest
import torch

from vq.config.resolved_config import resolve_config
from vq.models.autoencoder import build_model
from vq.models.backbones.conv import Conv
from vq.models.backbones.hierarchical import Hierarchical
from vq.models.backbones.mlp import MLP
from vq.models.backbones.patches import Patches
from vqcore.errors import SettingError
from vqcore.interfaces.backbone import Backbone, LevelBackbone
from vqcore.interfaces.dataset import SampleSpec
from vqcore.plugin.registry import default_registry

REGISTRY = default_registry()


def check(backbone, shape, dim):
    """Latents and samples have the declared shapes; every parameter gets a gradient."""
    x = torch.randn(2, *shape, requires_grad=True)
    several = isinstance(backbone, LevelBackbone)
    z = latents_of(backbone, x) if several else (backbone.encode(x),)
    for one, positions in zip(
        z, backbone.latent_shapes if several else (backbone.latent_shape,), strict=True
    ):
        assert one.shape[1 if backbone.channel_first else -1] == (backbone.dim or dim)
        assert tuple(one.shape[2:] if backbone.channel_first else one.shape[1:-1]) == tuple(
            positions
        )
    decoded = backbone.decode(z if several else z[0])
    assert decoded.shape == x.shape
    decoded.square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in backbone.parameters())


def latents_of(backbone, x):
    """The latents of each level, with coarser ones not quantized."""
    latents = []
    for level, features in enumerate(backbone.encode(x)):
        latents.append(backbone.refine(level, features, tuple(latents)))
    return latents


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
        ((1, 4096), (64,)),
        ((2, 160), (40,)),
        ((1, 9), (9,)),
        ((3, 8, 32, 16), (4, 16, 8)),
        ((1, 12, 64, 64), (6, 8, 8)),
        ((3, 5, 16, 16), (5, 8, 8)),
        ((3, 1, 8, 8), (1, 4, 4)),
    ],
)
def test_conv_leaves_a_few_positions_a_side(shape, latent_shape):
    backbone = Conv(shape=shape, dim=6, hidden=4)
    assert backbone.latent_shape == latent_shape
    check(backbone, shape, 6)


@pytest.mark.parametrize("side", [33, 66, 100])
def test_sides_that_would_leave_hundreds_of_positions_are_refused(side):
    with pytest.raises(SettingError) as caught:
        Conv(shape=(3, side, side), dim=6)
    assert f"expected a side that halves to 16 or less, found {side}; resize the images" in str(
        caught.value
    )
    assert Conv(shape=(3, side, side), dim=6, hidden=4, downsamplings=0).latent_shape == (
        side,
        side,
    )


@pytest.mark.parametrize(("downsamplings", "side"), [(0, 32), (1, 16), (2, 8), (3, 4), (5, 1)])
def test_downsamplings_halve_the_sides(downsamplings, side):
    backbone = Conv(shape=(3, 32, 32), dim=6, hidden=4, downsamplings=downsamplings)
    assert backbone.latent_shape == (side, side)
    check(backbone, (3, 32, 32), 6)


@pytest.mark.parametrize(
    ("shape", "downsamplings"), [((1, 8, 8), 4), ((3, 28, 8), 3), ((3, 64, 48), 5), ((1, 9, 8), 1)]
)
def test_too_many_downsamplings_are_refused(shape, downsamplings):
    with pytest.raises(SettingError) as caught:
        Conv(shape=shape, dim=6, downsamplings=downsamplings)
    expected = f"sides {shape[1]} x {shape[2]} divisible by {2**downsamplings}"
    assert str(caught.value).startswith(
        f"downsamplings = {downsamplings}: expected {expected}; lower it"
    )


@pytest.mark.parametrize(
    ("backbone", "shape", "nearest"),
    [
        (Conv, (3, 64, 100), "64 x 96 or 64 x 104"),
        (Conv, (3, 50, 90), "48 x 88 or 56 x 96"),
        (Conv, (3, 200, 200), "192 x 192 or 208 x 208"),
        (Patches, (3, 10, 8), "8 x 8 or 12 x 8"),
    ],
)
def test_the_nearest_sides_that_fit_are_named(backbone, shape, nearest):
    with pytest.raises(SettingError, match=f" to {nearest}"):
        backbone(shape=shape, dim=6)
    sides = [tuple(map(int, each.split(" x "))) for each in nearest.split(" or ")]
    assert all(backbone(shape=(3, *each), dim=6).latent_shape for each in sides)


def test_a_length_that_would_leave_hundreds_of_positions_is_refused():
    expected = "a length that halves to 256 or less, found 1002; cut the signals to another length"
    with pytest.raises(SettingError, match=f"{expected} .* to 1000 or 1004, or set"):
        Conv(shape=(1, 1002), dim=6)


@pytest.mark.parametrize("shape", [(64,), (1, 4, 8, 8, 8)])
def test_conv_takes_one_to_three_axes(shape):
    with pytest.raises(
        SettingError, match=r"backbone = 'conv': expected signals .*; set backbone to mlp"
    ):
        Conv(shape=shape, dim=6)


@pytest.mark.parametrize("backbone", [Patches, Hierarchical])
def test_signals_and_clips_are_refused_where_images_are_needed(backbone):
    with pytest.raises(SettingError, match=r"expected images, .* set backbone to conv or mlp"):
        backbone(shape=(1, 64), dim=6)


def test_conv_options_are_used():
    def size(**options):
        return sum(p.numel() for p in Conv(shape=(1, 8, 8), dim=6, **options).parameters())

    assert size(hidden=8, residual_hidden=8) == size(hidden=8)
    assert size(hidden=8) - size(hidden=8, residual_hidden=2) == 4 * 6 * (8 * 9 + 1 + 8)
    assert size(hidden=16) > size(hidden=8)
    assert size(hidden=8, residual_blocks=3) - size(hidden=8, residual_blocks=2) == 2 * (
        8 * 8 * 9 + 8 + 8 * 8 + 8
    )
    far = 100 * torch.randn(2, 6, 4, 4)
    with torch.no_grad():
        assert Conv(shape=(1, 8, 8), dim=6, hidden=8, output="tanh").decode(far).abs().max() <= 1
        assert Conv(shape=(1, 8, 8), dim=6, hidden=8).decode(far).abs().max() > 1


def test_samples_of_a_batch_are_encoded_independently():
    """So that evaluation does not depend on the batch size."""
    torch.manual_seed(0)
    x = torch.randn(5, 1, 8, 8)
    for backbone in (
        Conv(shape=(1, 8, 8), dim=6, hidden=4),
        MLP(shape=(1, 8, 8), dim=6),
        Patches(shape=(1, 8, 8), dim=6),
    ):
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


# -- several levels ---------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "options", "latent_shapes"),
    [
        ((1, 8, 8), {}, ((2, 2), (4, 4))),
        ((3, 32, 48), {}, ((4, 6), (8, 12))),
        ((3, 32, 32), {"levels": 3}, ((2, 2), (4, 4), (8, 8))),
        ((3, 32, 32), {"levels": 4, "downsamplings": 1}, ((2, 2), (4, 4), (8, 8), (16, 16))),
        ((1, 8, 8), {"downsamplings": 0}, ((4, 4), (8, 8))),
    ],
)
def test_each_coarser_level_has_half_the_sides(shape, options, latent_shapes):
    backbone = Hierarchical(shape=shape, dim=6, hidden=4, residual_blocks=1, **options)
    assert backbone.latent_shapes == latent_shapes
    assert backbone.latent_shape == (sum(h * w for h, w in latent_shapes),)
    check(backbone, shape, 6)


def test_too_many_levels_are_refused():
    with pytest.raises(
        SettingError, match=r"levels = 4: expected sides 8 x 8 divisible by 16; lower it"
    ):
        Hierarchical(shape=(1, 8, 8), dim=6, levels=4)
    with pytest.raises(SettingError, match=r"backbone = 'hierarchical': expected images"):
        Hierarchical(shape=(15,), dim=6)


# -- no network -------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 12)])
@pytest.mark.parametrize("size", [1, 2, 4])
def test_latents_of_patches_are_blocks_and_lossless(shape, size):
    backbone = Patches(shape=shape, dim=99, size=size)
    x = torch.randn(2, *shape)
    z = backbone.encode(x)
    block = x[1, :, size : 2 * size, :size] if size < 8 else x[1]
    assert backbone.dim == z.shape[1] == shape[0] * size**2
    assert torch.equal(z[1, :, 1, 0], block.flatten())
    assert torch.equal(backbone.decode(z), x)
    assert not list(backbone.parameters())


def test_patches_refuse_sides_that_do_not_divide_and_vectors():
    with pytest.raises(SettingError, match=r"size = 3: expected a divisor of the sides, 8 x 8"):
        Patches(shape=(1, 8, 8), dim=9, size=3)
    with pytest.raises(SettingError, match=r"backbone = 'patches': expected images"):
        Patches(shape=(64,), dim=16)


@pytest.mark.parametrize("manifold", REGISTRY.names("manifold"))
@pytest.mark.parametrize("quantizer", ["ema", "grouped"])
def test_patches_undo_the_scaling_of_any_manifold(manifold, quantizer):
    """With one code per latent the reconstruction is exact."""
    settings = {
        "backbone": "patches",
        "manifold": manifold,
        "quantizer": quantizer,
        "codebook_size": 32,
    }
    model = build_model(resolve_config(settings, REGISTRY), REGISTRY, SampleSpec((1, 8, 8)))
    x = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert torch.allclose(model(x).reconstruction, x, atol=1e-4)


@pytest.mark.parametrize("bottleneck", ["vq", "gaussian", "none"])
def test_patches_set_the_dimension(bottleneck):
    def build(**more):
        config = resolve_config({"backbone": "patches", "bottleneck": bottleneck, **more}, REGISTRY)
        return build_model(config, REGISTRY, SampleSpec((1, 8, 8)))

    assert build().bottleneck.dim == build(dim=16).bottleneck.dim == 16
    with pytest.raises(
        SettingError, match=r"dim = 12: expected 16, which the backbone's own structure sets"
    ):
        build(dim=12)


@pytest.mark.parametrize("output", ["linear", "tanh"])
@torch.no_grad()
def test_latents_vary_behind_many_layers(output):
    """With torch's own weights they are a constant, from which no codebook recovers."""
    x = torch.randn(16, 3, 64, 64)
    spreads = {}
    for init in ("he", "torch"):
        torch.manual_seed(0)
        backbone = Conv(
            shape=(3, 64, 64), dim=8, hidden=32, downsamplings=5, output=output, init=init
        )
        z = backbone.encode(x)
        spreads[init] = float(z.std((0, 2, 3)).mean() / z.mean((0, 2, 3)).abs().mean())
        image = backbone.decode(torch.randn(16, 8, 2, 2))
        assert image.abs().mean() < 1
    assert spreads["torch"] < 0.1 < 0.5 < spreads["he"]


@torch.no_grad()
def test_levels_begin_with_latents_of_similar_size():
    torch.manual_seed(0)
    backbone = Hierarchical(shape=(3, 64, 64), dim=8, levels=3)
    sizes = [float(z.std()) for z in latents_of(backbone, torch.randn(16, 3, 64, 64))]
    assert max(sizes) < 4 * min(sizes)
