"""The built-in estimators by hand and by finite differences. For all: test_conformance.py."""

import math

import pytest
import torch

from vqcore import VectorQuantizer
from vqcore.interfaces.quantizer import CodeAssignment, Quantized
from vqcore.plugin.registry import default_registry

REGISTRY = default_registry()
MANIFOLD = REGISTRY.build(REGISTRY.resolve("manifold", "euclidean"))
DIM = 4
ISOTROPIC = [name for name in REGISTRY.names("manifold") if name != "product"]
on_every_manifold = pytest.mark.parametrize("manifold", REGISTRY.names("manifold"))


def build(name, manifold=MANIFOLD, **options):
    return REGISTRY.build(
        REGISTRY.resolve("estimator", {"name": name, **options}), manifold=manifold
    )


def space(name, **options):
    return REGISTRY.build(REGISTRY.resolve("manifold", {"name": name, **options}))


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def jacobian(function, z):
    return torch.autograd.functional.jacobian(function, z)


def differences(function, z, step=1e-6):
    """The Jacobian of a function of z (D,) by central differences."""
    nudges = step * torch.eye(z.shape[0], dtype=z.dtype)
    return torch.stack([(function(z + n) - function(z - n)) / (2 * step) for n in nudges], 1)


def test_straight_through_copies_the_gradient():
    z, g = torch.randn(5, 3, requires_grad=True), torch.randn(5, 3)
    (build("straight-through")(z, torch.randn(5, 3)) * g).sum().backward()
    assert torch.equal(z.grad, g)


# -- transport --------------------------------------------------------------


def pairs(where):
    """Latents and codes (6, D): anywhere, equal, at the origin, opposite, and both at the clip."""
    z, z_q = where.tangent(2 * normal(6, DIM)), where.tangent(2 * normal(6, DIM, seed=1))
    far = where.tangent(100 * normal(2, DIM, seed=2))
    return torch.cat([z[:2], z[2:3], 0 * z[3:4], far]), torch.cat(
        [z_q[:2], z[2:3], z_q[3:4], -far[:1], far[:1]]
    )


def metric(where, u, step=1e-4):
    """The metric (D, D) at exp0(u) in the coordinates u, from distances of points nearby."""
    eye = torch.eye(DIM, dtype=u.dtype)

    def square(v):
        return (
            where.squared_dist(where.expmap0(u - step / 2 * v), where.expmap0(u + step / 2 * v))
            / step**2
        )

    return torch.stack(
        [torch.stack([(square(a + b) - square(a - b)) / 4 for a in eye]) for b in eye]
    )


@on_every_manifold
def test_transport_is_the_derivative_of_a_fixed_motion(manifold):
    where = space(manifold)
    estimator = build("transport", where)
    for z, z_q in zip(*pairs(where), strict=True):
        e, q = where.expmap0(z), where.expmap0(z_q)
        w = where.translate(where.negate(e), q)

        def moved(u, e=e, w=w):
            inner = where.translate(w, where.translate(where.negate(e), where.expmap0(u)))
            return where.logmap0(where.translate(e, inner))

        torch.testing.assert_close(moved(z), z_q, rtol=1e-6, atol=1e-6)
        mine = jacobian(lambda u, z_q=z_q: estimator(u, z_q), z)
        torch.testing.assert_close(mine, differences(moved, z), rtol=1e-5, atol=1e-5)


@on_every_manifold
def test_transport_keeps_the_metric(manifold):
    where = space(manifold)
    estimator = build("transport", where)
    for z, z_q in zip(*pairs(where), strict=True):
        j = jacobian(lambda u, z_q=z_q: estimator(u, z_q), z)
        torch.testing.assert_close(
            j.T @ metric(where, z_q) @ j, metric(where, z), rtol=1e-4, atol=1e-4
        )


