"""What every manifold must hold of its distances, and of the gradients of everything."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from vqcore.interfaces.manifold import Manifold
from vqcore.testing.manifold.bench import TOLERANCE, ManifoldBench
from vqcore.testing.rules import expect, finite, near, rule
from vqcore.testing.samples import gradients, normal


class DistanceRules(ManifoldBench):
    """Part of ``ManifoldConformance``."""

    @rule
    def test_distance_is_symmetric(self) -> None:
        """dist and squared_dist do not ask which point comes first."""
        manifold, x, y = self._two_clouds()
        for distance in (manifold.dist, manifold.squared_dist):
            near(
                distance(x, y), distance(y, x), f"{distance.__name__}(x, y) and (y, x)", 1e-9, 1e-12
            )

    @rule
    def test_distance_is_zero_to_itself(self) -> None:
        """A point's distance from itself is 0, and from any other point above 0."""
        manifold, x, y = self._two_clouds()
        near(manifold.dist(x, x), torch.zeros(20), "dist(x, x)", 0, 1e-6)
        expect((manifold.dist(x, y) > 1e-6).all(), "two different points at distance 0")

    @rule
    def test_triangle_inequality(self) -> None:
        """No way round by a third point is shorter: d(x, z) <= d(x, y) + d(y, z)."""
        manifold, x, _ = self._two_clouds()
        d = manifold.dist(x[:, None], x[None]).detach()
        excess = d[:, None, :] - (d[:, :, None] + d[None, :, :])
        expect(
            excess.max() <= 1e-9 * (1 + d.max()),
            f"a way round is shorter by {float(excess.max()):.3g}",
        )

    @rule
    def test_squared_is_the_square(self) -> None:
        """squared_dist is the square of dist."""
        manifold, x, y = self._two_clouds()
        near(
            manifold.squared_dist(x, y),
            manifold.dist(x, y).square(),
            "squared_dist and dist^2",
            1e-9,
            1e-9,
        )

    @rule
    def test_distance_grows_with_the_tangent_norm_alone(self) -> None:
        """Where the space is isotropic, a point's distance from the origin is the same multiple of its tangent norm."""
        if self.isotropic:
            manifold = self.make().double()
            u = self.tangents(manifold)
            distance = manifold.dist(manifold.expmap0(torch.zeros_like(u[:1])), manifold.expmap0(u))
            ratio = distance / u.norm(dim=1)
            near(ratio, ratio[:1].expand_as(ratio), "distance over tangent norm", 1e-6, 0)

    @rule
    def test_rotations_keep_distances(self) -> None:
        """Where the space is isotropic, turning all tangent vectors about the origin changes no distance."""
        if self.isotropic:
            manifold = self.make().double()
            turn, _ = torch.linalg.qr(normal(self.dim, self.dim, seed=2, dtype=torch.float64))
            u = self.tangents(manifold)
            here, there = manifold.expmap0(u), manifold.expmap0(u @ turn)
            near(
                manifold.dist(there[:20], there[20:]),
                manifold.dist(here[:20], here[20:]),
                "distances",
                1e-6,
                1e-9,
            )

    # -- gradients -----------------------------------------------------------

    @rule
    def test_finite_at_the_edges(self) -> None:
        """Maps and distances have finite values and gradients at zero, far out, and where points coincide."""
        for dtype in TOLERANCE:
            manifold = self.make().to(dtype)
            rows = [
                torch.zeros(2, self.dim),
                *(s * normal(6, self.dim, seed=3) for s in (1e-20, 1e-12, 1.0, 1e4)),
            ]
            z = torch.cat(rows).to(dtype).requires_grad_()
            x = manifold.expmap0(manifold.tangent(z))
            others = {
                "itself": x.detach(),
                "the next": x.roll(1, 0),
                "the origin": x[:1],
                "far": x[-1:],
            }
            found = {"tangent": manifold.tangent(z), "expmap0": x, "logmap0": manifold.logmap0(x)}
            for where, other in others.items():
                found |= {
                    f"{name} to {where}": getattr(manifold, name)(x, other)
                    for name in ("dist", "squared_dist")
                }
            for name, value in found.items():
                finite(value, f"{name} in {dtype}")
                (gradient,) = torch.autograd.grad(value.sum(), z, retain_graph=True)
                finite(gradient, f"the gradient of {name} in {dtype}")

    @rule
    def test_gradient_of_squared_distance(self) -> None:
        """The gradient of squared_dist is that of finite differences, also where two points coincide."""
        manifold, u, v = self._to_differentiate()
        _check_gradient(
            lambda a, b: manifold.squared_dist(manifold.expmap0(a), manifold.expmap0(b)), u, v
        )
        still = manifold.expmap0(u.detach())
        _check_gradient(lambda a: manifold.squared_dist(manifold.expmap0(a), still), u)

    @rule
    def test_gradient_of_distance(self) -> None:
        """The gradient of dist is that of finite differences, and 0 where two points coincide."""
        manifold, u, v = self._to_differentiate()
        _check_gradient(lambda a, b: manifold.dist(manifold.expmap0(a), manifold.expmap0(b)), u, v)
        at = manifold.expmap0(u)
        (gradient,) = gradients(manifold.dist(at, at.detach()).sum(), [u])
        expect(
            gradient is None or gradient.abs().max() < 1e-6, "a gradient where the points coincide"
        )

    @rule
    def test_gradient_of_maps(self) -> None:
        """The gradients of tangent, expmap0 and logmap0 are those of finite differences."""
        manifold, u, _ = self._to_differentiate()
        _check_gradient(manifold.tangent, u)
        _check_gradient(manifold.expmap0, u)
        _check_gradient(lambda a: manifold.logmap0(manifold.expmap0(a) * 1.0), u)

    @rule
    def test_gradient_of_what_is_learned(self) -> None:
        """Where the space is trained, its parameters get the gradient of finite differences, finite at the edges."""
        manifold, u, v = self._to_differentiate()
        names = [name for name, _ in manifold.named_parameters()]
        values = [p.detach().double() + 0.1 for p in manifold.parameters()]
        if not names:
            return
        wrapped = _Measured(manifold)

        def measured(*learned: Tensor) -> Tensor:
            changed = {
                f"manifold.{name}": value for name, value in zip(names, learned, strict=True)
            }
            return torch.func.functional_call(wrapped, changed, (u.detach(), v.detach()))

        _check_gradient(measured, *(value.requires_grad_() for value in values))
        edges = torch.cat([torch.zeros_like(u), 1e4 * u]).detach()
        for found in gradients(wrapped(edges, edges).sum(), list(manifold.parameters())):
            finite(found, "the gradient of a parameter of the manifold, where points coincide")

    # -- what the checks are made of -----------------------------------------

    def _two_clouds(self) -> tuple[Manifold, Tensor, Tensor]:
        """Float64 points, 20 and 20, of different scales."""
        manifold = self.make().double()
        near_by, wide = (
            self.tangents(manifold, 20, scale=0.5),
            self.tangents(manifold, 20, scale=3.0, seed=1),
        )
        with torch.no_grad():
            x, y = (
                manifold.expmap0(torch.cat([near_by[:10], wide[:10]])),
                manifold.expmap0(wide.roll(1, 0)),
            )
        return manifold, x, y

    def _to_differentiate(self) -> tuple[Manifold, Tensor, Tensor]:
        """Float64 tangent vectors, 3 and 3, that ask for a gradient and are not clipped."""
        manifold = self.make().double()
        u, v = (0.5 * self.tangents(manifold, 3, scale=1.0, seed=seed) for seed in (0, 1))
        return manifold, u.requires_grad_(), v.requires_grad_()


class _Measured(torch.nn.Module):
    """Squared distances of tangent vectors as a module, so that its parameters can be replaced in a call."""

    def __init__(self, manifold: Manifold) -> None:
        super().__init__()
        self.manifold = manifold

    def forward(self, u: Tensor, v: Tensor) -> Tensor:
        space = self.manifold
        return space.squared_dist(space.expmap0(space.tangent(u)), space.expmap0(space.tangent(v)))


def _check_gradient(function: Callable[..., Tensor], *inputs: Tensor) -> None:
    torch.autograd.gradcheck(function, inputs)  # raises, and tells the first difference
