"""Products of manifolds: what they share among their factors, and how they are chosen."""

import re

import pytest
import torch

from vqcore import SettingError, UsageError, VectorQuantizer
from vqcore.builtin.manifolds.euclidean import Euclidean
from vqcore.builtin.manifolds.product import Product
from vqcore.builtin.manifolds.sphere import Sphere
from vqcore.plugin.registry import default_registry

REGISTRY = default_registry()
MIXED = "poincare,sphere,euclidean"


def choose(**options):
    return REGISTRY.resolve("manifold", {"name": "product", **options})


def build(**options):
    return REGISTRY.build(choose(**options))


def latents(seed=0, n=200, dim=8):
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed))


# -- geometry ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("dims", "dim", "shares"),
    [
        (None, 9, [3, 3, 3]),
        (None, 8, [3, 3, 2]),
        (None, 2, [1, 1]),
        ([4, 2, 2], 8, [4, 2, 2]),
        ([4, 2, 2], 4, [2, 1, 1]),
        ([4, 2, 2], 16, [8, 4, 4]),
    ],
)
def test_factors_have_equal_shares_or_those_of_dims(dims, dim, shares):
    space = Product([Euclidean(), Sphere(), Sphere()], dims=dims)
    assert space.shares(dim) == shares
    x = space.expmap0(space.tangent(latents(dim=dim)))
    assert x.shape[1] == space.point_dim(dim) == dim + len(shares) - 1
    assert space.check_points(x) is None
    assert space.nearest(x, x).equal(torch.arange(len(x)))


def test_dimensions_without_shares_are_refused():
    message = r"manifold.dims = \[4, 2\]: expected dimensions that add up to 8, or whole shares of"
    with pytest.raises(SettingError, match=message):
        Product([Euclidean(), Sphere()], dims=[4, 2]).tangent(torch.zeros(5, 8))
    with pytest.raises(SettingError, match=r"points = '2 coordinates': expected coordinates of a"):
        Product([Euclidean(), Sphere()]).logmap0(torch.zeros(5, 2))


@pytest.mark.parametrize("dims", [None, [4, 4], [8, 8]])
def test_a_product_inside_one_has_dims_of_its_own(dims):
    space = Product([Product([Sphere(), Euclidean()], dims=[1, 3]), Euclidean()], dims=dims)
    space.check_dim(8)
    u = space.tangent(latents())
    assert space.logmap0(space.expmap0(u)).allclose(u, atol=1e-4)  # of points of 9 coordinates
    with pytest.raises(SettingError, match=r"^manifold.factors.0.dims = \[1, 3\]: .* up to 2,"):
        space.tangent(latents(dim=4))


def test_distances_and_maps_are_those_of_the_factors():
    flat, sphere = Euclidean(), Sphere(curvature=0.5)
    space = Product([sphere, flat], dims=[5, 3])
    z, other = latents(), latents(1)
    u, v = space.tangent(z), space.tangent(other)
    assert torch.equal(u, torch.cat([sphere.tangent(z[:, :5]), z[:, 5:]], 1))
    x, y = space.expmap0(u), space.expmap0(v)
    assert torch.equal(x[:, :6], sphere.expmap0(u[:, :5]))
    assert torch.equal(x[:, 6:], u[:, 5:])
    expected = sphere.dist(x[:, :6], y[:, :6]) ** 2 + (u - v)[:, 5:].square().sum(1)
    torch.testing.assert_close(space.dist(x, y) ** 2, expected)
    alone = sphere.log_volume(u[:, :5]) + flat.log_volume(u[:, 5:])
    assert torch.equal(space.log_volume(u), alone)
    assert space.disk(u[:, :2]) is None


def test_a_bad_point_is_said_to_be_of_its_factor():
    space = Product([Euclidean(), Sphere()])
    x = space.expmap0(space.tangent(latents()))
    x[3, 4:] *= 2
    assert space.check_points(x).startswith("factor 1, Sphere: a norm deviates from the sphere's")


def test_a_product_of_flat_spaces_is_flat_space_to_the_bit():
    results = []
    for space in (Euclidean(), Product([Euclidean(), Euclidean()])):
        torch.manual_seed(0)
        layer = VectorQuantizer(dim=8, codebook_size=32, manifold=space)
        for seed in range(3):
            out = layer(latents(seed))
            layer.update()
        results.append((out.indices, out.quantized, layer.codebook))
    assert all(map(torch.equal, *results))


