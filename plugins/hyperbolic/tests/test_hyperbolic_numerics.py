"""Both models: limits, gradients at singular points, the search, compilation."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F

from vq_hyperbolic.lorentz import Lorentz
from vq_hyperbolic.poincare import Poincare
from vqcore import VectorQuantizer
from vqcore.errors import SettingError

both_models = pytest.mark.parametrize("model", [Poincare, Lorentz])
both_types = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(
        *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    ).to(dtype)


def exact_spread(u, w):
    """sinh^2(d/2) at c = 1 in float64, from tangent vectors (N, D), (K, D) without points."""
    a, b = 2 * u.double().norm(dim=-1), 2 * w.double().norm(dim=-1)
    cosine = F.normalize(u.double(), dim=-1) @ F.normalize(w.double(), dim=-1).T
    return ((a[:, None] - b) / 2).sinh().square() + a.sinh()[:, None] * b.sinh() * (1 - cosine) / 2


@both_models
@pytest.mark.parametrize("length", [1e-150, 1e-20, 1e-6, 0.1, 5.0])
def test_the_distance_keeps_its_digits_from_close_to_far(model, length):
    """From the origin to u it is 2|u|; the gradient of its square is 8u."""
    manifold = model()
    u = (length * F.normalize(normal(1, 3), dim=-1)).requires_grad_()
    value = manifold.squared_dist(manifold.expmap0(u), manifold.expmap0(torch.zeros_like(u)))
    (slope,) = torch.autograd.grad(value, u)
    rounding = 1e-14 * math.cosh(length) ** 2
    assert value.item() == pytest.approx(4 * length**2, rel=rounding, abs=0)
    torch.testing.assert_close(slope, 8 * u.detach(), rtol=rounding, atol=0)


@both_types
def test_the_volume_has_a_gradient_far_out(dtype):
    """d/da (D - 1) log(sinh(2a)/(2a)) is 2 (D - 1) (coth(2a) - 1/(2a)) along u, of length a."""
    for model in (Poincare(), Lorentz()):
        for a in (1e-3, 0.04, 0.06, 3.0, 1e3, 1e8, 1e12):
            u = torch.tensor([a, 0.0, 0.0], dtype=dtype, requires_grad=True)
            (slope,) = torch.autograd.grad(model.log_volume(u), u)
            exact = 4 * (1 / math.tanh(2 * a) - 1 / (2 * a)) if a > 0.05 else 4 * (2 * a / 3)
            assert slope.tolist() == pytest.approx([exact, 0, 0], rel=2e-3)


@both_models
@pytest.mark.parametrize("c", [0.5, 2.0])
def test_gradcheck(model, c):
    manifold = model(curvature=c)
    u, w = (0.7 * normal(4, 3)).requires_grad_(), (0.7 * normal(4, 3, seed=9)).requires_grad_()
    points = manifold.expmap0(w).detach().requires_grad_()
    close = (w + 1e-4 * normal(4, 3, seed=5)).detach().requires_grad_()
    assert torch.autograd.gradcheck(manifold.expmap0, u)
    assert torch.autograd.gradcheck(manifold.logmap0, points)
    for distance in (manifold.squared_dist, manifold.dist):
        assert torch.autograd.gradcheck(
            lambda a, b, f=distance: f(manifold.expmap0(a), manifold.expmap0(b)), (u, w)
        )
    assert torch.autograd.gradcheck(
        lambda a, b: manifold.squared_dist(manifold.expmap0(a), manifold.expmap0(b)), (close, w)
    )
    assert torch.autograd.gradcheck(
        lambda m: manifold.from_ambient(manifold.to_ambient(m).sum(0)), points
    )
    assert torch.autograd.gradcheck(manifold.tangent, (10 * u.detach()).requires_grad_())


@both_models
@both_types
def test_maps_invert_each_other_up_to_the_reach(model, dtype):
    reach = {torch.float32: 3.1, torch.float64: 8 * 0.5**0.5}[dtype]
    manifold = model(curvature=0.5, max_radius=reach / 0.5**0.5)
    u = manifold.tangent(
        100 * normal(50, 8, dtype=dtype) * torch.logspace(-9, 0, 50, dtype=dtype).unsqueeze(1)
    )
    assert float(u.norm(dim=-1).max()) * 0.5**0.5 == pytest.approx(reach, rel=1e-6)
    x = manifold.expmap0(u)
    assert x.dtype == dtype
    assert x.shape == (50, manifold.point_dim(8))
    assert manifold.check_points(x) is None
    rounding = torch.finfo(dtype).eps * math.cosh(reach) ** 2
    torch.testing.assert_close(manifold.logmap0(x), u, rtol=rounding, atol=0)


@both_models
def test_tangent_scales_then_clips(model):
    manifold = model(gain=3.0, max_radius=1.5)
    short, long = torch.tensor([0.1, 0.2, 0.0, 0.2]), torch.tensor([30.0, 0.0, 40.0, 0.0])
    torch.testing.assert_close(manifold.tangent(short), 1.5 * short)
    torch.testing.assert_close(manifold.tangent(long), torch.tensor([0.9, 0.0, 1.2, 0.0]))


@both_models
def test_a_radius_beyond_every_number_type_is_refused(model):
    model(curvature=4.0, max_radius=3.0)
    with pytest.raises(
        SettingError, match=r"max_radius = 3.1: expected at most 3.05 in float64 at curvature 4; "
    ):
        model(curvature=4.0, max_radius=3.1)


@both_models
@pytest.mark.parametrize("quantizer", ["codebook", "ema", "simvq", "residual", "grouped"])
@pytest.mark.parametrize(("curvature", "radius", "limit"), [(1.0, 3.2, "3.1"), (4.0, 2.0, "1.55")])
def test_a_radius_acts_in_float64_and_is_refused_in_float32(
    model, quantizer, curvature, radius, limit
):
    torch.manual_seed(0)
    layer = VectorQuantizer(
        dim=4,
        codebook_size=16,
        manifold=model(curvature=curvature, max_radius=radius),
        quantizer=quantizer,
    )
    z = 100 * normal(64, 4)
    for latents in (z.float(), z):  # the codes are float32 in both
        with pytest.raises(
            SettingError, match=f"at most {limit} in float32 at curvature"
        ) as caught:
            copy.deepcopy(layer)(latents)
        assert f"max_radius = {radius}" in str(caught.value)
    layer.double()(z)
    layer.update()
    longest = layer.inspect(z).assignments[0].z_q.norm(dim=1).max()
    assert float(longest) == pytest.approx(radius, rel=0.1)
    assert float(longest) * curvature**0.5 > 3.1 or quantizer == "simvq"  # whose codes are random
    with pytest.warns(UserWarning, match="until then it acts as that limit"):
        layer.float().eval()(z.float())


@both_models
@pytest.mark.parametrize("curvature", [0.3, 1.0, 3.0, 7.0])
def test_the_limit_that_a_message_names_is_accepted(model, curvature):
    for dtype, far in ((torch.float32, 6.1), (torch.float64, 100.0)):
        with pytest.raises(SettingError) as caught:
            model(curvature=curvature, max_radius=far / curvature**0.5).tangent(
                normal(2, 3, dtype=dtype)
            )
        named = float(str(caught.value).split("at most ")[1].split()[0])
        model(curvature=curvature, max_radius=named).tangent(normal(2, 3, dtype=dtype))


def test_float32_pays_for_no_search_in_float64_within_its_reach():
    assert not Poincare(max_radius=2.5).double_search
    assert Poincare(max_radius=3.0).double_search  # where its own search is unreliable


@both_models
@both_types
def test_gradients_where_points_coincide(model, dtype):
    """0 at the origin, in the middle and at the clip: no NaN of a root, no inf of an arcosh."""
    manifold = model()
    for radius in (0.0, 1e-20, 0.5, 2.0, 50.0):
        u = (radius * F.normalize(normal(20, 4, dtype=dtype), dim=-1)).requires_grad_()
        x = manifold.expmap0(u)
        for distance in (manifold.squared_dist, manifold.dist):
            value = distance(x, x.detach())
            (gradient,) = torch.autograd.grad(value.sum(), u, retain_graph=True)
            assert torch.equal(value, torch.zeros_like(value))
            assert torch.equal(gradient, torch.zeros_like(gradient))


@both_models
@both_types
def test_maps_at_the_origin_are_linear(model, dtype):
    manifold = model(curvature=0.5)
    u = torch.zeros(1, 3, dtype=dtype, requires_grad=True)
    jacobian = torch.autograd.functional.jacobian(
        lambda v: manifold.logmap0(manifold.expmap0(v)), u
    )
    torch.testing.assert_close(jacobian.squeeze(), torch.eye(3, dtype=dtype))
    (pull,) = torch.autograd.grad(
        manifold.squared_dist(manifold.expmap0(u), manifold.expmap0(u.detach() + 0.1)).sum(), u
    )
    torch.testing.assert_close(pull, torch.full_like(pull, -0.8))  # of 4 |u - w|^2


@both_models
@both_types
def test_the_clip_keeps_the_gradient_that_turns_a_latent(model, dtype):
    manifold = model()
    z = (100 * normal(20, 4, dtype=dtype)).requires_grad_()
    target = manifold.expmap0(manifold.tangent(normal(20, 4, seed=1, dtype=dtype)))
    manifold.squared_dist(manifold.expmap0(manifold.tangent(z)), target).sum().backward()
    assert torch.isfinite(z.grad).all()
    assert (z.grad.norm(dim=-1) > 1e-3).all()
    radial = (z.grad * z.detach()).sum(-1) / (z.grad * z.detach()).norm(dim=-1)
    assert radial.abs().max() < 1e-3


@both_models
@both_types
def test_far_out_and_opposite_stays_finite(model, dtype):
    manifold = model()
    u = (1e4 * F.normalize(normal(20, 4, dtype=dtype), dim=-1)).requires_grad_()
    x = manifold.expmap0(u)
    assert manifold.check_points(x) is None
    reach = {torch.float32: 3.1, torch.float64: 6.1}[dtype]
    for share in (1.0, 0.97):
        y = manifold.expmap0(-share * reach * F.normalize(u.detach(), dim=-1))
        value = manifold.squared_dist(x, y)
        (gradient,) = torch.autograd.grad(value.sum(), u, retain_graph=True)
        assert torch.isfinite(gradient).all()
        torch.testing.assert_close(
            value.sqrt(), torch.full_like(value, 2 * (1 + share) * reach), rtol=3e-3, atol=0
        )


@both_models
@both_types
def test_float32_and_float64_distances_agree_with_the_polar_formula(model, dtype):
    manifold = model()
    u, w = (manifold.tangent(3 * normal(60, 8, seed=seed)) for seed in (0, 1))
    got = manifold.pairwise_dist(manifold.expmap0(u.to(dtype)), manifold.expmap0(w.to(dtype)))
    exact = 2 * torch.asinh(exact_spread(u, w).sqrt())
    torch.testing.assert_close(got.double(), exact, rtol=200 * torch.finfo(dtype).eps, atol=0)


@both_models
@both_types
def test_centroid_of_any_scale_and_of_nothing(model, dtype):
    manifold = model(curvature=0.5)
    x = manifold.expmap0(normal(30, 4, dtype=dtype) / 2)
    total = manifold.to_ambient(x).sum(0)
    for scale in (1e-12, 1e12):
        torch.testing.assert_close(
            manifold.from_ambient(scale * total), manifold.from_ambient(total)
        )
    centroid = manifold.from_ambient(
        manifold.to_ambient(x)
    )  # sums are in float64 whatever the points are
    assert centroid.dtype == torch.float64
    torch.testing.assert_close(centroid.to(dtype), x, rtol=1e-4, atol=1e-5)
    origin = manifold.expmap0(torch.zeros(1, 4, dtype=dtype))
    nothing = torch.zeros(1, 5, dtype=dtype, requires_grad=True)
    empty = manifold.from_ambient(nothing)
    torch.testing.assert_close(empty.detach(), origin)
    empty.sum().backward()
    assert torch.isfinite(nothing.grad).all()
    light = torch.tensor(
        [[1.0, 1.0, 0, 0, 0]], dtype=dtype
    )  # rounding may leave a sum without Lorentz norm
    assert manifold.check_points(manifold.from_ambient(light)) is None


def clustered(dim, radius, count=512, tokens=1000):
    """Codes in tight clusters at the clip, latents next to them: the hardest case for search."""
    clusters = F.normalize(normal(16, dim), dim=-1)
    direction = F.normalize(
        clusters.repeat_interleave(count // 16, 0) + 0.05 * normal(count, dim, seed=1), dim=-1
    )
    length = 0.9 + 0.1 * torch.rand(
        count, 1, generator=torch.Generator().manual_seed(2), dtype=torch.float64
    )
    codes = radius * length * direction
    near = codes[torch.arange(tokens) % count] + 0.05 * normal(tokens, dim, seed=3) / dim**0.5
    return codes.float(), (radius * F.normalize(near, dim=-1)).float()


@both_models
@pytest.mark.parametrize("dim", [2, 16, 64])
@pytest.mark.parametrize("radius", [2.0, 3.05])
def test_nearest_is_the_float64_brute_force_at_the_clip(model, dim, radius):
    manifold = model(max_radius=radius)
    w, u = clustered(dim, radius)
    x, codes = manifold.expmap0(u), manifold.expmap0(w)
    got = manifold.nearest(x, codes)
    spread = exact_spread(manifold.logmap0(x.double()), manifold.logmap0(codes.double()))
    best, chosen = spread.min(1).values, spread.gather(1, got[:, None]).squeeze(1)
    wrong, regret = (
        (chosen > best).float().mean(),
        (2 * torch.asinh(chosen.sqrt()) - 2 * torch.asinh(best.sqrt())).max(),
    )
    assert float(wrong) <= (0.005 if dim == 2 and radius == 2.0 else 0)
    assert float(regret) <= 5e-3


@both_models
@pytest.mark.parametrize("c", [0.25, 4.0])
def test_nearest_agrees_with_the_distance_at_any_curvature(model, c):
    manifold = model(curvature=c, max_radius=1.0)
    x, codes = (manifold.expmap0(manifold.tangent(2 * normal(n, 5, seed=n))) for n in (300, 40))
    assert torch.equal(manifold.nearest(x, codes), manifold.pairwise_dist(x, codes).argmin(1))


@both_models
@pytest.mark.parametrize("codes", ["tangent", "riemannian"])
def test_hot_formulas_compile_into_one_graph(model, codes):
    manifold = model(codes=codes)
    parameter = manifold.parameter(
        manifold.random(7, 4, generator=torch.Generator().manual_seed(0))
    )

    def step(z, parameter):
        u, points = manifold.tangent(z), manifold.codes(parameter)[1]
        x = manifold.expmap0(u)
        centroid = manifold.from_ambient(manifold.to_ambient(x).sum(0))
        distances = manifold.squared_dist(x, points[:1]) + manifold.dist(x, centroid)
        return (
            manifold.logmap0(x).sum() + distances.sum(),
            manifold.search_keys(points, points[0])[0],
            manifold.search_query(x, points[0]),
        )

    z = normal(6, 4, dtype=torch.float32)
    compiled = torch.compile(step, fullgraph=True, backend="eager")
    for ours, expected in zip(compiled(z, parameter), step(z, parameter), strict=True):
        torch.testing.assert_close(ours, expected)


@both_models
@pytest.mark.parametrize("radius", [0.01, 1.0, 3.0])
def test_distances_from_scores_are_squared_distances(model, radius):
    """Absolutely to the rounding of the cloud, and in float64 far out."""
    manifold = model(curvature=0.7, max_radius=3.0)
    generator = torch.Generator().manual_seed(0)
    u = radius * torch.nn.functional.normalize(torch.randn(60, 5, generator=generator), dim=1)
    x = manifold.expmap0(u)
    found = manifold.squared_dist_from(x[:20])(x[20:])
    wide = manifold.squared_dist(x[20:, None].double(), x[None, :20].double())
    torch.testing.assert_close(found.double(), wide, rtol=1e-5, atol=1e-5 * radius**2)
