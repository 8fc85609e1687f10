"""``--compile``: the whole training step as one graph, without a compilation from step to step."""

import functools

import pytest
import torch
from torch._dynamo.testing import CompileCounter
from torch._dynamo.utils import counters

from vq.models.backbones.resnet import ResNet
from vq.models.backbones.vit import ViT
from vqcore.builtin.regularizers.entropy import UsageEntropy

#: Two whole batches and a short one an epoch.
STEPS = ("--batch-size", 600, "--max-steps", 6, "--set", "log_every=1")


@pytest.fixture
def graphs(monkeypatch):
    """Counts the graphs that are compiled, and runs them as they are: a compiler takes a minute."""
    torch._dynamo.reset()
    counters.clear()
    counter = CompileCounter()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=counter))
    yield counter
    torch._dynamo.reset()


@pytest.mark.parametrize(
    "choices",
    [
        ("--quantizer", "ema", "--precision", "bf16", "--set", "accumulate=2"),
        ("--manifold", "poincare", "--regularizer", "entropy", "--backbone", "hierarchical"),
        ("--bottleneck", "gaussian", "--manifold", "lorentz", "--backbone", "mlp"),
        ("--bottleneck", "none", "--set", "backbone.checkpointing=true"),
    ],
    ids=" ".join,
)
def test_a_step_is_one_graph_compiled_once(train, graphs, choices):
    eager = train(*choices, *STEPS, run="eager").metrics
    assert graphs.frame_count == 0
    compiled = train(*choices, *STEPS, "--compile", run="compiled").metrics
    passes = 2 if "accumulate=2" in choices else 1  # the second one adds to what the first gathered
    assert (graphs.frame_count, dict(counters["graph_break"])) == (passes, {})
    for one, other in zip(eager, compiled, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)
    assert eager[-1]["test_mse"] == pytest.approx(compiled[-1]["test_mse"], rel=1e-4)


@pytest.mark.parametrize(
    ("kind", "size"),
    [
        (ResNet, {"channels": 4, "multipliers": (1, 1), "blocks": 1}),
        (ViT, {"width": 8, "depth": 1, "tokens": 3}),
    ],
)
def test_a_deep_network_is_one_graph(kind, size):
    backbone = kind(shape=(1, 8, 8), dim=6, checkpointing=True, **size)

    def decoded(x):
        return backbone.decode(backbone.encode(x))

    x = torch.randn(2, 1, 8, 8)
    assert torch.equal(torch.compile(decoded, backend="eager", fullgraph=True)(x), decoded(x))


def test_a_component_that_cannot_be_compiled_splits_the_graph(train, graphs, monkeypatch):
    monkeypatch.setattr(UsageEntropy, "forward", torch.compiler.disable(UsageEntropy.forward))
    choices = ("--regularizer", "entropy", "--backbone", "mlp", *STEPS)
    eager = train(*choices, run="eager").metrics
    compiled = train(*choices, "--compile", run="compiled").metrics
    assert graphs.frame_count > 1
    assert eager[-1]["loss"] == pytest.approx(compiled[-1]["loss"], rel=1e-4)


def test_a_compiler_that_fails_is_named(train, monkeypatch):
    def fails(*_arguments, **_options):
        raise RuntimeError("no compiler")

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=fails))
    torch._dynamo.reset()
    run = train("--compile", code=2)
    assert "compile = True: expected false, for torch.compile fails here:" in run.result.err
    assert "no compiler" in run.result.err


def test_a_term_that_reads_the_step_is_not_compiled_for_each(train, graphs):
    choices = ("--regularizer", "homology", "--set", "regularizers.homology.points=codebook")
    train(*choices, "--batch-size", 600, "--max-steps", 6, "--compile", run="few")
    few = graphs.frame_count
    torch._dynamo.reset()
    graphs.clear()
    train(*choices, "--batch-size", 600, "--max-steps", 14, "--compile", run="many")
    assert graphs.frame_count == few
