"""Index backpropagation against the plain N x K formula in float64, and what it leaves alone."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch._dynamo.testing import CompileCounter

from vq_index_backpropagation import estimator, softmax_gradient
from vqcore import Manifold, VectorQuantizer
from vqcore.builtin.manifolds.euclidean import Euclidean
from vqcore.plugin.registry import default_registry

#: Those with an affine search.
MANIFOLDS = [name for name in default_registry().names("manifold") if name != "product"]
CODES, DIM, TEMPERATURE = 16, 5, 0.7
MIXED = {"name": "product", "factors": [{"name": "poincare", "learn_curvature": True}, "euclidean"]}


class Measured(Euclidean):
    """Flat space whose search is its own."""

    def nearest(self, x, codes):
        return torch.cdist(x, codes).argmin(1)


class Compared(Euclidean):
    """Flat space whose search compares distances."""

    search_query, search_keys = Manifold.search_query, Manifold.search_keys


@pytest.fixture(autouse=True)
def _small_tiles(monkeypatch):
    monkeypatch.setattr(softmax_gradient, "TILE_CPU", 7 * CODES)  # 50 tokens in eight tiles
    monkeypatch.setattr(estimator, "PAIRED_CPU", 7 * CODES * DIM)


def build(manifold="euclidean", **choices):
    torch.manual_seed(0)
    estimator = {"name": "index-backpropagation", "temperature": TEMPERATURE}
    layer = VectorQuantizer(
        dim=DIM, codebook_size=CODES, manifold=manifold, estimator=estimator, **choices
    )
    layer(torch.randn(50, DIM))  # which starts the codes
    with torch.no_grad():
        for name, weight in layer.quantizer.named_parameters():
            if name.endswith("weight"):
                weight.add_(0.3 * weight.std() * torch.randn_like(weight))
    return layer.double()


def gradients(layer, z, pulled, mask=None):
    """Those of the decoder's gradient alone, for the latents and for what the layer learns."""
    out = layer(z, mask=mask)
    learned = [p for p in layer.parameters() if p.requires_grad]
    inputs = [z, *learned]
    return out, torch.autograd.grad((out.quantized * pulled).sum(), inputs, allow_unused=True)


def plain(layer, z, indices, mask, pulled):
    """The same by autograd through the whole softmax."""
    space = layer.manifold
    codes, points = layer.quantizer.codes()
    x = space.expmap0(layer.quantizer.tangent(z))
    centre = points.detach().mean(0)
    query, (weight, bias) = space.search_query(x, centre), space.search_keys(points, centre)
    scores = query @ weight.T + bias
    there, offset = space.search_keys(x, centre)
    own = scores.gather(1, indices.clamp(min=0).unsqueeze(1)).squeeze(1)
    s = (own - (query * there).sum(1) - offset)[mask].mean().detach()
    soft = torch.softmax(-scores / (TEMPERATURE * s), 1)
    hard = F.one_hot(indices.clamp(min=0), CODES).to(soft.dtype)
    one_hot = hard + soft - soft.detach()
    chosen = one_hot.detach() @ codes + (one_hot - one_hot.detach()) @ codes.detach()
    total = (chosen * mask.unsqueeze(1) * pulled).sum()
    learned = [p for p in layer.parameters() if p.requires_grad]
    return torch.autograd.grad(total, [z, *learned], allow_unused=True)


@pytest.mark.parametrize(
    "manifold", [*MANIFOLDS, {"name": "poincare", "learn_curvature": True}], ids=str
)
def test_value_and_gradients_are_those_of_the_plain_formula(manifold):
    layer = build(manifold)
    z = torch.randn(50, DIM, dtype=torch.float64, requires_grad=True)
    mask, pulled = torch.rand(50) > 0.2, torch.randn(50, DIM, dtype=torch.float64)
    out, found = gradients(layer, z, pulled, mask)
    assert torch.equal(out.quantized, layer.decode(out.indices))
    for ours, theirs in zip(found, plain(layer, z, out.indices, mask, pulled), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)
    assert found[0][~mask].abs().max() == 0


