"""The promise: any manifold x quantizer x estimator x regularizers is a valid pipeline.

Tested over the registry. By default every two choices of different kinds meet in at least one
pipeline; ``--full`` trains the whole product.
"""

from itertools import combinations, product

import pytest
import torch
from allpairspy import AllPairs
from torch import nn

from vqcore import VectorQuantizer
from vqcore.plugin.registry import default_registry

STEPS = 12
REGISTRY = default_registry()
REGULARIZERS = REGISTRY.names("regularizer")
CHOICES = [
    REGISTRY.names("manifold"),
    REGISTRY.names("quantizer"),
    REGISTRY.names("estimator"),
    [(), *((name,) for name in REGULARIZERS), tuple(REGULARIZERS)],
]


def pairwise():
    """Combinations in which every two choices of different kinds occur together."""
    return [tuple(combination) for combination in AllPairs(CHOICES)]


def name_of(combination):
    *names, regularizers = combination
    return "-".join([*names, "all" if len(regularizers) > 1 else "".join(regularizers) or "none"])


def pytest_generate_tests(metafunc):
    if "combination" in metafunc.fixturenames:
        full = metafunc.config.getoption("--full")
        chosen = list(product(*CHOICES)) if full else pairwise()
        metafunc.parametrize("combination", chosen, ids=name_of)


def test_every_two_choices_meet():
    chosen = pairwise()
    for first, second in combinations(range(4), 2):
        met = {(combination[first], combination[second]) for combination in chosen}
        assert met == set(product(CHOICES[first], CHOICES[second]))


def in_turn():
    """A combination for every quantizer, with the manifolds and estimators in turn."""
    manifolds, quantizers, estimators, _ = CHOICES
    return [
        (manifolds[n % len(manifolds)], each, estimators[n % len(estimators)], ())
        for n, each in enumerate(quantizers)
    ]


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


def falls(losses):
    return sum(losses[-3:]) / 3 < losses[0]


def check(choices, kind=torch.float32):
    x, model = samples().to(kind), Autoencoder(**choices).to(kind)
    losses = train(model, x)
    if not falls(losses):  # codes that the decoder moves may overshoot first
        losses += train(model, x, 4 * STEPS)
    assert falls(losses), losses
    model.eval()
    layer, z = model.bottleneck, model.latents(x)
    out = layer(z)
    assert torch.equal(layer.encode(z), out.indices)
    assert torch.equal(layer.decode(out.indices), out.quantized)
    twin = Autoencoder(**choices).to(kind)
    twin.load_state_dict(model.state_dict())
    twin.eval()
    again = twin.bottleneck(twin.latents(x))
    assert torch.equal(again.indices, out.indices)
    assert torch.equal(again.quantized, out.quantized)


def test_every_combination_is_a_valid_pipeline(combination):
    manifold, quantizer, estimator, regularizers = combination
    check(
        {
            "manifold": manifold,
            "quantizer": quantizer,
            "estimator": estimator,
            "regularizers": regularizers,
        }
    )


@pytest.mark.parametrize("choices", in_turn(), ids=name_of)
def test_combinations_are_valid_in_float64(choices):
    manifold, quantizer, estimator, _ = choices
    if manifold in ("lorentz", "poincare"):
        manifold = {"name": manifold, "max_radius": 5.0}
    check({"manifold": manifold, "quantizer": quantizer, "estimator": estimator}, torch.float64)


@pytest.mark.parametrize("manifold", REGISTRY.names("manifold"))
@pytest.mark.parametrize(
    "quantizer", NESTED, ids=["grouped-residual-ema", "residual-grouped-codebook"]
)
def test_nested_quantizers_are_valid_pipelines(manifold, quantizer):
    check({"manifold": manifold, "quantizer": quantizer, "regularizers": REGULARIZERS})
