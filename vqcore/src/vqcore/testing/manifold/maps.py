"""What must hold for the maps and the state of every manifold."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from vqcore.interfaces.manifold import Manifold
from vqcore.testing.manifold.bench import SCALES, TOLERANCE, ManifoldBench
from vqcore.testing.rules import expect, near, rule, same, valid
from vqcore.testing.samples import normal, same_state, state_of, untouched


class MapRules(ManifoldBench):
    """Part of ``ManifoldConformance``."""

    @rule
    def test_points_are_valid(self) -> None:
        """expmap0 of tangent() gives point_dim(D) coordinates that check_points accepts."""
        for dtype, scale in ((t, s) for t in TOLERANCE for s in (0.0, *SCALES)):
            manifold = self.make().to(dtype)
            points = self.points(manifold, scale=scale, dtype=dtype)
            shape = (40, manifold.point_dim(self.dim))
            expect(points.shape == shape, f"shape {tuple(points.shape)} instead of {shape}")
            valid(manifold, points, f"latents of scale {scale:g} in {dtype}")

    @rule
    def test_log_inverts_exp(self) -> None:
        """logmap0 inverts expmap0 on everything that tangent() gives, in float64 and float32."""
        for dtype, scale in ((t, s) for t in TOLERANCE for s in (0.0, *SCALES)):
            manifold = self.make().to(dtype)
            u = self.tangents(manifold, scale=scale, dtype=dtype)
            rtol, atol = TOLERANCE[dtype]
            back = manifold.logmap0(manifold.expmap0(u))
            what = f"log(exp(u)) of latents of scale {scale:g} in {dtype}"
            near(back, u, what, rtol, atol * min(1.0, scale or 1.0))

    @rule
    def test_zero_is_the_origin(self) -> None:
        """tangent(0) is 0; its point is the origin, which logmap0 takes back to 0."""
        manifold, zero = self.make(), torch.zeros(3, self.dim)
        u = manifold.tangent(zero)
        same(u, zero, "tangent(0)")
        same(manifold.logmap0(manifold.expmap0(u)).abs(), zero, "log(exp(0))")

    @rule
    def test_dtype_is_kept(self) -> None:
        """float64 stays float64 and float32 float32, through every map and distance."""
        for dtype in TOLERANCE:
            manifold = self.make().to(dtype)
            u = self.tangents(manifold, dtype=dtype)
            found = self._everything(manifold, u)
            if dtype == torch.float64:
                found["to_ambient"] = manifold.to_ambient(manifold.expmap0(u))
                found["from_ambient"] = manifold.from_ambient(found["to_ambient"])
            for name, value in found.items():
                expect(value.dtype == dtype, f"{name} of {dtype} is {value.dtype}")

    @rule
    def test_leading_axes_broadcast(self, manifold: Manifold) -> None:
        """Methods act on the last axis: (2, 20, D) equals 40 rows, and (N, 1) meets (1, M)."""
        u = self.tangents(manifold)
        flat = self._everything(manifold, u)
        folded = self._everything(manifold, u.view(2, 20, -1))
        for name, value in flat.items():
            near(folded[name].reshape(value.shape), value, f"{name} of (2, 20, D)", 1e-9, 1e-12)
        x, y = manifold.expmap0(u[:6]), manifold.expmap0(u[6:10])
        for name in ("dist", "squared_dist"):
            distance, pairwise = getattr(manifold, name), getattr(manifold, f"pairwise_{name}")
            single = torch.stack([distance(x, each) for each in y], 1)
            broadcast = distance(x[:, None], y[None])
            near(broadcast, single, f"{name} of (6, 1) and (1, 4)", 1e-9, 1e-9)
            near(pairwise(x, y), single, f"pairwise_{name} of 6 and 4 points", 1e-9, 1e-9)

    @rule
    def test_pairwise_order_rises_with_distances(self, manifold: Manifold) -> None:
        """``pairwise_order`` is at least 0 and sorts pairs of points by their distance."""
        points = manifold.expmap0(self.tangents(manifold)[:12]).detach()
        order = manifold.pairwise_order(points).detach().flatten()
        distances = manifold.pairwise_dist(points, points).detach().flatten()[order.argsort()]
        expect(bool(order.min() >= 0), f"pairwise_order has {float(order.min()):.3g}, below 0")
        fall = float((distances[:-1] - distances[1:]).max())
        expect(fall <= 1e-5 * float(distances.max()), f"a distance falls by {fall:.1e}")

    @rule
    def test_input_is_untouched(self) -> None:
        """No method writes to its arguments."""
        manifold = self.make()
        z, m = normal(8, self.dim), normal(8, self.dim, seed=1)
        with torch.no_grad():
            u = manifold.tangent(z).clone()
            x, y = (manifold.expmap0(each).clone() for each in (u, manifold.tangent(m)))
            ambient = manifold.to_ambient(x).clone()
            with untouched(z=z, u=u, x=x, y=y, ambient=ambient):
                manifold.tangent(z)
                self._everything(manifold, u)
                for name in ("dist", "squared_dist", "translate", "nearest"):
                    getattr(manifold, name)(x, y)
                for name in ("logmap0", "project", "negate", "to_ambient", "check_points"):
                    getattr(manifold, name)(x)
                manifold.from_ambient(ambient)
                manifold.codes(manifold.parameter(x))

    @rule
    def test_state_is_complete(self) -> None:
        """A second manifold that loads the state dict strictly measures the same distances."""
        manifold, twin = _changed(self.make()), self.make()
        twin.load_state_dict(state_of(manifold), strict=True)
        u = self.tangents(manifold, dtype=torch.float32)
        same(_measure(twin, u), _measure(manifold, u), "distances by the second manifold")

    @rule
    def test_copies_are_independent(self) -> None:
        """A deep copy measures the same, and changing its parameters leaves the original alone."""
        manifold = self.make()
        before, u = state_of(manifold), self.tangents(manifold, dtype=torch.float32)
        twin = copy.deepcopy(manifold)
        same(_measure(twin, u), _measure(manifold, u), "distances by the copy")
        _changed(twin)
        same_state(manifold, before, "the original after its copy was changed")

    def _everything(self, manifold: Manifold, u: Tensor) -> dict[str, Tensor]:
        """The result of each map and distance for tangent vectors (..., D), by name."""
        x, y = manifold.expmap0(u), manifold.expmap0(u.flip(-1))
        found = {"tangent": manifold.tangent(u), "expmap0": x}
        for name in ("logmap0", "project", "negate"):
            found[name] = getattr(manifold, name)(x)
        for name in ("dist", "squared_dist", "translate"):
            found[name] = getattr(manifold, name)(x, y)
        return found


def _measure(manifold: Manifold, u: Tensor) -> Tensor:
    return manifold.dist(manifold.expmap0(u[:20]), manifold.expmap0(u[20:])).detach()


@torch.no_grad()
def _changed(manifold: Manifold) -> Manifold:
    """The manifold with every parameter slightly changed."""
    for parameter in manifold.parameters():
        parameter.add_(0.1)
    return manifold
