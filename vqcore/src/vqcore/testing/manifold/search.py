"""What every manifold must hold of its search."""

from __future__ import annotations

import torch
from torch import Tensor

from vqcore.interfaces.manifold import Manifold
from vqcore.testing.manifold.bench import ManifoldBench
from vqcore.testing.rules import expect, rule, same
from vqcore.testing.samples import clustered, normal

#: Queries and codes of a check.
QUERIES, CODES = 200, 32


class SearchRules(ManifoldBench):
    """Part of ``ManifoldConformance``.

    Attributes:
        search_precision: how far the search may be off, in units of rounding: the squared distance to the code found
            may exceed that to the nearest, both in float64, by ``search_precision`` x eps x s, with eps of the points'
            number type and s the largest squared distance of a point or code from the codes' centroid, but at least
            ``search_floor``. Anything nearer is a tie in the search's own form. 64 leaves room for the cosh^2 of a
            hyperbolic radius of 4.
        search_floor: squared length to which the search's form rounds, however small a cloud is: 0 for a form that is
            centred on the cloud, 1/c for coordinates on the surface of curvature c.
    """

    search_precision: float = 64.0
    search_floor: float = 0.0

    @rule
    def test_nearest_is_the_nearest(self) -> None:
        """nearest finds the code of smallest squared_dist, by brute force in float64, wherever the points lie."""
        clouds = {
            "random": (2 * normal(QUERIES, self.dim), 2 * normal(CODES, self.dim, seed=1)),
            "near the origin": (
                1e-3 * normal(QUERIES, self.dim),
                1e-3 * normal(CODES, self.dim, seed=1),
            ),
            "a tight cloud": tuple(
                1 + 3e-3 * normal(n, self.dim, seed=n) for n in (QUERIES, CODES)
            ),
            "clustered": (
                clustered(QUERIES, self.dim, width=0.05),
                clustered(CODES, self.dim, width=0.05),
            ),
            "far out": (1e3 * normal(QUERIES, self.dim), 1e3 * normal(CODES, self.dim, seed=1)),
            "one code": (normal(QUERIES, self.dim), normal(1, self.dim, seed=1)),
        }
        for what, (z, c) in clouds.items():
            for dtype in (torch.float32, torch.float64):
                manifold = self.make().to(dtype)
                x, codes = (
                    manifold.expmap0(manifold.tangent(each.to(dtype))).detach() for each in (z, c)
                )
                self._check_search(manifold, x, codes, f"{what} in {dtype}")

    @rule
    def test_nearest_at_an_offset(self) -> None:
        """On an unbounded space (tangent is the identity) nearest is right also for data at an offset of 1000."""
        z, c = (1000 + normal(n, self.dim, seed=seed) for seed, n in enumerate((QUERIES, CODES)))
        manifold = self.make()
        if torch.equal(manifold.tangent(z), z):
            self._check_search(
                manifold, manifold.expmap0(z).detach(), manifold.expmap0(c).detach(), "at an offset"
            )

    @rule
    def test_nearest_takes_the_first_of_equals(self) -> None:
        """Of codes at exactly the same distance the one of lowest index is found."""
        # Codes at the origin: their scores hold no sum that a matrix product could round in two ways.
        manifold = self.make()
        x, codes = (
            manifold.expmap0(manifold.tangent(s * normal(20, self.dim))).detach()
            for s in (1.0, 0.0)
        )
        same(
            manifold.nearest(x, codes),
            torch.zeros(20, dtype=torch.int64),
            "indices where all codes are the origin",
        )

    @rule
    def test_nearest_has_no_gradient(self) -> None:
        """nearest works on points and codes that ask for a gradient, and on no point at all."""
        manifold = self.make()
        u = manifold.tangent(normal(QUERIES, self.dim)).requires_grad_()
        found = manifold.nearest(manifold.expmap0(u), manifold.expmap0(u[:8]))
        expect(not found.requires_grad, "indices with a gradient")
        none = manifold.nearest(manifold.expmap0(u[:0]), manifold.expmap0(u[:8]))
        expect(none.shape == (0,), f"shape {tuple(none.shape)} for no point")

    @rule
    def test_nearest_ignores_autocast(self) -> None:
        """Under autocast to bfloat16 nearest finds the same codes."""
        manifold = self.make()
        x, codes = (
            manifold.expmap0(manifold.tangent(normal(n, self.dim, seed=n))).detach()
            for n in (QUERIES, CODES)
        )
        plain = manifold.nearest(x, codes)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            same(manifold.nearest(x, codes), plain, "indices under autocast")

    def _check_search(self, manifold: Manifold, x: Tensor, codes: Tensor, what: str) -> None:
        found = manifold.nearest(x, codes)
        expect(found.dtype == torch.int64, f"{what}: indices are {found.dtype}")
        expect(found.shape == x.shape[:1], f"{what}: shape {tuple(found.shape)}")
        expect(
            bool(((found >= 0) & (found < len(codes))).all()), f"{what}: an index that is no code"
        )
        exact, wide_x, wide_codes = manifold.double(), x.double(), codes.double()
        with torch.no_grad():
            squared = exact.squared_dist(wide_x[:, None], wide_codes[None])
            centre = exact.from_ambient(exact.to_ambient(wide_codes).mean(0, keepdim=True))
            largest = max(
                float(exact.squared_dist(each, centre).max()) for each in (wide_x, wide_codes)
            )
        excess = squared.gather(1, found[:, None])[:, 0] - squared.amin(1)
        limit = self.search_precision * torch.finfo(x.dtype).eps * max(largest, self.search_floor)
        wrong = excess > limit
        expect(
            not wrong.any(),
            f"{what}: {int(wrong.sum())} of {len(x)} points got a code that is not the nearest, farther in "
            f"squared distance by up to {float(excess.max()):.3g}, where rounding explains {limit:.3g}",
        )
