"""The quantizer of BEST-RQ: nearest by angle in a projection, all of it frozen."""

import pytest
import torch
import torch.nn.functional as F

from vqcore.errors import SettingError
from vqcore.plugin.registry import default_registry

REGISTRY = default_registry()
MANIFOLDS = REGISTRY.names("manifold")


def build(manifold="euclidean", dim=8, codebook_size=32, seed=0, **options):
    torch.manual_seed(seed)
    space = REGISTRY.build(REGISTRY.resolve("manifold", manifold))
    chosen = REGISTRY.resolve("quantizer", {"name": "random-projection", **options})
    return REGISTRY.build(chosen, dim=dim, codebook_size=codebook_size, manifold=space)


@pytest.mark.parametrize("manifold", MANIFOLDS)
def test_the_index_is_that_of_the_largest_cosine_in_the_projection(manifold):
    layer = build(manifold, code_dim=4)
    z = layer.tangent(torch.randn(100, 8))
    cosine = F.cosine_similarity((z @ layer.projection.T).unsqueeze(1), layer.directions, dim=2)
    assert torch.equal(layer(z).indices, cosine.argmax(1))
    assert torch.equal(layer.encode(3 * z), cosine.argmax(1))


def test_rows_are_orthonormal_and_codes_of_unit_length():
    layer = build(code_dim=4)
    torch.testing.assert_close(layer.projection @ layer.projection.T, torch.eye(4))
    torch.testing.assert_close(layer.directions.norm(dim=1), torch.ones(32))
    codes = layer.decode(torch.arange(32))
    torch.testing.assert_close(
        codes @ layer.projection.T, layer.directions
    )  # the transpose leads back
    torch.testing.assert_close(codes.norm(dim=1), torch.ones(32))
    assert torch.equal(layer.encode(codes), torch.arange(32))


def test_no_direction_is_favoured():
    drawn = torch.stack(
        [build(dim=3, code_dim=2, codebook_size=2, seed=seed).projection for seed in range(400)]
    )
    assert drawn.mean(0).abs().max() < 0.1
    torch.testing.assert_close(drawn.square().mean(0), torch.full((2, 3), 1 / 3), rtol=0, atol=0.06)


def test_torchs_seed_decides_the_draw_and_nothing_changes_it():
    layer = build()
    assert torch.equal(build().projection, layer.projection)
    assert torch.equal(build().directions, layer.directions)
    assert not torch.equal(build(seed=1).directions, layer.directions)
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    for _ in range(12):
        layer(torch.randn(20, 8))
        layer.update()
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())
    assert not list(layer.parameters())


def test_commitment_is_the_only_loss():
    layer = build(commitment_weight=0.5)
    z = torch.randn(20, 8, requires_grad=True)
    out = layer(z)
    assert set(out.losses) == {"commitment"}
    torch.testing.assert_close(out.losses["commitment"], 0.5 * (z - out.z_q).square().mean())
    out.losses["commitment"].backward()
    torch.testing.assert_close(z.grad, (z - out.z_q).detach() / z.numel())


def test_the_projection_is_no_wider_than_the_latents():
    assert build(dim=8).code_dim == 8
    assert build(dim=40).code_dim == 16
    with pytest.raises(SettingError, match=r"quantizer.code_dim = 9: expected at most dim = 8"):
        build(dim=8, code_dim=9)
