"""A layer on MPS, which lacks float64. There is none here: the CPU refuses it in its place."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves

from vqcore import VectorQuantizer
from vqcore.codebook import usage_meter
from vqcore.codebook.usage_meter import UsageMeter, to_floats
from vqcore.numerics import counter_rng, stable


class WithoutDouble(TorchDispatchMode):
    """Refuses results in float64, as MPS does."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        if any(getattr(each, "dtype", None) == torch.float64 for each in tree_leaves(found)):
            raise TypeError(f"{func}: no float64 here")
        return found


@pytest.fixture
def without_double(monkeypatch):
    for module in (stable, counter_rng, usage_meter):
        monkeypatch.setattr(module, "widest", lambda _device: torch.float32)
    with WithoutDouble():
        yield


QUANTIZERS = [
    *({"name": "codebook", "init": init} for init in ("data", "kmeans", "normal")),
    {"name": "ema", "init": "kmeans"},
    *({"name": name} for name in ("simvq", "lfq", "residual")),
]


@pytest.mark.parametrize("quantizer", QUANTIZERS, ids=lambda each: "-".join(each.values()))
def test_a_layer_moves_trains_and_encodes(without_double, quantizer):
    with _disable_current_modes():  # it is made on the CPU
        layer = VectorQuantizer(dim=4, codebook_size=16, quantizer=quantizer)
    layer._apply(moved)
    meter = UsageMeter()
    optimizer = torch.optim.SGD(layer.parameters(), 0.1) if list(layer.parameters()) else None
    for seed in range(12):  # codes are replaced at the tenth
        z = torch.randn(2, 8, 4, generator=torch.Generator().manual_seed(seed), requires_grad=True)
        out = layer(z)
        (out.quantized.square().mean() + out.loss).backward()
        layer.update(optimizer)
        meter.add(out)
    layer.eval()
    assert torch.isfinite(layer.decode(layer.encode(z))).all()
    assert 1 <= out.metrics["perplexity"] <= to_floats(meter.close())["codes_used"][0]


def moved(tensor):
    """A copy, as ``to`` makes one; of float64, none."""
    if tensor.dtype == torch.float64:
        raise TypeError("Cannot convert a MPS Tensor to float64 dtype")
    return tensor.clone()


def test_draws_in_float32_stay_below_one(without_double):
    drawn = counter_rng.uniform(3, 10_000)
    assert drawn.dtype == torch.float32
    assert 0 <= drawn.min() < 1e-3
    assert 0.999 < drawn.max() < 1