@pytest.mark.parametrize("space", [Measured(), Compared()], ids=["nearest", "distances"])
def test_a_manifold_without_an_affine_search_gives_the_same(space):
    affine, measured = build(), build(space)
    z = torch.randn(50, DIM, dtype=torch.float64, requires_grad=True)
    pulled = torch.randn(50, DIM, dtype=torch.float64)
    for ours, theirs in zip(
        gradients(measured, z, pulled)[1], gradients(affine, z, pulled)[1], strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)


def test_on_a_product_distances_are_measured_once(monkeypatch):
    layer = build(MIXED)
    space, measured = layer.manifold, []
    z = torch.randn(50, DIM, dtype=torch.float64, requires_grad=True)
    pulled = torch.randn(50, DIM, dtype=torch.float64)
    codes, points = layer.quantizer.codes()
    x = space.expmap0(layer.quantizer.tangent(z))
    own = layer.encode(z)
    s = space.squared_dist(x, points[own]).mean().detach()
    soft = torch.softmax(-space.pairwise_squared_dist(x, points) / (TEMPERATURE * s), 1)
    total = ((codes[own] + soft @ codes.detach()) * pulled).sum()
    learned = [p for p in layer.parameters() if p.requires_grad]
    expected = torch.autograd.grad(total, [z, *learned])

    def pairwise(x, y, original=space.pairwise_squared_dist):
        measured.append(len(x))
        return original(x, y)

    monkeypatch.setattr(space, "pairwise_squared_dist", pairwise)
    _, found = gradients(layer, z, pulled)
    assert sum(measured) == 50
    assert len(measured) > 1
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("space", ["euclidean", Compared()], ids=["keys", "distances"])
def test_the_gradient_is_in_full_precision_where_backward_is_under_autocast(space):
    layer = build(space).float()
    z, pulled = torch.randn(50, DIM, requires_grad=True), torch.randn(50, DIM)
    total = (layer(z).quantized * pulled).sum()
    inputs = [z, *layer.parameters()]
    plain = torch.autograd.grad(total, inputs, retain_graph=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = torch.autograd.grad(total, inputs)
    assert all(map(torch.equal, found, plain))


def test_every_code_learns_from_a_token_and_a_frozen_one_does_not():
    layer = build()
    z = torch.randn(1, DIM, dtype=torch.float64, requires_grad=True)
    weight = gradients(layer, z, torch.randn(1, DIM))[1][1]
    assert (weight.abs().sum(1) > 0).all()
    layer.freeze_codes()
    out = layer(z)
    (out.quantized * torch.randn(1, DIM)).sum().backward()
    assert layer.quantizer.weight.grad is None
    assert z.grad.abs().max() > 0


def test_among_dense_codes_the_gradient_is_straight_through():
    """2 Cov_p(c) / (temperature s) tends to the identity as the temperature rises."""
    torch.manual_seed(0)
    steps = torch.linspace(-2, 2, 64, dtype=torch.float64)
    estimator = {"name": "index-backpropagation", "temperature": 30}
    layer = VectorQuantizer(dim=2, codebook_size=64**2, estimator=estimator).double()
    everywhere = torch.ones(64**2, dtype=torch.bool)
    layer.quantizer.set_points(everywhere, torch.cartesian_prod(steps, steps))
    layer.quantizer.started = True
    z = (torch.rand(40, 2, dtype=torch.float64) - 0.5).requires_grad_()
    pulled = torch.randn(40, 2, dtype=torch.float64)
    found = gradients(layer, z, pulled)[1][0]
    torch.testing.assert_close(found, pulled, rtol=0.02, atol=0.02)


def test_compiled_without_graph_breaks_it_is_the_same():
    torch._dynamo.reset()
    layer = build().float()
    twin, counter = copy.deepcopy(layer), CompileCounter()
    compiled = torch.compile(layer, fullgraph=True, backend=counter)
    for z in torch.randn(3, 50, DIM):
        ours, theirs = z.clone().requires_grad_(), z.clone().requires_grad_()
        for module, latents in ((compiled, ours), (twin, theirs)):
            module(latents).quantized.square().sum().backward()
        torch.testing.assert_close(ours.grad, theirs.grad)
    assert counter.frame_count <= 3, "compiled anew from step to step"
