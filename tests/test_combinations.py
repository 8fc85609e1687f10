"""The promise: any manifold x quantizer x estimator x regularizers is a valid pipeline. Run over the registry."""

from itertools import combinations, product

import pytest
import torch
from torch import nn

from vqcore import VectorQuantizer
from vqcore.plugin.registry import default_registry

STEPS = 20
REGISTRY = default_registry()
REGULARIZERS = REGISTRY.names("regularizer")
SETS = [(), *((name,) for name in REGULARIZERS), tuple(REGULARIZERS)]
MANIFOLDS = REGISTRY.names("manifold")
OTHERS = [REGISTRY.names("quantizer"), REGISTRY.names("estimator"), SETS]
#: Every quantizer x estimator x set of regularizers, on manifolds that take turns: every choice meets every other, and
#: every two of them every third, at a quarter of what the whole product costs.
COMBINATIONS = [
    (
        MANIFOLDS[sum(places) % len(MANIFOLDS)],
        *(names[place] for names, place in zip(OTHERS, places, strict=True)),
    )
    for places in product(*(range(len(names)) for names in OTHERS))
]


def test_every_three_kinds_of_choices_meet():
    for kept in combinations(range(4), 3):
        kinds = [[MANIFOLDS, *OTHERS][place] for place in kept]
        met = {tuple(combination[place] for place in kept) for combination in COMBINATIONS}
        assert met == set(product(*kinds))


NESTED = [
    {"name": "grouped", "inner": {"name": "residual", "stages": 2, "inner": "ema"}},
    {"name": "residual", "stages": 2, "inner": {"name": "grouped", "shared": True}},
]


class Autoencoder(nn.Module):
    """The smallest model around a bottleneck: 16 values, 4 tokens of 8 dimensions."""

    def __init__(self, **choices):
        super().__init__()
        torch.manual_seed(0)
        self.encoder, self.decoder = nn.Linear(16, 32), nn.Linear(32, 16)
        self.bottleneck = VectorQuantizer(dim=8, codebook_size=16, **choices)

    def latents(self, x):
        return self.encoder(x).unflatten(1, (4, 8))

    def decode(self, z):
        return self.decoder(z.flatten(1))

    def forward(self, x):
        out = self.bottleneck(self.latents(x), inputs=x, decode=self.decode)
        return out, out.loss + nn.functional.mse_loss(out.reconstruction, x)


def samples():
    """128 samples of 16 values that lie near a plane, so that a few codes describe them."""
    generator = torch.Generator().manual_seed(1)
    basis = torch.randn(2, 16, generator=generator)
    noise = 0.05 * torch.randn(128, 16, generator=generator)
    return torch.randn(128, 2, generator=generator) @ basis + noise


def train(model, x, steps=STEPS):
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(steps):
        out, loss = model(x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        model.bottleneck.update(optimizer)
        losses.append(loss.item())
        assert all(torch.isfinite(term) for term in out.losses.values()), out.losses
    assert all(torch.isfinite(p).all() for p in model.parameters())
    return losses


def check(choices):
    x, model = samples(), Autoencoder(**choices)
    losses = train(model, x)
    assert sum(losses[-3:]) / 3 < losses[0], losses
    model.eval()
    layer, z = model.bottleneck, model.latents(x)
    out = layer(z)
    assert torch.equal(layer.encode(z), out.indices)
    assert torch.equal(layer.decode(out.indices), out.quantized)
    twin = Autoencoder(**choices)
    twin.load_state_dict(model.state_dict())
    twin.eval()
    again = twin.bottleneck(twin.latents(x))
    assert torch.equal(again.indices, out.indices)
    assert torch.equal(again.quantized, out.quantized)


@pytest.mark.parametrize(
    ("manifold", "quantizer", "estimator", "regularizers"),
    COMBINATIONS,
    ids=[
        "-".join((m, q, e, "all" if len(r) > 1 else "".join(r) or "none"))
        for m, q, e, r in COMBINATIONS
    ],
)
def test_every_combination_is_a_valid_pipeline(manifold, quantizer, estimator, regularizers):
    choices = {
        "manifold": manifold,
        "quantizer": quantizer,
        "estimator": estimator,
        "regularizers": regularizers,
    }
    check(choices)


@pytest.mark.parametrize("manifold", REGISTRY.names("manifold"))
@pytest.mark.parametrize(
    "quantizer", NESTED, ids=["grouped-residual-ema", "residual-grouped-codebook"]
)
def test_nested_quantizers_are_valid_pipelines(manifold, quantizer):
    check({"manifold": manifold, "quantizer": quantizer, "regularizers": REGULARIZERS})
