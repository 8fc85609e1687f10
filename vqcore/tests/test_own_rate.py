"""A learning rate of the codes' own, for each quantizer that learns a table by gradients."""

import copy

import pytest
import torch

from vqcore import VectorQuantizer

OWN_RATE = ["codebook", "simvq"]


def layer(name, lr_scale, **options):
    torch.manual_seed(0)
    quantizer = {"name": name, "lr_scale": lr_scale, "dead_code_threshold": 0, **options}
    return VectorQuantizer(dim=4, codebook_size=16, quantizer=quantizer)


def learned(made):
    return made.quantizer.learned().detach().clone()


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
@pytest.mark.parametrize("name", OWN_RATE)
def test_a_step_is_as_many_times_as_long(name, optimizer):
    steps = []
    for scale in (1.0, 8.0):
        made = layer(name, scale)
        made.quantizer.started = True
        before = learned(made)
        z = torch.randn(64, 4, generator=torch.Generator().manual_seed(1))
        made(z).loss.backward()
        optimizer(made.parameters(), lr=1e-3).step()
        steps.append((learned(made) - before, made.quantizer.weight.grad))
    (plain, gradient), (fast, same) = steps
    torch.testing.assert_close(same, gradient)
    torch.testing.assert_close(fast, 8 * plain, atol=1e-6, rtol=1e-3)


@pytest.mark.parametrize("name", OWN_RATE)
def test_a_state_loads_into_another_scale(name):
    one, other = layer(name, 4.0), layer(name, 32.0)
    one(torch.randn(64, 4))
    other.load_state_dict(one.state_dict())
    assert torch.equal(other.codebook, one.codebook)
    assert other.state_dict()["quantizer.weight_scale"] == 32


@pytest.mark.parametrize("name", OWN_RATE)
def test_a_state_of_before_there_was_a_scale_loads(name):
    plain = layer(name, 1.0)
    plain(torch.randn(64, 4))
    state = copy.copy(plain.state_dict())
    del state["quantizer.weight_scale"]
    fast = layer(name, 32.0)
    fast.load_state_dict(state)
    assert torch.equal(fast.codebook, plain.codebook)


@pytest.mark.parametrize("name", OWN_RATE)
def test_a_scale_is_not_rounded_with_the_codes(name):
    one, other = layer(name, 0.3).to(torch.bfloat16), layer(name, 0.3).to(torch.bfloat16)
    one(torch.randn(64, 4))
    other.load_state_dict(one.state_dict())
    assert torch.equal(other.codebook, one.codebook)


@pytest.mark.parametrize("name", OWN_RATE)
@pytest.mark.parametrize("assign", [True, False])
def test_a_layer_built_without_memory_saves_its_scale(name, assign):
    source = layer(name, 4.0)
    source(torch.randn(64, 4))
    with torch.device("meta"):
        made = layer(name, 32.0)
    if not assign:
        made.to_empty(device="cpu")
    made.load_state_dict(source.state_dict(), assign=assign)
    assert made.state_dict()["quantizer.weight_scale"].item() == 32
    torch.testing.assert_close(made.codebook, source.codebook)


def test_codes_stored_as_points_learn_at_the_optimizers_rate():
    made = VectorQuantizer(
        dim=4, codebook_size=16, manifold={"name": "poincare", "codes": "riemannian"}
    )
    assert made.quantizer.lr_scale == 1
    assert torch.equal(made.quantizer.weight.detach(), made.codebook.detach())
