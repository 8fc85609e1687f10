"""The layer on a GPU: no wait in a step, and a step as a CUDA graph. Skipped without one."""

import copy

import pytest
import torch
from torch import nn

from vqcore import VectorQuantizer
from vqcore.plugin.registry import default_registry

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

DIM, CODES, TOKENS = 8, 64, 512
LEARNED = {"name": "poincare", "learn_curvature": True}
MANIFOLDS = ["euclidean", "sphere", "poincare", "lorentz", LEARNED]


class Training:
    """A linear encoder and a layer with their optimizer."""

    def __init__(self, **choices):
        torch.manual_seed(0)
        self.encoder = nn.Linear(DIM, DIM).cuda()
        self.layer = VectorQuantizer(dim=DIM, codebook_size=CODES, **choices).cuda()
        parameters = [*self.encoder.parameters(), *self.layer.parameters()]
        self.optimizer = torch.optim.SGD(parameters, lr=0.05, momentum=0.9)

    def step(self, z):
        self.optimizer.zero_grad()
        out = self.layer(self.encoder(z))
        (out.loss + (out.quantized - z).square().mean()).backward()
        self.optimizer.step()
        self.layer.update(self.optimizer)
        return out


def batch(step):
    """Latents of step ``step``; they become narrower, so that codes die."""
    z = torch.randn(TOKENS, DIM, generator=torch.Generator().manual_seed(step))
    return (z / (1 + step / 4)).cuda()


@pytest.mark.parametrize("manifold", MANIFOLDS, ids=str)
@pytest.mark.parametrize("quantizer", ["ema", "codebook"])
def test_replays_are_the_steps_that_would_have_been(quantizer, manifold):
    chosen = {"quantizer": {"name": quantizer, "usage_decay": 0.5}, "manifold": manifold}
    eager, graphed = Training(**chosen), Training(**chosen)
    static = batch(0)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for step in range(3):
            eager.step(batch(step))
            graphed.step(static.copy_(batch(step)))
    torch.cuda.current_stream().wait_stream(side)
    graphed.optimizer.zero_grad()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = graphed.step(static)
    for step in range(3, 24):  # codes are replaced in steps 10 and 20
        expected = eager.step(batch(step))
        static.copy_(batch(step))
        graph.replay()
        near(captured.quantized, expected.quantized)
        assert torch.equal(captured.indices, expected.indices), step
        assert torch.equal(captured.counts, expected.counts)
        near(captured.loss, expected.loss)
        near(captured.metrics, expected.metrics)
    assert eager.layer.quantizer.replaced > 0
    assert (graphed.layer.step, graphed.layer.quantizer.step) == (24, 24)
    near(graphed.layer.state_dict(), eager.layer.state_dict())
    near(graphed.encoder.state_dict(), eager.encoder.state_dict())
    graphed.step(batch(24))  # the host goes on from where the graph was
    eager.step(batch(24))
    near(graphed.layer.state_dict(), eager.layer.state_dict())


def near(found, expected):
    """Sums by atomic additions have another order each time."""
    torch.testing.assert_close(found, expected, rtol=2e-3, atol=2e-5)


@pytest.mark.parametrize("manifold", ["euclidean", "poincare"])
@pytest.mark.parametrize("quantizer", sorted(default_registry().names("quantizer")))
def test_nothing_waits_for_the_device(quantizer, manifold):
    training = Training(quantizer=quantizer, manifold=manifold)
    batches = [batch(step) for step in range(13)]
    training.step(batches[0])  # which starts the codes
    torch.cuda.set_sync_debug_mode("error")
    try:
        for z in batches[1:]:
            training.step(z)
        training.layer.eval()
        codes = training.layer.decode(training.layer.encode(batches[0]))
        training.layer.lookup(training.layer.encode(batches[0]))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert codes.shape == batches[0].shape


def test_bad_tokens_are_those_of_the_cpu():
    z = torch.randn(64, DIM)
    z[3, 2], z[5, 0], z[9, 7], z[11, 1], z[40] = torch.nan, torch.inf, -torch.inf, -1e13, torch.nan
    layer = VectorQuantizer(dim=DIM, codebook_size=CODES).eval()
    here, there = layer(z), copy.deepcopy(layer).cuda()(z.cuda())
    assert here.bad_tokens == 5
    assert there.bad_tokens == 5
    assert torch.equal(here.indices, there.indices.cpu())


def test_an_index_out_of_range_decodes_to_nan():
    layer = VectorQuantizer(dim=DIM, codebook_size=CODES).cuda()
    vectors = layer.decode(torch.tensor([-2, -1, 0, CODES - 1, CODES], device="cuda"))
    assert vectors.isnan().all(1).tolist() == [True, False, False, False, True]
    assert not vectors[1].any()
    near(vectors[2:4], layer.codebook[[0, CODES - 1]])
