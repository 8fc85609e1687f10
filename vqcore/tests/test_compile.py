"""torch.compile without graph breaks, from the first step; torch.export for any batch size."""

import copy
import io

import pytest
import torch
from torch._dynamo.testing import CompileCounter
from torch.utils.checkpoint import checkpoint

from vqcore import VectorQuantizer
from vqcore.plugin.registry import default_registry

QUANTIZERS = {
    **{name: name for name in default_registry().names("quantizer")},
    "codebook-kmeans": {"name": "codebook", "init": "kmeans", "drift": 1.0},
    "grouped-residual-ema": {
        "name": "grouped",
        "inner": {"name": "residual", "stages": 2, "inner": "ema"},
    },
    "residual-dropout-shared": {
        "name": "residual",
        "shared": True,
        "stage_dropout": 0.5,
        "inner": "ema",
    },
}
MANIFOLDS = {
    "codebook": "poincare",
    "ema": "lorentz",
    "grouped": "sphere",
    "residual": "poincare",
    "simvq": {"name": "product", "factors": "poincare,sphere,euclidean"},
}
every = pytest.mark.parametrize("name", QUANTIZERS)


def build(name, **options):
    torch.manual_seed(0)
    manifold = MANIFOLDS.get(name, "euclidean")
    return VectorQuantizer(
        dim=8, codebook_size=16, quantizer=QUANTIZERS[name], manifold=manifold, **options
    )


@every
def test_compiled_training_and_eval_equal_eager_without_graph_breaks(name):
    torch._dynamo.reset()
    counter = CompileCounter()  # traces as every backend does, then runs the graph as it is
    layer = build(name, blend_steps=4, quantize_start=2)
    twin = copy.deepcopy(layer)
    compiled = torch.compile(layer, fullgraph=True, backend=counter)
    for z in torch.randn(12, 64, 8, generator=torch.Generator().manual_seed(1)):
        ours, theirs = z.clone().requires_grad_(), z.clone().requires_grad_()
        for output, latents, module in (
            (compiled(ours), ours, layer),
            (twin(theirs), theirs, twin),
        ):
            (output.loss + output.quantized.square().sum()).backward()
            module.update()
            latents.output = output
        assert torch.equal(ours.output.indices, theirs.output.indices)
        torch.testing.assert_close(ours.grad, theirs.grad)
    frames = counter.frame_count
    # before and after codes start, by stages that have started, and after the last blend
    assert frames <= 5, "compiled anew from step to step"
    layer.eval(), twin.eval()
    for z in torch.randn(3, 32, 8, generator=torch.Generator().manual_seed(2)):
        assert torch.equal(compiled(z).quantized, twin(z).quantized)
    assert counter.frame_count - frames <= 2


@pytest.mark.parametrize("name", ["codebook", "grouped-residual-ema"])
def test_codes_frozen_after_compiling_stay_without_graph_breaks(name):
    torch._dynamo.reset()
    layer = build(name)
    compiled = torch.compile(layer, fullgraph=True, backend=CompileCounter())
    z = torch.randn(64, 8, requires_grad=True)
    compiled(z)
    layer.update()
    before = layer.codebook.detach().clone()
    layer.freeze_codes()
    assert not compiled(z + 3).losses.get("codebook", torch.zeros(())).requires_grad
    layer.update()
    assert torch.equal(layer.codebook, before)


def test_an_exported_search_is_read_again_from_its_file():
    class Encoder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = build("codebook").eval()

        def forward(self, z):
            return self.layer.encode(z)

    encoder, z = Encoder(), torch.randn(9, 8)
    with torch.no_grad():
        program = torch.export.export(
            encoder, (z,), dynamic_shapes=({0: torch.export.Dim("batch")},)
        )
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    assert torch.equal(torch.export.load(file).module()(z[:5]), encoder(z[:5]))


def test_the_default_compiler_gives_the_same_training():
    torch._dynamo.reset()
    layer = build("ema")
    twin = copy.deepcopy(layer)
    compiled = torch.compile(layer, fullgraph=True)
    for z in torch.randn(4, 256, 8, generator=torch.Generator().manual_seed(1)):
        assert torch.equal(compiled(z).indices, twin(z).indices)
        layer.update(), twin.update()
    torch.testing.assert_close(layer.codebook, twin.codebook)


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("name", ["codebook", "ema", "residual-dropout-shared"])
def test_activation_checkpointing_gathers_once(name, reentrant):
    layer = build(name)
    twin = copy.deepcopy(layer)
    for z in torch.randn(5, 64, 8, generator=torch.Generator().manual_seed(1)):
        ours, theirs = z.clone().requires_grad_(), z.clone().requires_grad_()

        def run(latents):
            out = layer(latents)
            return out.quantized, out.loss

        quantized, loss = checkpoint(run, ours, use_reentrant=reentrant)
        (quantized.square().sum() + loss).backward()
        out = twin(theirs)
        (out.quantized.square().sum() + out.loss).backward()
        layer.update(), twin.update()
        torch.testing.assert_close(ours.grad, theirs.grad)
    for key, value in twin.state_dict().items():
        torch.testing.assert_close(layer.state_dict()[key], value, rtol=0, atol=0)
