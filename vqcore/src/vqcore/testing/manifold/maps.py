"""What every manifold must hold of its maps, its state and what it is given."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from vqcore.interfaces.manifold import Manifold
from vqcore.testing.manifold.bench import SCALES, TOLERANCE, ManifoldBench
from vqcore.testing.rules import expect, near, rule, same
from vqcore.testing.samples import normal, same_state, state_of, untouched


class MapRules(ManifoldBench):
    """Part of ``ManifoldConformance``."""

    @rule
    def test_points_are_valid(self) -> None:
        """expmap0 of what tangent() gives are points: point_dim(D) finite coordinates that check_points accepts."""
        for dtype, scale in ((t, s) for t in TOLERANCE for s in (0.0, *SCALES)):
            manifold = self.make().to(dtype)
            points = manifold.expmap0(self.tangents(manifold, scale=scale, dtype=dtype))
            shape = (40, manifold.point_dim(self.dim))
            expect(points.shape == shape, f"shape {tuple(points.shape)} instead of {shape}")
            why = manifold.check_points(points)
            expect(why is None, f"latents of scale {scale:g} in {dtype}: {why}")

    @rule
    def test_log_inverts_exp(self) -> None:
        """logmap0 inverts expmap0 on everything that tangent() gives, in float64 and float32."""
        for dtype, scale in ((t, s) for t in TOLERANCE for s in (0.0, *SCALES)):
            manifold = self.make().to(dtype)
            u = self.tangents(manifold, scale=scale, dtype=dtype)
            rtol, atol = TOLERANCE[dtype]
            back, atol = manifold.logmap0(manifold.expmap0(u)), atol * min(1.0, scale or 1.0)
            near(back, u, f"log(exp(u)) of latents of scale {scale:g} in {dtype}", rtol, atol)

    @rule
    def test_zero_is_the_origin(self) -> None:
        """A latent of zero stays zero through tangent(), and its point is the origin, which goes back to zero."""
        manifold = self.make()
        u = manifold.tangent(torch.zeros(3, self.dim))
        same(u.detach(), torch.zeros(3, self.dim), "tangent(0)")
        same(
            manifold.logmap0(manifold.expmap0(u)).detach().abs(),
            torch.zeros(3, self.dim),
            "log(exp(0))",
        )

    @rule
    def test_dtype_is_kept(self) -> None:
        """float64 stays float64 and float32 float32, through every map and distance."""
        for dtype in TOLERANCE:
            manifold = self.make().to(dtype)
            u = self.tangents(manifold, dtype=dtype)
            for name, value in self._everything(manifold, u).items():
                expect(value.dtype == dtype, f"{name} of {dtype} is {value.dtype}")
            if dtype == torch.float64:
                ambient = manifold.to_ambient(manifold.expmap0(u))
                kinds = ambient.dtype, manifold.from_ambient(ambient).dtype
                expect(
                    kinds == (dtype, dtype), f"to_ambient and from_ambient of {dtype} are {kinds}"
                )

    @rule
    def test_leading_axes_broadcast(self) -> None:
        """Every method acts on the last axis alone: (2, 20, D) gives what 40 rows give, and (N, 1) meets (1, M)."""
        manifold = self.make().double()
        u = self.tangents(manifold)
        flat, folded = (self._everything(manifold, each) for each in (u, u.view(2, 20, -1)))
        for name, value in flat.items():
            near(folded[name].reshape(value.shape), value, f"{name} of (2, 20, D)", 1e-9, 1e-12)
        x, y = manifold.expmap0(u[:6]), manifold.expmap0(u[6:10])
        for pairwise, single in (
            ("pairwise_dist", "dist"),
            ("pairwise_squared_dist", "squared_dist"),
        ):
            one_by_one = torch.stack([getattr(manifold, single)(x, each) for each in y], 1)
            near(
                getattr(manifold, single)(x[:, None], y[None]),
                one_by_one,
                f"{single} of (6, 1) and (1, 4)",
                1e-9,
                1e-9,
            )
            near(
                getattr(manifold, pairwise)(x, y),
                one_by_one,
                f"{pairwise} of 6 and 4 points",
                1e-9,
                1e-9,
            )

    @rule
    def test_input_is_untouched(self) -> None:
        """No method writes to what it is given."""
        manifold = self.make()
        z, m = normal(8, self.dim), normal(8, self.dim, seed=1)
        with torch.no_grad():
            u = manifold.tangent(z).clone()
            x, y = manifold.expmap0(u).clone(), manifold.expmap0(manifold.tangent(m)).clone()
            ambient = manifold.to_ambient(x).clone()
            with untouched(z=z, u=u, x=x, y=y, ambient=ambient):
                manifold.tangent(z)
                self._everything(manifold, u)
                for method in (
                    manifold.dist,
                    manifold.squared_dist,
                    manifold.translate,
                    manifold.nearest,
                ):
                    method(x, y)
                for method in (
                    manifold.logmap0,
                    manifold.project,
                    manifold.negate,
                    manifold.to_ambient,
                ):
                    method(x)
                manifold.check_points(x)
                manifold.from_ambient(ambient)
                manifold.codes(manifold.parameter(x))

    # -- state ---------------------------------------------------------------

    @rule
    def test_state_is_complete(self) -> None:
        """A second manifold that loads the state dict strictly measures the same."""
        manifold, twin = _moved(self.make()), self.make()
        twin.load_state_dict(state_of(manifold), strict=True)
        u = self.tangents(manifold, dtype=torch.float32)
        same(_measure(twin, u), _measure(manifold, u), "distances by the second manifold")

    @rule
    def test_copies_are_independent(self) -> None:
        """A deep copy measures the same, and changing the copy's parameters leaves the original as it was."""
        manifold = self.make()
        before, u = state_of(manifold), self.tangents(manifold, dtype=torch.float32)
        twin = copy.deepcopy(manifold)
        same(_measure(twin, u), _measure(manifold, u), "distances by the copy")
        _moved(twin)
        same_state(manifold, before, "the original after its copy was changed")

    def _everything(self, manifold: Manifold, u: Tensor) -> dict[str, Tensor]:
        """What each map and distance gives for tangent vectors (..., D), by name."""
        x = manifold.expmap0(u)
        y = manifold.expmap0(u.flip(-1))
        return {
            "tangent": manifold.tangent(u), "expmap0": x, "logmap0": manifold.logmap0(x),
            "dist": manifold.dist(x, y), "squared_dist": manifold.squared_dist(x, y), "project": manifold.project(x),
            "translate": manifold.translate(x, y), "negate": manifold.negate(x),
        }  # fmt: skip


def _measure(manifold: Manifold, u: Tensor) -> Tensor:
    with torch.no_grad():
        return manifold.dist(manifold.expmap0(u[:20]), manifold.expmap0(u[20:]))


@torch.no_grad()
def _moved(manifold: Manifold) -> Manifold:
    """The manifold with every parameter a little other than it was built."""
    for parameter in manifold.parameters():
        parameter += 0.1
    return manifold
