"""Groups and stages computed as one table give what they give one by one."""

import copy

import pytest
import torch

from vq_grouped.equal_tables import EqualTables
from vqcore import VectorQuantizer

INNER = [
    {"name": "codebook"},
    {"name": "ema"},
    {"name": "simvq"},
    {"name": "codebook", "affine_lr": 0.5, "synchronized": 0.5},
]
WRAPPED = [
    {"name": "grouped", "groups": 4},
    {"name": "residual", "stages": 3},
    {"name": "residual", "stages": 3, "shared": True},
    {"name": "residual", "stages": 3, "residuals": "manifold"},
    {"name": "residual", "stages": 3, "stage_dropout": 0.7},
]
SPACES = [{"name": "poincare", "learn_curvature": True}, "lorentz", "euclidean", "sphere"]


def build(manifold="euclidean", **quantizer):
    torch.manual_seed(0)
    made = VectorQuantizer(dim=8, codebook_size=16, manifold=manifold, quantizer=quantizer)
    made.double()(torch.randn(3, 64, 8).double())  # the codes start one by one
    made.update()
    return made


def one_by_one(monkeypatch):
    monkeypatch.setattr(EqualTables, "of", classmethod(lambda *_: None))
    monkeypatch.setattr("vq_grouped.inner.equal_tables", lambda *_: None)


def trained(layer, steps=3):
    """The outputs of some steps with a mask, and the gradients of the last one."""
    outputs = []
    for step in range(steps):
        z = torch.randn(2, 40, 8, generator=torch.Generator().manual_seed(step)).double()
        z.requires_grad_()
        mask = torch.arange(40).expand(2, 40) < torch.tensor([[40], [13]])
        layer.zero_grad()
        outputs.append(layer(z, mask=mask))
        (outputs[-1].quantized.square().sum() + outputs[-1].loss).backward()
        layer.update()
    return outputs, [z.grad, *(each.grad for each in layer.parameters())]


@pytest.mark.parametrize("wrapped", WRAPPED, ids=str)
@pytest.mark.parametrize(("inner", "manifold"), list(zip(INNER, SPACES, strict=True)), ids=str)
def test_as_one_and_one_by_one_are_the_same(inner, wrapped, manifold, monkeypatch):
    layer = build(manifold, **wrapped, inner={**inner, "init": "normal"})
    twin = copy.deepcopy(layer)
    assert layer.quantizer.as_one() is not None
    ours, our_gradients = trained(layer)
    z = torch.randn(30, 8).double()
    encoded = layer.encode(z)
    decoded = layer.decode(encoded)
    one_by_one(monkeypatch)
    theirs, gradients = trained(twin)
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.equal(mine.indices, other.indices)
        assert torch.equal(mine.counts, other.counts)
        torch.testing.assert_close(mine.quantized, other.quantized, rtol=1e-6, atol=1e-8)
        torch.testing.assert_close(mine.losses, other.losses, rtol=1e-6, atol=1e-8)
        torch.testing.assert_close(mine.errors, other.errors, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(our_gradients, gradients, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(layer.state_dict(), twin.state_dict(), rtol=1e-6, atol=1e-8)
    assert torch.equal(encoded, twin.encode(z))
    torch.testing.assert_close(decoded, twin.decode(encoded), rtol=1e-6, atol=1e-8)


def test_what_differs_or_acts_alone_is_computed_one_by_one():
    layer = build(name="residual", stages=2, inner="ema").quantizer
    assert layer.as_one() is not None
    layer.inner[1].freeze_codes()
    assert layer.as_one() is None
    layer.unfreeze_codes()
    layer.inner[1].decay = 0.5
    assert layer.as_one() is None
    del layer.inner[1].decay
    assert layer.as_one() is None
    layer.inner[1].decay = layer.inner[0].decay
    assert layer.as_one() is not None
    calls = []
    handle = layer.inner[1].register_forward_hook(lambda *_: calls.append(1))
    layer(torch.randn(5, 8).double())
    assert calls == [1]
    handle.remove()
    layer.inner[0].started = False
    assert layer.as_one() is None
    for options in (
        {"inner": {"name": "residual", "inner": "ema"}},
        {"inner": "fsq"},
        {"inner": "random-projection"},
    ):
        assert build(name="residual", **options).quantizer.as_one() is None
    points = {"name": "lorentz", "codes": "riemannian"}
    assert build(points, name="grouped").quantizer.as_one() is None


def test_tables_of_a_group_are_updated_apart_where_one_alone_has_tokens():
    layer = build(name="grouped", groups=2, inner="ema").quantizer
    before = layer.codebook.clone()
    layer.inner[1](torch.randn(50, 4).double())
    steps = layer.inner[0].step
    layer.update()
    assert torch.equal(layer.codebook[0], before[0])
    assert not torch.equal(layer.codebook[1], before[1])
    assert (layer.inner[0].step, layer.inner[1].step) == (steps, steps + 1)


@pytest.mark.parametrize("name", ["grouped", "residual"])
def test_an_index_out_of_range_is_not_one_of_the_next_table(name, monkeypatch):
    layer = build(name=name, inner="ema").quantizer
    monkeypatch.setattr("vq_grouped.equal_tables.check_indices", lambda *_: None)  # as on a GPU
    indices = torch.full((1, layer.count), 3)
    indices[0, 0] = 16
    assert layer.decode(indices).isnan().any()
    assert layer.decode(indices.clamp(max=15)).isfinite().all()


def test_stage_dropout_of_a_replayed_step_is_that_of_the_host(monkeypatch):
    layer = build(name="residual", stages=5, stage_dropout=0.6, inner="ema")
    twin = copy.deepcopy(layer)
    drawn = []
    for _ in range(12):
        layer.update()
        with monkeypatch.context() as patched:
            patched.setattr(torch.cuda, "is_initialized", lambda: True)
            patched.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
            twin.update()
        drawn.append(layer.quantizer.in_use.item())
        assert twin.quantizer.in_use.item() == drawn[-1]
    assert len(set(drawn)) > 2