@pytest.mark.parametrize("quantizer", ["grouped", "residual"])
def test_groups_and_stages_have_the_shares_of_dims(quantizer):
    layer = VectorQuantizer(
        dim=8, codebook_size=16, quantizer=quantizer,
        manifold={"name": "product", "factors": MIXED, "dims": [4, 2, 2]},
    )  # fmt: skip
    out = layer(latents())
    assert out.loss.isfinite()
    layer.eval()
    assert torch.equal(layer.encode(latents()), layer(latents()).indices)


@pytest.mark.parametrize("factors", ["sphere:8,euclidean:8", "sphere:2,euclidean:2"])
def test_sizes_of_factors_add_up_to_the_latents_dimension(factors):
    space = {"name": "product", "factors": factors}
    with pytest.raises(SettingError, match=r"^dim = 8: expected (16|4), as the options of manifol"):
        VectorQuantizer(dim=8, codebook_size=16, manifold=space)


def test_curvatures_of_factors_are_learned():
    factors = [{"name": "poincare", "learn_curvature": True}, "euclidean"]
    layer = VectorQuantizer(
        dim=8, codebook_size=16, manifold={"name": "product", "factors": factors}
    )
    assert layer.manifold.learns
    layer(latents()).loss.backward()
    assert layer.manifold.get_parameter("factors.0.curve.theta").grad.abs() > 0


def test_products_nest():
    inner = {"name": "product", "factors": "lorentz,euclidean"}
    space = build(factors=[inner, "sphere"], dims=[6, 2])
    assert space.point_dim(8) == 10
    x = space.expmap0(space.tangent(latents()))
    assert space.check_points(x) is None
    torch.testing.assert_close(space.logmap0(x), space.tangent(latents()))


# -- how one is chosen ------------------------------------------------------


@pytest.mark.parametrize(
    "factors",
    [
        MIXED,
        "poincare, sphere, vqcore/euclidean",
        ["poincare", "sphere", "euclidean"],
        [{"name": "poincare"}, "sphere", "euclidean"],
    ],
)
def test_factors_are_names_or_mappings(factors):
    chosen = choose(factors=factors, dims="4,2,2")
    assert chosen.options.dims == (4, 2, 2)
    assert [each.spec.name for each in chosen.children.values()] == MIXED.split(",")
    again = REGISTRY.resolve("manifold", chosen.dump())
    assert again.dump() == chosen.dump()
    assert [each["name"] for each in chosen.dump()["factors"]] == [
        "vqcore-hyperbolic/poincare", "vqcore/sphere", "vqcore/euclidean"
    ]  # fmt: skip
    kinds = [type(factor).__name__ for factor in REGISTRY.build(chosen).factors]
    assert kinds == ["Poincare", "Sphere", "Euclidean"]


@pytest.mark.parametrize(
    "options",
    [
        {"factors": "sphere:6,euclidean:2"},
        {"factors": [{"name": "sphere:6"}, "vqcore/euclidean:2"]},
        {"factors": {"0": "sphere:6", "1": "euclidean:2"}},
        {"factors": "sphere:6,euclidean:2", "dims": [6, 2]},
        {"factors": "sphere: 6, euclidean :2", "dims": [6.0, 2.0]},
        {"factors": ["sphere", "euclidean"], "dims": "6,2"},
    ],
)
def test_sizes_given_with_names_are_recorded_as_dims(options):
    dumped = choose(**options).dump()
    assert [each["name"] for each in dumped["factors"]] == ["vqcore/sphere", "vqcore/euclidean"]
    assert dumped["dims"] == [6, 2]


