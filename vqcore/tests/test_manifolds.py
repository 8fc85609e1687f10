"""What a manifold has to define, and what follows from that."""

import pytest
import torch

from vqcore import Manifold, VectorQuantizer
from vqcore.builtin.manifolds.euclidean import Euclidean
from vqcore.builtin.manifolds.sphere import Sphere
from vqcore.search import affine, tiled
from vqcore.testing import ManifoldConformance


class Bent(Manifold):
    """R^D in coordinates sinh(u): nothing but what every manifold defines."""

    def expmap0(self, u):
        return u.sinh()

    def logmap0(self, x):
        return x.asinh()

    def squared_dist(self, x, y):
        return (x.asinh() - y.asinh()).square().sum(-1)

    def dist(self, x, y):
        return self.squared_dist(x, y).clamp(min=1e-24).sqrt()

    def tangent(self, z):
        return z.clamp(-8, 8)

    def project(self, x):
        return x

    def check_points(self, x):
        return None if x.isfinite().all() else "some coordinates are not finite"

    def to_ambient(self, x):
        return torch.cat([x.asinh(), torch.zeros_like(x[..., :2])], -1)

    def from_ambient(self, m):
        return m[..., :-2].sinh()


class Flat(Bent):
    """The same by the affine search of flat space."""

    def search_query(self, x, centre):
        return x.asinh() - centre.asinh()

    def search_keys(self, codes, centre):
        side = codes.asinh() - centre.asinh()
        return -2 * side, side.square().sum(-1)


def points(n, seed=0, dim=4):
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed)).sinh()


class TestBent(ManifoldConformance):
    make = Bent
    test_compiling_changes_nothing = test_any_batch_can_be_exported = None  # as the product's


def test_a_manifold_needs_no_search():
    assert not Bent().has_keys
    assert Flat().has_keys
    x, codes = points(300), points(70, 1)
    assert torch.equal(Bent().nearest(x, codes), Flat().nearest(x, codes))


def test_a_layer_does_the_same_with_distances_as_with_keys():
    for quantizer in ("codebook", {"name": "codebook", "init": "kmeans"}):
        indices = []
        for space in (Bent(), Flat()):
            torch.manual_seed(0)
            layer = VectorQuantizer(dim=4, codebook_size=8, manifold=space, quantizer=quantizer)
            for seed in range(4):
                out = layer(points(64, seed))
                layer.update()
            indices.append(out.indices)
        assert torch.equal(*indices)


def test_the_width_of_ambient_coordinates_is_found():
    assert Bent().ambient_dim(4) == 6
    assert Euclidean().ambient_dim(4) == 4


@pytest.mark.parametrize("name", ["search_query", "search_keys"])
def test_one_half_of_an_affine_search_is_refused(name):
    half = type("Half", (Bent,), {name: getattr(Flat, name)})
    missing = "search_keys" if name == "search_query" else "search_query"
    with pytest.raises(TypeError, match=f"^Half has {name} without {missing}: define both"):
        half()


def test_a_search_of_its_own_stands_for_keys():
    class Last(Euclidean):
        def nearest(self, x, codes):
            return torch.full((len(x),), len(codes) - 1)

    assert not Last().has_keys
    assert not Last.keys_of_tables
    layer = VectorQuantizer(dim=4, codebook_size=8, manifold=Last(), quantizer="grouped")
    layer(points(64))
    assert (layer(points(64)).indices == 7).all()


# -- the tiled search -------------------------------------------------------


def test_tiles_and_strips_choose_as_one_tile(monkeypatch):
    x, codes = points(300), points(70, 1)
    whole = Bent().nearest(x, codes)
    sizes = []

    def pairwise(x, y):
        sizes.append(x.shape[0] * y.numel())
        return Manifold.pairwise_squared_dist(space, x, y)

    space = Bent()
    monkeypatch.setattr(space, "pairwise_squared_dist", pairwise)
    monkeypatch.setattr(tiled, "TILE_CPU", 700)
    monkeypatch.setattr(tiled, "STRIP", 1)
    assert torch.equal(space.nearest(x, codes), whole)
    assert max(sizes) <= 700
    assert len(sizes) > 30  # tiles of ten points, each in strips of codes


def test_ties_types_and_no_points():
    space = Bent()
    codes = torch.zeros(100, 4)
    assert space.nearest(points(5), codes).tolist() == [0] * 5
    assert space.nearest(points(0), codes).shape == (0,)
    assert space.nearest(points(5).double(), codes.double()).dtype == torch.int64
    half, wide = points(50).half(), points(50).half().float()
    assert torch.equal(
        space.nearest(half, points(9).half()), space.nearest(wide, points(9).half().float())
    )
    assert space.nearest(torch.full((2, 4), torch.nan), points(70)).tolist() == [0, 0]


@pytest.mark.parametrize("space", [Euclidean(), Sphere(), Sphere(curvature=0.3, max_angle=3.0)])
@pytest.mark.parametrize("spread", [1e-3, 1.0])
def test_distances_from_scores_are_squared_distances(space, spread):
    """Up to a number of each point, to the rounding of the cloud's own size."""
    middle = torch.randn(1, 5, generator=torch.Generator().manual_seed(2))
    x, codes = (space.expmap0(space.tangent(middle + spread * points(n, n, 5))) for n in (40, 30))
    found = space.squared_dist_from(codes)(x).double()
    expected = Manifold.pairwise_squared_dist(space, x.double(), codes.double())
    off = found - expected
    assert (off - off.mean(1, keepdim=True)).abs().max() < 1e-5 * expected.max()


def test_scores_are_products():
    query, weight, bias = torch.randn(3, 4), torch.randn(5, 4), torch.randn(5)
    torch.testing.assert_close(affine.scores(query, weight, bias), query @ weight.T + bias)
