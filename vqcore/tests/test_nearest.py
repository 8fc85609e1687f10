"""The search: the right code, in tiles, whatever precision surrounds it."""

import pytest
import torch

from vqcore import nearest
from vqcore.registry import default_registry

REGISTRY = default_registry()
MANIFOLDS = REGISTRY.names("manifold")


def build(name):
    return REGISTRY.build(REGISTRY.resolve("manifold", name))


def test_search_is_the_argmin_of_the_affine_form():
    query = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    weight, bias = torch.tensor([[-1.0, 0.0], [0.0, -1.0], [-1.0, -1.0]]), torch.tensor([0.0, 0.0, 0.5])
    assert nearest.search(query, weight, bias).tolist() == [0, 1]


def test_a_tie_goes_to_the_lowest_index():
    assert nearest.search(torch.ones(3, 2), torch.zeros(4, 2), torch.zeros(4)).tolist() == [0, 0, 0]


@pytest.mark.parametrize("tile", [1, 7, 64])
def test_tiles_do_not_change_the_answer(monkeypatch, tile):
    torch.manual_seed(0)
    query, weight, bias = torch.randn(101, 5), torch.randn(7, 5), torch.randn(7)
    whole = nearest.search(query, weight, bias)
    monkeypatch.setattr(nearest, "TILE_CPU", tile)
    assert torch.equal(nearest.search(query, weight, bias), whole)


def test_no_tokens_give_no_indices():
    assert nearest.search(torch.empty(0, 3), torch.randn(4, 3), torch.zeros(4)).shape == (0,)


@pytest.mark.parametrize("name", MANIFOLDS)
@pytest.mark.parametrize("dim", [2, 16])
def test_nearest_is_the_code_at_the_smallest_distance_in_float64(name, dim):
    manifold = build(name)
    generator = torch.Generator().manual_seed(dim)
    z, c = (3 * torch.randn(n, dim, generator=generator) for n in (400, 50))
    x, codes = manifold.expmap0(manifold.tangent(z)), manifold.expmap0(manifold.tangent(c))
    distances = manifold.pairwise_dist(x.double(), codes.double())
    found = manifold.nearest(x, codes)
    excess = distances.gather(1, found.unsqueeze(1)).squeeze(1) - distances.amin(1)
    assert found.dtype == torch.int64
    assert (found == distances.argmin(1)).float().mean() > 0.99
    assert excess.max() < 1e-2  # in float32 a near tie may go to the other code; never farther than rounding


def test_euclidean_search_survives_data_far_from_the_origin():
    manifold, generator = build("euclidean"), torch.Generator().manual_seed(0)
    x = 1000 + torch.randn(500, 16, generator=generator)
    codes = 1000 + torch.randn(64, 16, generator=generator)
    assert torch.equal(manifold.nearest(x, codes), torch.cdist(x.double(), codes.double()).argmin(1))


@pytest.mark.parametrize("name", MANIFOLDS)
def test_autocast_does_not_change_the_index(name):
    manifold, generator = build(name), torch.Generator().manual_seed(0)
    x, codes = (manifold.expmap0(manifold.tangent(torch.randn(n, 16, generator=generator))) for n in (300, 64))
    plain = manifold.nearest(x, codes)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(manifold.nearest(x, codes), plain)