def test_a_place_extends_the_default():
    space = build(factors={"1": {"curvature": 0.25}})
    assert [type(factor) for factor in space.factors] == [Euclidean, Sphere]
    assert space.factors[1].sqrt_k == 0.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"factors": "sphere,spher"}, "manifold.factors.1 = 'spher': no plugin provides it; did"),
        ({"factors": ["sphere", {"curvature": 1}]}, "manifold.factors.1.name = None: expected the"),
        ({"factors": {"1": {"curve": 2}}}, "manifold.factors.1.curve: unknown setting; did you"),
        ({"factors": {"2": "sphere"}}, "manifold.factors.2: no such place: expected 0 to 1, or a"),
        ({"factors": 5}, "manifold.factors = 5: expected a list of components, as in a,b"),
        ({"factors": []}, "manifold.factors = []: expected a list of components, as in a,b"),
        ({"factors": [5]}, "manifold.factors.0 = 5: expected the name of a component, or a"),
        (
            {"factors": "sphere"},
            "manifold.factors = 'sphere': expected several components, as in a,b; for one alone "
            "write '[sphere]'",
        ),
        (
            {"curvature": 2},
            "manifold.curvature: unknown setting; an option of lorentz, poincare, s",
        ),
        ({"dims": 4}, "manifold: expected one of dims for each factor, found 1 dims for 2 factors"),
        ({"dims": "4,x"}, "manifold.dims.1 = 'x': expected a valid integer"),
        ({"factors": "sphere:4,sphere"}, "manifold.factors.1 = 'sphere': no size: expected one of"),
        ({"factors": "sphere:4,sphere:"}, "manifold.factors.1 = 'sphere': no size: expected one"),
        ({"factors": "sphere:,sphere:"}, "manifold.factors.0 = 'sphere': no size: expected one of"),
        ({"factors": [Sphere(), "sphere:4"]}, "manifold.factors.0 = 'Sphere': no size: expected"),
        (
            {"factors": "sphere:4,sphere:-1"},
            "manifold.factors.1 = 'sphere:-1': expected a whole nu",
        ),
        (
            {"factors": "sphere:4:3,sphere"},
            "manifold.factors.0 = 'sphere:4:3': expected a whole nu",
        ),
        (
            {"factors": "sphere:0,sphere:4"},
            "manifold.factors.0 = 'sphere:0': expected a whole numb",
        ),
        ({"factors": "sphere:4,sphere:4", "dims": 8}, "manifold.dims = 8: expected 4,4, as manif"),
    ],
)
def test_bad_factors_are_refused_by_their_key_path(options, message):
    with pytest.raises(UsageError if "no plugin" not in message else Exception) as error:
        choose(**options)
    assert str(error.value).startswith(message)


def test_what_a_factor_refuses_has_its_key_path():
    with pytest.raises(SettingError, match=r"^manifold.factors.1.max_radius = 7.0: expected at"):
        build(factors=["sphere", {"name": "poincare", "max_radius": 7.0}])
    space = {"name": "product", "factors": [{"name": "lorentz", "codes": "riemannian"}]}
    expected = "manifold.factors.0 = 'Lorentz': expected codes stored as tangent vectors; set its"
    with pytest.raises(SettingError, match=re.escape(expected)):
        VectorQuantizer(dim=8, codebook_size=16, manifold=space)


def test_objects_are_factors_beside_names():
    mine = Sphere(curvature=0.5)
    inner = {"name": "product", "factors": [mine, "euclidean"]}
    space = {"name": "product", "factors": [inner, {"name": "poincare", "curvature": 2.0}]}
    layer = VectorQuantizer(dim=8, codebook_size=16, manifold={**space, "dims": [6, 2]})
    assert layer.manifold.factors[0].factors[0] is mine
    assert layer(latents()).loss.isfinite()
    message = "manifold.factors.1 = 'Linear': expected a name, or a vqcore.Manifold"
    space["factors"][1] = torch.nn.Linear(2, 2)
    with pytest.raises(SettingError, match=message):
        VectorQuantizer(dim=8, codebook_size=16, manifold=space)


@pytest.mark.parametrize(
    ("factors", "options", "message"),
    [
        (["sphere"] * 9, {}, "manifold.factors = 'sphere,sphere,.*: expected at most 8, one for"),
        (
            [{"name": "product", "factors": ["sphere"] * 5}, "sphere"],
            {},
            "manifold.factors.0.factors = .*: expected at most 4",
        ),
        (MIXED, {"quantizer": {"name": "grouped", "groups": 4}}, "manifold.factors = .* at most 2"),
    ],
)
def test_more_factors_than_dimensions_are_refused(factors, options, message):
    space = {"name": "product", "factors": factors}
    with pytest.raises(SettingError, match=message):
        VectorQuantizer(**{"dim": 8, "codebook_size": 16, "manifold": space, **options})


def test_coordinates_of_an_implicit_code_may_be_fewer_than_factors():
    for quantizer, size in (("lfq", 2**17), ("fsq", 8)):
        layer = VectorQuantizer(
            dim=17, codebook_size=size, quantizer=quantizer, regularizers=["homology"],
            manifold={"name": "product", "factors": MIXED},
        )  # fmt: skip
        assert layer(latents(dim=17)).loss.isfinite()


def test_what_python_refuses():
    with pytest.raises(SettingError, match=r"^factors = \[\]: expected one manifold at least"):
        Product([])
    with pytest.raises(SettingError, match=r"^dims = \[3\]: expected dimensions of each of the 2"):
        Product([Euclidean(), Sphere()], dims=[3])
