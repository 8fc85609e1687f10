"""What must hold for the distances of every manifold, and for all gradients."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from vqcore.interfaces.manifold import Manifold
from vqcore.testing.manifold.bench import TOLERANCE, ManifoldBench
from vqcore.testing.rules import expect, finite, near, rule, stated, unless_stated
from vqcore.testing.samples import gradients, normal

#: What a manifold states of which two rules do not hold, and why.
_ANISOTROPIC = "isotropic = False", "rotations about the origin change distances"


class DistanceRules(ManifoldBench):
    """Part of ``ManifoldConformance``."""

    @rule
    def test_distance_is_symmetric(self, manifold: Manifold) -> None:
        """dist and squared_dist do not depend on the order of the points."""
        x, y = self._two_clouds(manifold)
        near(manifold.dist(x, y), manifold.dist(y, x), "dist(y, x)", 1e-9, 1e-12)
        squared, reverse = manifold.squared_dist(x, y), manifold.squared_dist(y, x)
        near(squared, reverse, "squared_dist(y, x)", 1e-9, 1e-12)

    @rule
    def test_distance_is_zero_to_itself(self, manifold: Manifold) -> None:
        """A point's distance from itself is 0, and from any other point above 0."""
        x, y = self._two_clouds(manifold)
        near(manifold.dist(x, x), torch.zeros(20), "dist(x, x)", 0, 1e-6)
        expect((manifold.dist(x, y) > 1e-6).all(), "two different points at distance 0")

    @rule
    def test_triangle_inequality(self, manifold: Manifold) -> None:
        """No detour is shorter: d(x, z) <= d(x, y) + d(y, z)."""
        x, _ = self._two_clouds(manifold)
        d = manifold.dist(x[:, None], x[None]).detach()
        excess = (d[:, None, :] - (d[:, :, None] + d[None, :, :])).max()
        expect(excess <= 1e-9 * (1 + d.max()), f"a detour is shorter by {float(excess):.3g}")

    @rule
    def test_squared_is_the_square(self, manifold: Manifold) -> None:
        """squared_dist is the square of dist."""
        x, y = self._two_clouds(manifold)
        square = manifold.dist(x, y).square()
        near(manifold.squared_dist(x, y), square, "squared_dist and dist^2", 1e-9, 1e-9)

    @rule
    def test_radius_follows_the_tangent_norm(self, manifold: Manifold) -> None:
        """If ``isotropic``, distance from the origin is proportional to the tangent norm."""
        if stated(self, manifold, "isotropic"):
            u = self.tangents(manifold)
            distance = manifold.dist(manifold.expmap0(torch.zeros_like(u[:1])), manifold.expmap0(u))
            ratio = distance / u.norm(dim=1)
            with unless_stated(manifold, *_ANISOTROPIC):
                near(ratio, ratio[:1].expand_as(ratio), "distance over tangent norm", 1e-6, 0)

    @rule
    def test_rotations_keep_distances(self, manifold: Manifold) -> None:
        """If ``isotropic``, rotating all tangent vectors changes no distance."""
        if stated(self, manifold, "isotropic"):
            rotation, _ = torch.linalg.qr(normal(self.dim, self.dim, seed=2, dtype=torch.float64))
            u = self.tangents(manifold)
            x, rotated = manifold.expmap0(u), manifold.expmap0(u @ rotation)
            before = manifold.dist(x[:20], x[20:])
            after = manifold.dist(rotated[:20], rotated[20:])
            with unless_stated(manifold, *_ANISOTROPIC):
                near(after, before, "distances", 1e-6, 1e-9)

    @rule
    def test_finite_at_the_edges(self) -> None:
        """Maps and distances have finite values and gradients at 0, far out, for equal points."""
        for dtype in TOLERANCE:
            manifold = self.make().to(dtype)
            scaled = [s * normal(6, self.dim, seed=3) for s in (1e-20, 1e-12, 1.0, 1e4)]
            z = torch.cat([torch.zeros(2, self.dim), *scaled]).to(dtype).requires_grad_()
            x = manifold.expmap0(manifold.tangent(z))
            found = {"tangent": manifold.tangent(z), "expmap0": x, "logmap0": manifold.logmap0(x)}
            others = {"itself": x.detach(), "the next": x.roll(1, 0), "0": x[:1], "far": x[-1:]}
            for where, other in others.items():
                found[f"dist to {where}"] = manifold.dist(x, other)
                found[f"squared_dist to {where}"] = manifold.squared_dist(x, other)
            for name, value in found.items():
                finite(value, f"{name} in {dtype}")
                (gradient,) = torch.autograd.grad(value.sum(), z, retain_graph=True)
                finite(gradient, f"the gradient of {name} in {dtype}")

    @rule
    def test_gradient_of_squared_distance(self, manifold: Manifold) -> None:
        """The gradient of squared_dist is that of finite differences, also for equal points."""
        u, v = self._to_differentiate(manifold)
        still = manifold.expmap0(u.detach())
        _check_gradient(
            lambda a, b: manifold.squared_dist(manifold.expmap0(a), manifold.expmap0(b)), u, v
        )
        _check_gradient(lambda a: manifold.squared_dist(manifold.expmap0(a), still), u)

    @rule
    def test_gradient_of_distance(self, manifold: Manifold) -> None:
        """The gradient of dist is that of finite differences, and 0 for equal points."""
        u, v = self._to_differentiate(manifold)
        _check_gradient(lambda a, b: manifold.dist(manifold.expmap0(a), manifold.expmap0(b)), u, v)
        at = manifold.expmap0(u)
        (gradient,) = gradients(manifold.dist(at, at.detach()).sum(), [u])
        small = gradient is None or gradient.abs().max() < 1e-6
        expect(small, "a gradient of the distance of equal points")

    @rule
    def test_gradient_of_maps(self, manifold: Manifold) -> None:
        """The gradients of tangent, expmap0 and logmap0 are those of finite differences."""
        u, _ = self._to_differentiate(manifold)
        _check_gradient(manifold.tangent, u)
        _check_gradient(manifold.expmap0, u)
        _check_gradient(lambda a: manifold.logmap0(manifold.expmap0(a) * 1.0), u)

    @rule
    def test_squared_distances_apart(self, manifold: Manifold) -> None:
        """squared_dist_apart is squared_dist, once as if y were constant and once as if x were."""
        x, y = (each.requires_grad_() for each in self._two_clouds(manifold))
        apart = manifold.squared_dist_apart(x, y)
        expect(apart.shape == (2, len(x)), f"shape {tuple(apart.shape)} for {len(x)} pairs")
        alone = manifold.squared_dist(x, y.detach()), manifold.squared_dist(x.detach(), y)
        near(apart, torch.stack(alone), "squared_dist_apart", 1e-9, 1e-12)
        inputs = [x, y, *manifold.parameters()]
        for row, expected in enumerate(alone):
            found = gradients(manifold.squared_dist_apart(x, y)[row].sum(), inputs)
            for ours, theirs in zip(found, gradients(expected.sum(), inputs), strict=True):
                ours, theirs = (torch.zeros(()) if g is None else g for g in (ours, theirs))
                near(ours - theirs, torch.zeros_like(ours - theirs), f"row {row}", 0, 1e-9)

    @rule
    def test_gradient_of_parameters(self, manifold: Manifold) -> None:
        """Parameters of the space have the gradient of finite differences, finite at the edges."""
        u, v = self._to_differentiate(manifold)
        names = [f"manifold.{name}" for name, _ in manifold.named_parameters()]
        values = [p.detach().double() + 0.1 for p in manifold.parameters()]
        if not names:
            return
        wrapped = _Measured(manifold)

        def measured(*learned: Tensor) -> Tensor:
            changed = dict(zip(names, learned, strict=True))
            return torch.func.functional_call(wrapped, changed, (u.detach(), v.detach()))

        _check_gradient(measured, *(value.requires_grad_() for value in values))
        edges = torch.cat([torch.zeros_like(u), 1e4 * u]).detach()
        for found in gradients(wrapped(edges, edges).sum(), list(manifold.parameters())):
            finite(found, "the gradient of a parameter of the manifold, for equal points")

    def _two_clouds(self, manifold: Manifold) -> tuple[Tensor, Tensor]:
        """Points, 20 and 20, of different scales."""
        close = self.tangents(manifold, 20, scale=0.5)
        wide = self.tangents(manifold, 20, scale=3.0, seed=1)
        x = manifold.expmap0(torch.cat([close[:10], wide[:10]])).detach()
        return x, manifold.expmap0(wide.roll(1, 0)).detach()

    def _to_differentiate(self, manifold: Manifold) -> tuple[Tensor, Tensor]:
        """Tangent vectors, 3 and 3, that require a gradient and are not clipped."""
        u, v = (0.5 * self.tangents(manifold, 3, scale=1.0, seed=seed) for seed in (0, 1))
        return u.requires_grad_(), v.requires_grad_()


class _Measured(torch.nn.Module):
    """Squared distances of tangent vectors as a module, whose parameters a call can replace."""

    def __init__(self, manifold: Manifold) -> None:
        super().__init__()
        self.manifold = manifold

    def forward(self, u: Tensor, v: Tensor) -> Tensor:
        space = self.manifold
        return space.squared_dist(space.expmap0(space.tangent(u)), space.expmap0(space.tangent(v)))


def _check_gradient(function: Callable[..., Tensor], *inputs: Tensor) -> None:
    torch.autograd.gradcheck(function, inputs)  # raises, with the first difference
