"""Frozen codes by hand. The kit holds every quantizer to ``test_frozen_codes_stay``."""

import pytest
import torch
from torch import nn

from vqcore import VectorQuantizer


def build(quantizer="codebook", **options):
    torch.manual_seed(0)
    return VectorQuantizer(dim=4, codebook_size=16, quantizer=quantizer, **options)


def train(layer, steps, optimizer=None, set_to_none=True):
    """Steps of an autoencoder's kind: a learned map before the layer."""
    encoder = nn.Linear(4, 4)
    with torch.no_grad():
        encoder.weight.copy_(torch.eye(4))
    for step in range(steps):
        z = encoder(torch.randn(64, 4, generator=torch.Generator().manual_seed(step)))
        out = layer(z)
        if optimizer is not None:
            optimizer.zero_grad(set_to_none=set_to_none)
        (out.loss + out.quantized.square().mean()).backward()
        if optimizer is not None:
            optimizer.step()
        layer.update(optimizer)
    return encoder


@pytest.mark.parametrize("freeze", ["freeze_codes", "eval", "requires_grad_", "parameter"])
def test_neither_gradients_nor_replacement_move_frozen_codes_in_60_steps(freeze):
    layer = build({"name": "codebook", "dead_code_threshold": 0.9})
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1, weight_decay=0.1)
    train(layer, 5, optimizer)
    before = layer.codebook.detach().clone()
    if freeze == "freeze_codes":
        layer.freeze_codes()
    elif freeze == "eval":
        layer.quantizer.eval()
    elif freeze == "requires_grad_":
        layer.quantizer.requires_grad_(False)
    else:
        layer.quantizer.weight.requires_grad_(False)
        layer.quantizer.weight.grad = None
    encoder = train(layer, 60, optimizer)
    assert torch.equal(layer.codebook, before)
    assert encoder.weight.grad.norm() > 0  # commitment and the estimator go on
    assert layer.quantizer.replaced_codes() == 0


@pytest.mark.parametrize("options", [{}, {"affine_lr": 1.0}])
@pytest.mark.parametrize("name", ["codebook", "simvq"])
def test_gradients_of_zero_do_not_let_momentum_move_frozen_codes(name, options):
    if name == "simvq" and options:
        return
    layer = build({"name": name, **options})
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1, weight_decay=0.1)
    train(layer, 3, optimizer)
    layer.freeze_codes()
    before = layer.codebook.detach().clone()
    train(layer, 3, optimizer, set_to_none=False)
    assert torch.equal(layer.codebook, before)


@pytest.mark.parametrize("quantizer", ["codebook", "ema", "simvq"])
def test_frozen_codes_that_have_not_started_start_after_unfreezing(quantizer):
    layer = build(quantizer)
    before = layer.codebook.detach().clone()
    layer.freeze_codes()
    z = 5 + torch.randn(64, 4)
    layer(z), layer.update()
    assert torch.equal(layer.codebook, before)
    layer.unfreeze_codes()
    layer(z)
    assert not torch.equal(layer.codebook, before)
    assert layer.quantizer.started


def test_unfrozen_codes_learn_again():
    layer = build()
    layer.freeze_codes()
    layer.requires_grad_(True)
    train(layer, 1)
    assert layer.quantizer.weight.grad.norm() > 0


def test_unfreezing_keeps_gradients_that_accumulate():
    layer = build()
    train(layer, 1)
    before = layer.quantizer.weight.grad.clone()
    layer.requires_grad_(True)
    assert torch.equal(layer.quantizer.weight.grad, before)


def test_freezing_stops_at_the_codes_a_learned_curvature_trains_on():
    layer = build("ema", manifold={"name": "poincare", "learn_curvature": True})
    layer.freeze_codes()
    assert layer.manifold.curve.theta.requires_grad
    layer.requires_grad_(False)
    assert not layer.manifold.curve.theta.requires_grad


def test_every_stage_is_frozen():
    layer = build({"name": "residual", "inner": {"name": "grouped", "inner": "ema"}})
    layer.freeze_codes()
    inner = [m for m in layer.quantizer.modules() if hasattr(m, "codes_frozen")]
    assert len(inner) == 1 + 4 * (1 + 2)
    assert all(module.codes_frozen for module in inner)


def test_freezing_is_no_part_of_the_state():
    layer, other = build("ema"), build("ema")
    layer.freeze_codes()
    other.load_state_dict(layer.state_dict())
    assert not other.quantizer.codes_frozen


def test_statistics_gathered_before_freezing_are_dropped():
    layer = build("ema")
    train(layer, 1)
    layer(torch.randn(64, 4) + 10)
    before = layer.codebook.clone()
    layer.freeze_codes()
    layer.update()
    layer.unfreeze_codes()
    layer.update()
    assert torch.equal(layer.codebook, before)
