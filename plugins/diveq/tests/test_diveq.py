"""DiVeQ by hand. What holds for every estimator: vqcore/tests/test_conformance.py."""

import pytest
import torch

from vqcore import VectorQuantizer
from vqcore.plugin.registry import default_registry

REGISTRY = default_registry()


def build(**options):
    space = REGISTRY.build(REGISTRY.resolve("manifold", "euclidean"))
    chosen = REGISTRY.resolve("estimator", {"name": "diveq", **options})
    return REGISTRY.build(chosen, manifold=space)


def test_without_noise_the_value_is_the_code_and_the_gradient_is_split_along_the_error():
    z = torch.tensor([[1.0, 1.0, 0.0]], requires_grad=True)
    z_q = torch.tensor([[4.0, 1.0, 4.0]], requires_grad=True)
    out = build(noise=0)(z, z_q)
    torch.testing.assert_close(out, z_q)
    (out * torch.tensor([[5.0, 7.0, 0.0]])).sum().backward()
    # the error is (3, 0, 4), of length 5: (3, 0, 4) 15/25 goes to the code
    torch.testing.assert_close(z_q.grad, torch.tensor([[1.8, 0.0, 2.4]]))
    torch.testing.assert_close(z.grad, torch.tensor([[3.2, 7.0, -2.4]]))


@pytest.mark.parametrize("noise", [0.001, 1.0])
def test_noise_turns_the_error_and_keeps_its_length(noise):
    torch.manual_seed(0)
    z, z_q = torch.randn(2, 500, 4)
    out = build(noise=noise)(z, z_q)
    torch.testing.assert_close((out - z).norm(dim=1), (z_q - z).norm(dim=1))
    v = z_q - z + noise * torch.randn(500, 4)
    expected = torch.cosine_similarity(v, z_q - z).mean()
    found = torch.cosine_similarity(out - z, z_q - z).mean()
    assert found == pytest.approx(expected.item(), abs=0.02 * noise**0.5)


def test_codes_learn_from_the_decoder_alone():
    torch.manual_seed(0)
    quantizer = {
        "name": "codebook", "commitment_weight": 0, "codebook_weight": 0, "dead_code_threshold": 0,
        "init": "normal",
    }  # fmt: skip
    layer = VectorQuantizer(dim=2, codebook_size=8, quantizer=quantizer, estimator="diveq")
    optimizer = torch.optim.Adam(layer.parameters(), lr=1e-3)
    z = torch.randn(512, 2)
    errors = []
    for _ in range(150):
        out = layer(z)
        errors.append(torch.nn.functional.mse_loss(out.quantized, z))
        optimizer.zero_grad()
        (errors[-1] + out.loss).backward()
        optimizer.step()
        layer.update(optimizer)
    assert errors[-1] < 0.7 * errors[0]
