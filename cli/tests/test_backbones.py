"""Backbones: the shapes that they give, and the settings that they refuse."""

import pytest
import torch

from vq.config.resolved_config import resolve_config
from vq.models.autoencoder import build_model
from vq.models.backbones.conv import Conv
from vq.models.backbones.hierarchical import Hierarchical
from vq.models.backbones.mlp import MLP
from vq.models.backbones.patches import Patches
from vq.models.backbones.resnet import Attention, Block, ResNet
from vq.models.backbones.vit import ViT, sines
from vqcore.errors import SettingError, UsageError
from vqcore.interfaces.backbone import LevelBackbone
from vqcore.interfaces.dataset import SampleSpec
from vqcore.plugin.registry import default_registry

REGISTRY = default_registry()
CLASSES = 3
TINY = {"width": 12, "depth": 1, "heads": 2}


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
    assert decoded.shape == (x.shape if backbone.emits == "samples" else (2, CLASSES))
    decoded.square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in backbone.parameters())


def latents_of(backbone, x):
    """The latents of each level, with coarser ones not quantized."""
    latents = []
    for level, features in enumerate(backbone.encode(x)):
        latents.append(backbone.refine(level, features, tuple(latents)))
    return latents


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


# -- VQGAN's ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "latent_shape"),
    [
        ((1, 8, 8), (4, 4)),
        ((1, 28, 28), (7, 7)),
        ((2, 9, 9), (9, 9)),
        ((3, 32, 48), (8, 12)),
        ((3, 256, 256), (16, 16)),
        ((3, 512, 272), (32, 17)),
        ((1, 640), (40,)),
        ((1, 4096), (256,)),
        ((3, 8, 16, 16), (4, 8, 8)),
    ],
)
def test_resnet_has_five_levels_or_as_many_as_leave_eight_positions(shape, latent_shape):
    assert ResNet(shape=shape, dim=6, channels=4).latent_shape == latent_shape


@pytest.mark.parametrize("shape", [(3, 16, 24), (1, 64), (3, 8, 8, 16)])
def test_resnet_for_one_to_three_axes(shape):
    backbone = ResNet(shape=shape, dim=6, channels=4, multipliers=(1, 2, 3), blocks=1)
    check(backbone, shape, 6)
    names = dict(backbone.named_parameters())
    assert backbone.last_layer is list(names.values())[-2]
    assert backbone.last_layer.shape[:2] == (shape[0], 4)


def test_resnet_options_are_used():
    def layers(kind, **options):
        backbone = ResNet(shape=(3, 64, 32), dim=6, channels=4, **options)
        return [sum(isinstance(each, kind) for each in half.modules()) for half in halves(backbone)]

    def halves(backbone):
        return backbone.encoder, backbone.decoder

    assert layers(Block) == layers(Block, multipliers=(1, 2, 4)) == [3 * 2 + 2, 3 * 3 + 2]
    assert layers(Block, blocks=1, multipliers=(1, 1)) == [2 * 1 + 2, 2 * 2 + 2]
    assert layers(Attention) == layers(Attention, attention=[8]) == [2 + 1, 3 + 1]
    assert layers(Attention, attention=[]) == [1, 1]
    assert layers(Attention, attention=[32, 8]) == [2 * 2 + 1, 2 * 3 + 1]
    norms = ResNet(shape=(1, 8, 8), dim=6, channels=48).modules()
    groups = {each.num_groups for each in norms if isinstance(each, torch.nn.GroupNorm)}
    assert groups == {8, 32}  # of 48 and 192 channels


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attention": [16, 12]}, r"attention = 12: expected sizes among 32, 16, 8, the shorter"),
        (
            {"multipliers": (1, 1, 2, 2, 4, 4, 4)},
            r"multipliers = \[1, 1, 2, 2, 4, 4, 4\]: expected sides 64 x 32 divisible by 64; "
            "give fewer, or resize .* to 64 x 64",
        ),
    ],
)
def test_what_resnet_refuses(options, message):
    with pytest.raises(SettingError, match=message):
        ResNet(shape=(3, 64, 32), dim=6, channels=4, **options)


def test_sides_that_resnet_cannot_halve_often_enough():
    with pytest.raises(
        SettingError, match=r"multipliers = None: .*96 x 96 or 104 x 104, or set mul"
    ):
        ResNet(shape=(3, 100, 100), dim=6, channels=4)
    with pytest.raises(SettingError, match=r"backbone = 'resnet': expected signals .* mlp"):
        ResNet(shape=(64,), dim=6)


@torch.no_grad()
@pytest.mark.parametrize("init", ["he", "torch"])
def test_latents_of_resnet_vary_behind_many_layers(init):
    torch.manual_seed(0)
    size = {"channels": 16, "multipliers": (1, 1, 2, 2, 4)}
    backbone = ResNet(shape=(3, 64, 64), dim=8, init=init, **size)
    z = backbone.encode(torch.randn(4, 3, 64, 64))
    assert z.std((0, 2, 3)).mean() > z.mean((0, 2, 3)).abs().mean()
    x = torch.randn(1, 64, 4, 4)
    middle = backbone.decoder[1:4]  # a block, attention, a block
    assert torch.equal(middle(x), x) == (init == "he")


