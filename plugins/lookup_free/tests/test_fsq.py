"""FSQ: the bound by hand, its derivative, levels, stages."""

import math
from itertools import pairwise

import pytest
import torch

from vqcore import VectorQuantizer
from vqcore.errors import UsageError
from vqcore.plugin.registry import default_registry

REGISTRY = default_registry()


def build(levels=None, codebook_size=64, manifold="euclidean"):
    space = REGISTRY.build(REGISTRY.resolve("manifold", manifold))
    chosen = REGISTRY.resolve("quantizer", {"name": "fsq", "levels": levels})
    return REGISTRY.build(chosen, dim=8, codebook_size=codebook_size, manifold=space)


def test_one_vector_by_hand():
    layer = build([3, 5, 4])
    assert (layer.dim, layer.codebook_size) == (3, 60)
    z = torch.tensor([[0.25, 0.6, -7.0]])
    out = layer(layer.tangent(z))
    # bounds 0.25, 1.07 and -2.0 round to 0, 1 and -2; digits 1, 3 and 0 of 3, 5 and 4 levels:
    # 1 + 3 * 3 + 15 * 0 = 10
    assert out.z_q.tolist() == [[0.0, 0.5, -1.0]]
    assert out.indices.tolist() == [10]
    assert layer.decode(torch.tensor([10])).tolist() == [[0.0, 0.5, -1.0]]
    assert out.losses == {}


def test_the_bound_is_the_papers():
    z = torch.linspace(-6, 6, 101, dtype=torch.float64).unsqueeze(1).repeat(1, 4)
    layer = build([3, 5, 4, 8])
    for i, (level, column) in enumerate(zip([3, 5, 4, 8], layer.tangent(z).T, strict=True)):
        half, offset = (level - 1) * 1.001 / 2, 0.0 if level % 2 else 0.5
        bound = torch.tanh(z[:, i] + math.atanh(offset / half)) * half - offset
        torch.testing.assert_close(column * (level // 2), bound)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_zero_is_a_code_to_the_bit(dtype):
    layer = build([2, 3, 4, 5, 7, 8, 16])
    zero = torch.zeros(1, 7, dtype=dtype)
    assert torch.equal(layer.tangent(zero), zero)
    assert torch.equal(layer(layer.tangent(zero)).z_q, zero)


def test_the_bound_reaches_every_code_and_no_further():
    layer = build([2, 3, 4, 5, 8])
    far = layer.tangent(torch.tensor([[-50.0] * 5, [50.0] * 5]))
    assert layer.digits(far).tolist() == [[0] * 5, [1, 2, 3, 4, 7]]
    assert layer.digits(4 * far).tolist() == [[0] * 5, [1, 2, 3, 4, 7]]  # beyond the bound too
    every = layer.decode(torch.arange(layer.codebook_size))
    assert len(every.unique(dim=0)) == layer.codebook_size
    assert torch.equal(layer.encode(every), torch.arange(layer.codebook_size))
    assert every.amin(0).tolist() == [-1.0] * 5
    assert every.amax(0).tolist() == [0.0, 1.0, 0.5, 1.0, 0.75]


def test_the_derivative_is_that_of_the_bound():
    layer = build([3, 4, 5, 8])
    z = torch.randn(
        20, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    ).requires_grad_()
    assert torch.autograd.gradcheck(layer.tangent, z)


def test_the_layer_passes_the_derivative_of_the_bound_to_the_encoder():
    made = VectorQuantizer(dim=2, codebook_size=35, quantizer={"name": "fsq", "levels": [7, 5]})
    z = torch.randn(10, 2, requires_grad=True)
    made(z).quantized.sum().backward()
    slope = 1.001 * (1 - torch.tanh(z.detach()).square())  # h (1 - tanh^2)/(L // 2)
    torch.testing.assert_close(z.grad, slope)
    assert not list(made.parameters())


def test_the_layer_projects_to_a_dimension_for_each_level():
    made = VectorQuantizer(dim=8, codebook_size=1000, quantizer="fsq")
    assert made.quantizer.levels.tolist() == [8, 5, 5, 5]
    out = made(torch.randn(5, 8))
    assert out.quantized.shape == (5, 8)
    assert made.lookup(out.indices).shape == (5, 4)


@pytest.mark.parametrize("levels", [[5], [5, 5, 5], [3, 4, 6, 7]])
@pytest.mark.parametrize("residuals", ["tangent", "manifold"])
def test_more_stages_reduce_the_error(levels, residuals):
    z = torch.randn(500, len(levels), generator=torch.Generator().manual_seed(0))
    errors = []
    for stages in range(1, 5):
        inner = {"name": "fsq", "levels": levels}
        choice = {"name": "residual", "stages": stages, "residuals": residuals, "inner": inner}
        made = VectorQuantizer(dim=len(levels), codebook_size=64, quantizer=choice).eval()
        errors.append(made(z).metrics["quantization_error"].item())
    assert all(after < 0.5 * before for before, after in pairwise(errors)), errors


def test_the_residual_of_an_odd_number_of_levels_fills_the_next_grid():
    layer = build([5, 5])
    u = torch.rand(1000, 2) * 2 - 1
    residual = (u - layer(u).z_q) / layer.residual_scale()
    assert 0.98 < residual.abs().max() < 1 + 1e-5


def test_a_fine_grid_stays_a_grid_in_half_precision():
    layer = build([1000]).bfloat16()
    assert torch.equal(layer.encode(layer.decode(torch.arange(1000))), torch.arange(1000))


@pytest.mark.parametrize("levels", [[], [1, 5], [2**17]])
def test_invalid_levels_are_refused(levels):
    with pytest.raises(UsageError, match=r"quantizer\.levels"):
        build(levels)