@pytest.mark.skipif(
    "poincare" not in REGISTRY.names("manifold"), reason="vqcore-hyperbolic is not installed"
)
def test_transport_keeps_lengths_by_the_balls_conformal_factor():
    ball = space("poincare", curvature=0.7)
    estimator = build("transport", ball)
    for z, z_q in zip(*pairs(ball), strict=True):

        def metric_at(u):  # the differential of exp0, scaled by 2/(1 - c|x|^2)
            return 2 / (1 - 0.7 * ball.expmap0(u).square().sum()) * jacobian(ball.expmap0, u)

        there, here = (
            metric_at(z_q) @ jacobian(lambda u, z_q=z_q: estimator(u, z_q), z),
            metric_at(z),
        )
        torch.testing.assert_close(there.T @ there, here.T @ here, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("manifold", ISOTROPIC)
def test_transport_along_a_ray_by_hand(manifold):
    """Along the ray the gradient is copied; across it, it grows as circles shrink."""
    where, a, b = space(manifold), 1.2, 0.4
    circle = {"euclidean": lambda r: r, "sphere": math.sin}.get(
        manifold, lambda r: math.sinh(2 * r)
    )
    z, z_q = torch.tensor([a, 0.0]).double(), torch.tensor([b, 0.0]).double()
    across = (circle(a) / a) / (circle(b) / b)
    expected = torch.tensor([[1.0, 0.0], [0.0, across]]).double()
    torch.testing.assert_close(jacobian(lambda u: build("transport", where)(u, z_q), z), expected)


def test_transport_on_flat_space_is_straight_through():
    z, g = torch.randn(5, 3, requires_grad=True), torch.randn(5, 3)
    (build("transport")(z, torch.randn(5, 3)) * g).sum().backward()
    torch.testing.assert_close(z.grad, g)


@on_every_manifold
def test_transport_in_float32_is_as_good_as_in_float64_also_at_the_clip(manifold):
    where = space(manifold)
    estimator = build("transport", where)
    for z, z_q in zip(*pairs(where), strict=True):
        rough, fine = (jacobian(lambda u, t=t, z_q=z_q: estimator(u, z_q.to(t)), z.to(t)) for t in
                       (torch.float32, torch.float64))  # fmt: skip
        torch.testing.assert_close(rough.double(), fine, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("manifold", [name for name in ISOTROPIC if name != "euclidean"])
def test_transport_gives_a_learned_curvature_no_gradient(manifold):
    where = space(manifold, learn_curvature=True)
    z, z_q = (
        where.tangent(normal(50, DIM)).detach(),
        where.tangent(normal(50, DIM, seed=1)).detach(),
    )
    out = build("transport", where)(z.requires_grad_(), z_q) * normal(50, DIM, seed=2)
    out.sum().backward()
    assert all(p.grad.abs().max() < 1e-5 for p in where.parameters())


# -- noise substitution -----------------------------------------------------


def test_noise_has_the_length_of_the_error_by_hand():
    z, z_q = torch.tensor([[1.0, 1.0], [0.5, 0.0]]), torch.tensor([[4.0, 5.0], [0.5, 0.0]])
    torch.manual_seed(0)
    noise = torch.randn_like(z)
    torch.manual_seed(0)
    out = build("noise-substitution")(z, z_q)
    torch.testing.assert_close(out[0], z[0] + 5 * noise[0] / noise[0].norm())  # |(3, 4)| = 5
    assert torch.equal(out[1], z[1])


def test_noise_substitution_passes_a_finite_difference_check_and_moves_codes_too():
    z, z_q = normal(6, 3).requires_grad_(), normal(6, 3, seed=1).requires_grad_()
    estimator = build("noise-substitution")

    def substituted(z, z_q):
        torch.manual_seed(0)
        return estimator(z, z_q)

    assert torch.autograd.gradcheck(substituted, (z, z_q))
    torch.manual_seed(0)
    v = torch.nn.functional.normalize(torch.randn_like(z), dim=1)
    u = torch.nn.functional.normalize((z - z_q).detach(), dim=1)
    j = jacobian(lambda e: substituted(torch.cat([e, z[1:]]), z_q)[0], z[:1].detach())[:, 0]
    torch.testing.assert_close(j, torch.eye(3).double() + torch.outer(v[0], u[0]))


def test_noise_substitution_trains_a_codebook_that_no_other_term_moves():
    torch.manual_seed(0)
    quantizer = {"name": "codebook", "codebook_weight": 0.0}
    layer = VectorQuantizer(
        dim=DIM, codebook_size=4, quantizer=quantizer, estimator="noise-substitution"
    )
    layer(torch.randn(64, DIM)).quantized.square().sum().backward()
    assert layer.quantizer.weight.grad.abs().max() > 0


# -- Gumbel-softmax ---------------------------------------------------------


def one_assignment(z, codes, quantized=None):
    """What a quantizer of the table ``codes`` (K, D) gives for z (N, D)."""
    indices = torch.cdist(z.detach(), codes.detach()).argmin(1)
    mask = torch.ones_like(indices, dtype=torch.bool)
    assignment = CodeAssignment(
        z, codes[indices], indices, mask, codes, torch.bincount(indices, minlength=len(codes))
    )
    return Quantized(codes[indices], indices, {}, (assignment,))


class Table:
    """The part of a quantizer that an estimator needs."""

    @staticmethod
    def join(parts, shape):
        return next(parts).view(*shape, -1)


def soft(z, codes, **options):
    return build("gumbel", **options).estimate(z, one_assignment(z, codes), Table)


def test_gumbel_without_noise_by_hand():
    """One latent at 1 on a line, codes at 0 and 3: s = 1, the weights are softmax(-1, -4)."""
    z, codes = torch.tensor([[1.0]]), torch.tensor([[0.0], [3.0]])
    for temperature in (1.0, 0.5):
        share = 1 / (1 + math.exp(3 / temperature))
        out = soft(z, codes, noise=False, temperature=temperature)
        assert out.item() == pytest.approx(3 * share, rel=1e-5)


def test_the_gumbel_jacobian_is_the_covariance_of_the_choice():
    z, codes = normal(1, 3), normal(5, 3, seed=1)
    scale, temperature = torch.cdist(z, codes).amin().square(), 0.7
    w = torch.softmax(-torch.cdist(z, codes).square() / scale / temperature, 1)[0]
    centred = codes - w @ codes
    expected = 2 / (temperature * scale) * (centred.T * w) @ centred
    j = jacobian(lambda u: soft(u, codes, noise=False, temperature=temperature)[0], z)[:, 0]
    torch.testing.assert_close(j, expected)

    def held(u):  # the scale held constant
        return (
            torch.softmax(-torch.cdist(u.unsqueeze(0), codes).square() / scale / temperature, 1)[0]
            @ codes
        )

    torch.testing.assert_close(j, differences(held, z[0]), rtol=1e-6, atol=1e-8)


def test_gumbel_passes_codes_a_gradient_that_finite_differences_confirm():
    z, codes = normal(1, 3), normal(4, 3, seed=1)
    scale = torch.cdist(z, codes).amin().square()

    def held(c):
        return (torch.softmax(-torch.cdist(z, c.view(4, 3)).square() / scale, 1) @ c.view(4, 3))[0]

    j = jacobian(lambda c: soft(z, c, noise=False)[0], codes).reshape(3, 12)
    torch.testing.assert_close(j, differences(held, codes.flatten()), rtol=1e-6, atol=1e-8)


def test_gumbel_noise_draws_codes_with_the_odds_of_the_softmax():
    """At a temperature near 0 the noise picks code k with probability softmax_k (Gumbel-max)."""
    torch.manual_seed(0)
    z, codes = torch.ones(20000, 1), torch.tensor([[0.0], [2.5], [3.0]])
    out = soft(z, codes, temperature=1e-4)
    odds = torch.softmax(-torch.tensor([1.0, 2.25, 4.0]), 0)
    found = torch.stack([(out - c).abs().lt(1e-3).float().mean() for c in codes])
    torch.testing.assert_close(found, odds, rtol=0, atol=0.015)  # four standard deviations


@on_every_manifold
@pytest.mark.parametrize(
    "quantizer",
    [*REGISTRY.names("quantizer"),
     {"name": "grouped", "inner": {"name": "residual", "stages": 2, "inner": "ema"}},
     {"name": "residual", "stages": 2, "residuals": "manifold",
      "inner": {"name": "grouped", "shared": True}}],
    ids=str,
)  # fmt: skip
def test_gumbel_at_a_low_temperature_gives_the_codes_of_any_quantizer(manifold, quantizer):
    torch.manual_seed(0)
    gumbel = {"name": "gumbel", "noise": False, "temperature": 1e-5}
    layer = VectorQuantizer(
        dim=DIM, codebook_size=8, manifold=manifold, quantizer=quantizer, estimator=gumbel
    )
    z = torch.randn(3, 20, DIM)
    layer(z)
    mask = torch.rand(3, 20) > 0.2
    soft, hard = layer(z, mask=mask).quantized, layer.eval()(z, mask=mask).quantized
    off = (soft - hard).abs().amax(-1) > 1e-3  # but for tokens halfway between two codes
    assert off.float().mean() < 0.05
    assert soft[~mask].abs().max() == 0


def test_stages_share_the_gumbel_gradient():
    """Two stages, each without choice but one: the sum of their Jacobians, halved."""
    torch.manual_seed(0)
    gumbel = {"name": "gumbel", "noise": False}
    layer = VectorQuantizer(
        dim=3, codebook_size=4, quantizer={"name": "residual", "stages": 2}, estimator=gumbel
    ).double()  # fmt: skip
    z = normal(1, 3)
    layer(z)
    assignments = layer.inspect(z).assignments
    each = [
        jacobian(
            lambda u, assignment=assignment: soft(u, assignment.codebook.detach(), noise=False)[0],
            assignment.z,
        )[:, 0]
        for assignment in assignments
    ]
    layer.train()
    whole = jacobian(lambda u: layer(u).quantized[0], z)[:, 0]
    torch.testing.assert_close(whole, sum(each) / 2)


def test_gumbel_copies_the_gradient_where_the_codebook_is_implicit():
    z, g = normal(6, 3).requires_grad_(), normal(6, 3, seed=1)
    z_q = z.detach().round()
    assignment = CodeAssignment(
        z, z_q, torch.zeros(6).long(), torch.ones(6).bool(), None, torch.tensor([6])
    )
    out = build("gumbel").estimate(z, Quantized(z_q, assignment.indices, {}, (assignment,)), Table)
    assert torch.equal(out, z_q)
    (out * g).sum().backward()
    assert torch.equal(z.grad, g)


def test_gumbel_is_finite_on_a_collapsed_codebook():
    for codes in (torch.ones(3, 2), torch.ones(1, 2), 1e6 * torch.ones(3, 2)):
        z = torch.ones(5, 2, requires_grad=True)
        out = soft(z, codes.clone().requires_grad_())
        out.sum().backward()
        assert torch.isfinite(out).all()
        assert torch.isfinite(z.grad).all()


def test_transport_under_groups_moves_each_in_its_own_factor():
    torch.manual_seed(0)
    grouped = {"name": "grouped", "groups": 2, "inner": {"name": "codebook", "init": "normal"}}
    layer = VectorQuantizer(
        dim=4, codebook_size=8, manifold="poincare", quantizer=grouped, estimator="transport"
    ).eval()
    z, g = torch.randn(6, 4, requires_grad=True), torch.randn(6, 4)
    (layer(z).quantized * g).sum().backward()
    whole = z.grad.clone()
    for half in (slice(0, 2), slice(2, 4)):
        inner = layer.quantizer.inner[half.start // 2]
        single = VectorQuantizer(
            dim=2, codebook_size=8, manifold=layer.manifold, quantizer=inner, estimator="transport"
        )
        part = z[:, half].detach().requires_grad_()
        (single.eval()(part).quantized * g[:, half]).sum().backward()
        torch.testing.assert_close(whole[:, half], part.grad)