def test_attention_holds_no_score_of_each_pair():
    largest = 0

    def pack(tensor):
        nonlocal largest
        largest = max(largest, tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        Attention(8)(torch.randn(1, 8, 32, 32))
    assert largest == 1024 * 8


# -- less memory ------------------------------------------------------------


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", [ResNet, Conv, Hierarchical])
def test_checkpointing_keeps_less_and_changes_nothing(kind, precision):
    size = (
        {"channels": 4, "init": "torch"} if kind is ResNet else {"hidden": 4, "residual_blocks": 8}
    )
    found = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        backbone = kind(shape=(1, 16, 16), dim=6, checkpointing=checkpointing, **size)
        kept = {}

        def pack(tensor, kept=kept):
            kept[tensor.untyped_storage().data_ptr()] = tensor
            return tensor

        with (
            torch.autocast("cpu", precision, enabled=precision is not torch.float32),
            torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        ):
            x = torch.randn(2, 1, 16, 16)
            several = isinstance(backbone, LevelBackbone)
            decoded = backbone.decode(latents_of(backbone, x) if several else backbone.encode(x))
        decoded.float().square().mean().backward()
        bytes_kept = sum(each.untyped_storage().nbytes() for each in kept.values())
        gradients = [each.grad for each in backbone.parameters()]
        found.append((bytes_kept, [decoded, *gradients]))
    (all_kept, one), (less_kept, other) = found
    assert all(map(torch.equal, one, other))
    assert less_kept < 0.6 * all_kept


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


# -- patches through a transformer --------------------------------------------


@pytest.mark.parametrize(
    ("shape", "patch_size", "grid"),
    [
        ((1, 8, 8), None, (4, 4)),
        ((1, 28, 28), None, (7, 7)),
        ((3, 64, 48), None, (8, 6)),
        ((3, 100, 100), None, (5, 5)),
        ((1, 4096), None, (64,)),
        ((3, 16, 32, 32), None, (4, 8, 8)),
        ((3, 5, 16, 16), None, (5, 8, 8)),
        ((3, 8, 12), 4, (2, 3)),
        ((3, 8, 12), [2, 6], (4, 2)),
        ((2, 4, 8, 8), [1, 4, 8], (4, 2, 1)),
    ],
)
@pytest.mark.parametrize("tokens", [None, 3])
def test_patches_are_tokens_along_any_axes(shape, patch_size, grid, tokens):
    backbone = ViT(shape=shape, dim=5, patch_size=patch_size, tokens=tokens, **TINY)
    assert (backbone.grid, backbone.latent_shape) == (grid, grid if tokens is None else (3,))
    check(backbone, shape, 5)
    assert any(backbone.last_layer is each for each in backbone.parameters())
    assert "positions" not in backbone.state_dict()


@pytest.mark.parametrize(
    ("shape", "patch_size", "text"),
    [
        ((1, 8, 9), 4, "expected a divisor of the sides, 8 x 9; .* to 8 x 8 or 8 x 12"),
        ((1, 8, 8), [4, 4, 4], r"\[4, 4, 4\]: expected one number, or 2 for .* 8 x 8"),
        ((1, 8, 9), None, "a common divisor that leaves 2 to 8 patches, found 8 x 9; set it"),
        ((64,), None, "backbone = 'vit': expected signals .* set backbone to mlp"),
    ],
)
def test_patches_that_do_not_fit_are_refused(shape, patch_size, text):
    with pytest.raises(SettingError, match=text):
        ViT(shape=shape, dim=5, patch_size=patch_size, **TINY)


def test_heads_divide_the_width():
    with pytest.raises(UsageError, match="backbone: expected heads that divide width = 16, not 3"):
        REGISTRY.resolve("backbone", {"name": "vit", "width": 16, "heads": 3})


def test_a_transformer_takes_pictures_of_other_sizes():
    """Positions are fixed and local, so a cut away from a border moves only what sees the rest."""
    torch.manual_seed(0)
    backbone = ViT(shape=(1, 8, 8), dim=5, patch_size=2, **TINY)
    x = torch.randn(2, 1, 12, 8)
    assert backbone.encode(x).shape == (2, 5, 6, 4)
    assert backbone.decode(torch.randn(2, 5, 6, 4)).shape == x.shape
    large, small = sines((6, 4), 12).view(6, 4, 12), backbone.positions.view(4, 4, 12)
    assert torch.allclose(large[:4], small)
    assert torch.unique(large.flatten(0, 1), dim=0).shape[0] == 24


@pytest.mark.parametrize("options", [{}, {"tokens": 3}])
def test_checkpointing_computes_the_same_gradients(options):
    gradients = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        chosen = {**TINY, **options, "depth": 2, "checkpointing": checkpointing}
        backbone = ViT(shape=(1, 8, 8), dim=5, **chosen)
        backbone.decode(backbone.encode(torch.randn(2, 1, 8, 8))).square().mean().backward()
        gradients.append([parameter.grad for parameter in backbone.parameters()])
    assert all(map(torch.equal, *gradients))


@torch.no_grad()
def test_a_transformer_begins_with_latents_that_depend_on_the_sample():
    """Positions do not outweigh the patches, and a picture begins small."""
    torch.manual_seed(0)
    for tokens in (None, 16):
        backbone = ViT(shape=(3, 32, 32), dim=8, tokens=tokens)
        z = backbone.encode(torch.randn(16, 3, 32, 32) / 2)
        assert z.std(0).mean() > 0.02
        assert backbone.decode(z).std() < 0.5
