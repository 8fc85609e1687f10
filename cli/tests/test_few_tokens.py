"""The word at the start about few tokens and large factors."""

import pytest

from vq.config.resolved_config import resolve_config
from vq.models.autoencoder import build_model
from vq.training.few_tokens import few_tokens
from vqcore.interfaces.dataset import SampleSpec
from vqcore.plugin.registry import default_registry

REGISTRY = default_registry()
CONV = {"name": "conv", "hidden": 2, "residual_blocks": 0}
VIT = {"name": "vit", "width": 8, "heads": 2, "depth": 1}


def said(shape, backbone, **settings):
    config = resolve_config({"backbone": backbone, "codebook_size": 16, **settings}, REGISTRY)
    model = build_model(config, REGISTRY, SampleSpec(shape))
    return few_tokens(model, shape, config.components["backbone"].options)


@pytest.mark.parametrize(
    ("shape", "backbone", "text"),
    [
        ((1, 8, 8), CONV, "16 tokens a sample (4 x 4, f = 2), fewer than 64, keep little detail"),
        (
            (3, 64, 64),
            CONV | {"downsamplings": 4},
            "16 tokens a sample (4 x 4, f = 16), fewer than 64, keep little detail; --set "
            "backbone.downsamplings=3 makes 8 x 8",
        ),
        (
            (1, 256, 256),
            CONV | {"downsamplings": 4},
            "256 tokens a sample (16 x 16, f = 16) keep little detail; --set "
            "backbone.downsamplings=3 makes 32 x 32",
        ),
        (
            (1, 16, 16),
            {"name": "resnet", "channels": 2, "multipliers": [1, 1, 1]},
            "16 tokens a sample (4 x 4, f = 4), fewer than 64, keep little detail; fewer "
            "backbone.multipliers make more",
        ),
        (
            (1, 32, 64),
            VIT | {"patch_size": 16},
            "8 tokens a sample (2 x 4, f = 16), fewer than 64, keep little detail; --set "
            "backbone.patch_size=4 makes 8 x 16",
        ),
        (
            (1, 32, 32),
            VIT | {"tokens": 32},
            "32 tokens a sample (32), fewer than 64, keep little detail; --set "
            "backbone.tokens=64 makes more",
        ),
        (
            (1, 4096),
            CONV | {"downsamplings": 7},
            "32 tokens a sample (32, f = 128), fewer than 64, keep little detail; --set "
            "backbone.downsamplings=6 makes 64",
        ),
    ],
)
def test_few_tokens_and_what_makes_more(shape, backbone, text):
    assert said(shape, backbone) == text


@pytest.mark.parametrize(
    ("shape", "backbone", "settings"),
    [
        ((3, 32, 32), CONV, {}),
        ((1, 4096), CONV, {}),
        ((1, 8, 8), CONV, {"quantizer": {"name": "residual", "stages": 4}}),
        ((1, 8, 8), CONV, {"bottleneck": "none"}),
        ((255,), "mlp", {}),
    ],
)
def test_of_others_nothing_is_said(shape, backbone, settings):
    assert said(shape, backbone, **settings) is None
