"""A step needs no value of the device: what can be shown of it without one."""

from contextlib import nullcontext

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from vqcore import VectorQuantizer
from vqcore.interfaces.regularizer import Regularizer
from vqcore.numerics import counter_rng
from vqcore.numerics.step_counter import StepCounter, by_phase
from vqcore.plugin.registry import default_registry

EVERYTHING = [
    *[{"quantizer": name} for name in sorted(default_registry().names("quantizer"))],
    *[{"manifold": name} for name in sorted(default_registry().names("manifold"))],
    *[{"estimator": name} for name in sorted(default_registry().names("estimator"))],
    *[{"regularizers": [name]} for name in ("entropy", "isometry", "orthogonal")],
    {"manifold": {"name": "poincare", "learn_curvature": True}, "quantizer": "ema"},
    {"quantizer": {"name": "codebook", "dead_codes": "least-recently-used", "synchronized": 0.5}},
    *[{"quantizer": {"name": name, "drift": 0.5}} for name in ("codebook", "ema")],
    {"blend_steps": 1, "quantize_start": 1},
]


class FromHost(TorchDispatchMode):
    """Names what copies values from the host to the device."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name.removeprefix("aten::")
        device = (kwargs or {}).get("device")
        if name == "_to_copy" and device is not None and args[0].device != torch.device(device):
            self.found.append(name)
        if name == "copy_" and args[0].device != args[1].device:
            self.found.append(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("choices", EVERYTHING, ids=str)
def test_a_step_on_a_device_without_values(choices, monkeypatch):
    """On the device ``meta`` whatever reads a value or a shape that depends on one fails."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # it knows no meta
    torch.manual_seed(0)
    layer = VectorQuantizer(**{"dim": 8, "codebook_size": 16, **choices}).to("meta")
    for module in layer.quantizer.modules():
        if hasattr(module, "_started"):
            module._started = True
    optimizer = torch.optim.SGD([torch.zeros(1), *layer.parameters()], lr=0.1)
    with FromHost() as mode:
        for _ in range(2):
            z = torch.empty(4, 16, 8, device="meta", requires_grad=True)
            out = layer(z, inputs=z)
            (out.quantized.square().sum() + out.loss).backward()
            layer.update(optimizer)
        layer.eval()
        layer.decode(layer.encode(z))
        layer.lookup(layer.encode(z))
        assert all(value.shape == () for value in out.metrics.values())
    assert mode.found == []


@pytest.mark.parametrize("quantizer", ["ema", "codebook"])
def test_a_captured_step_counts_and_draws_on_the_device(quantizer, monkeypatch):
    """As if every step were a replay: the branch that a graph holds gives what the host's does."""
    made = []
    for captured in (False, True):
        torch.manual_seed(0)
        options = {"name": quantizer, "usage_decay": 0.5}
        layer = VectorQuantizer(dim=4, codebook_size=32, quantizer=options)
        for step in range(22):
            layer(torch.randn(64, 4, generator=torch.Generator().manual_seed(step)) / (step + 1))
            if captured and step > 1:
                monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
                monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
            layer.update()
            monkeypatch.undo()
        made.append(layer)
    plain, replayed = (layer.state_dict() for layer in made)
    assert plain["quantizer.replaced"] > 0
    assert made[1].step == made[1].quantizer.step == 22
    torch.testing.assert_close(replayed, plain, rtol=0, atol=0)


def test_keys_on_the_device_are_those_of_the_host():
    for numbers in [(0,), (3, 7, 1), (2**31 - 1, 10**9, 2)]:
        tensors = [torch.tensor(number) for number in numbers]
        assert counter_rng.key_on_device(*tensors).item() == counter_rng.key_of(*numbers)
        mixed = counter_rng.key_on_device(*numbers[:-1], tensors[-1])
        drawn = counter_rng.uniform(mixed + 1, 5)
        assert torch.equal(drawn, counter_rng.uniform(counter_rng.key_of(*numbers) + 1, 5))


def test_a_captured_step_waits_for_quantize_start_on_the_device(monkeypatch):
    layer = VectorQuantizer(dim=4, codebook_size=8, blend_steps=1, quantize_start=3)
    layer(torch.randn(16, 4))
    layer.update()
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    for step in range(1, 6):
        z = torch.randn(16, 4, requires_grad=True)
        out = layer(z)
        (gradient,) = torch.autograd.grad(out.loss, z, retain_graph=True)
        assert bool(gradient.any()) == (step >= 3)
        assert torch.equal(out.quantized, z) == (step < 3)
        layer.update()


@pytest.mark.parametrize("scope", ["codebook", "model"])
def test_a_captured_term_draws_by_the_count_on_the_device(scope, monkeypatch):
    class Drawing(Regularizer):
        def forward(self, batch):
            self.key = batch.key
            return batch.z.sum() * 0

    term = Drawing()
    term.scope = scope
    layer = VectorQuantizer(dim=4, codebook_size=8, regularizers=[term])
    layer(torch.randn(16, 4))
    layer.update()
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    layer(torch.randn(16, 4))
    assert isinstance(term.key, torch.Tensor)
    assert int(term.key) == counter_rng.key_of(1)


def test_a_recording_that_failed_leaves_the_count_to_the_host(monkeypatch):
    counter = StepCounter()
    counter.advance()
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    with by_phase():
        counter.advance()
    monkeypatch.undo()
    counter.value = 1  # as the state of before is loaded
    counter.to("meta")  # from which no value can be read
    assert counter.value == 1
    counter.replayed()
    assert counter.value == 2
