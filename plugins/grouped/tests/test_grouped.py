"""Groups and stages: layouts, what is shared, losses, gradients."""

import pytest
import torch

from vqcore import VectorQuantizer
from vqcore.errors import SettingError
from vqcore.registry import default_registry

REGISTRY = default_registry()


def build(name, dim=8, codebook_size=16, **options):
    torch.manual_seed(0)
    space = REGISTRY.build(REGISTRY.resolve("manifold", "euclidean"))
    chosen = REGISTRY.resolve("quantizer", {"name": name, **options})
    layer = REGISTRY.build(chosen, dim=dim, codebook_size=codebook_size, manifold=space)
    layer(torch.randn(64, dim))
    return layer


def test_each_group_is_quantized_by_itself():
    layer = build("grouped", groups=4)
    z = torch.randn(10, 8)
    out = layer(z)
    assert out.indices.shape == (10, 4)
    assert layer.codebook.shape == (4, 16, 2)
    assert len(out.uses) == 4
    for g in range(4):
        part = z[:, 2 * g : 2 * g + 2]
        nearest = torch.cdist(part, layer.codebook[g]).argmin(1)
        assert torch.equal(out.indices[:, g], nearest)
        torch.testing.assert_close(out.z_q[:, 2 * g : 2 * g + 2], layer.codebook[g][nearest])


def test_a_shared_codebook_serves_all_groups():
    layer = build("grouped", groups=4, shared=True)
    z = torch.randn(10, 8)
    out = layer(z)
    assert layer.codebook.shape == (16, 2)
    assert len(out.uses) == 1
    nearest = torch.cdist(z.reshape(40, 2), layer.codebook).argmin(1)
    assert torch.equal(out.indices, nearest.view(10, 4))
    mask = torch.arange(10) < 6
    assert (layer(z, mask).indices == -1).all(1).tolist() == (~mask).tolist()


@pytest.mark.parametrize("shared", [False, True])
def test_losses_are_the_mean_squared_error_over_all_dimensions(shared):
    layer = build("grouped", groups=2, shared=shared, inner={"name": "codebook", "commitment_weight": 1.0})
    z = torch.randn(10, 8)
    out = layer(z)
    torch.testing.assert_close(out.losses["commitment"], (z - out.z_q).square().mean())


def test_groups_must_divide_the_dimension():
    with pytest.raises(
        SettingError, match=r"quantizer.groups = 3: expected a divisor of dim = 8; choose one of 1, 2, 4, 8"
    ):
        build("grouped", groups=3)


def test_stages_quantize_what_is_left():
    layer = build("residual", stages=3)
    z = torch.randn(10, 8)
    out = layer(z)
    rest = z
    for q in range(3):
        nearest = torch.cdist(rest, layer.codebook[q]).argmin(1)
        assert torch.equal(out.indices[:, q], nearest)
        rest = rest - layer.codebook[q][nearest]
    torch.testing.assert_close(out.z_q, z - rest)
    assert layer.codebook.shape == (3, 16, 8)


def test_stages_of_a_trained_residual_quantizer_each_lower_the_error():
    torch.manual_seed(0)
    layer = build("residual", stages=4, inner="ema", codebook_size=32)
    z = torch.randn(2000, 8)
    for _ in range(30):
        layer(z)
        layer.update()
    rest, errors = z, []
    for use in layer.eval()(z).uses:
        rest = rest - use.z_q
        errors.append(rest.square().mean().item())
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.5 * errors[0]


@pytest.mark.parametrize("stages", [1, 2, 5])
def test_the_straight_through_gradient_is_one_whatever_the_number_of_stages(stages):
    layer = VectorQuantizer(dim=4, codebook_size=8, quantizer={"name": "residual", "stages": stages})
    z = torch.randn(20, 4, requires_grad=True)
    layer(z).quantized.sum().backward()
    assert torch.equal(z.grad, torch.ones_like(z))


@pytest.mark.parametrize("name", ["grouped", "residual"])
def test_inner_quantizers_draw_codes_of_their_own(name):
    books = build(name, inner={"name": "codebook", "init": "normal"}).codebook
    assert not torch.equal(books[0], books[1])


def test_update_reaches_every_inner_quantizer():
    layer = build("grouped", inner={"name": "residual", "inner": "ema"})
    before = layer.inner[1].inner[2].codebook.clone()
    layer(torch.randn(200, 8))
    layer.update()
    assert not torch.equal(layer.inner[1].inner[2].codebook, before)


def test_nested_indices_have_the_group_before_the_stage():
    layer = build("grouped", groups=2, inner={"name": "residual", "stages": 3, "inner": "ema"}).eval()
    z = torch.randn(5, 7, 8)
    out = layer(z)
    assert layer.index_shape == (2, 3)
    assert out.indices.shape == (5, 7, 2, 3)
    assert torch.equal(layer.decode(out.indices), out.z_q)
