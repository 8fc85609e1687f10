"""What must hold for the search of every manifold."""

from __future__ import annotations

import torch
from torch import Tensor

from vqcore.interfaces.manifold import Manifold
from vqcore.testing.manifold.bench import ManifoldBench
from vqcore.testing.rules import expect, near, rule, same, stated
from vqcore.testing.samples import clustered, normal

#: Queries and codes of a check.
QUERIES, CODES = 200, 32


class SearchRules(ManifoldBench):
    """Part of ``ManifoldConformance``."""

    @rule
    def test_nearest_is_the_nearest(self) -> None:
        """nearest finds the code of smallest squared_dist by brute force in float64, anywhere."""
        z, c = normal(QUERIES, self.dim), normal(CODES, self.dim, seed=1)
        tight = (1 + 3e-3 * normal(n, self.dim, seed=n) for n in (QUERIES, CODES))
        clusters = (clustered(n, self.dim) for n in (QUERIES, CODES))
        clouds = {
            "random": (2 * z, 2 * c),
            "near the origin": (1e-3 * z, 1e-3 * c),
            "a tight cloud": tuple(tight),
            "clustered": tuple(clusters),
            "far out": (1e3 * z, 1e3 * c),
            "one code": (z, c[:1]),
        }
        for what, pair in clouds.items():
            for dtype in (torch.float32, torch.float64):
                manifold = self.make().to(dtype)
                x, codes = (_points(manifold, each.to(dtype)) for each in pair)
                self._check_search(manifold, x, codes, f"{what} in {dtype}")

    @rule
    def test_no_point_has_no_nearest(self) -> None:
        """nearest takes an empty batch, with few codes and with many."""
        manifold = self.make()
        for count in (CODES, 4 * CODES, 16 * CODES):
            codes = _points(manifold, normal(count, self.dim))
            found = manifold.nearest(codes[:0], codes)
            same(tuple(found.shape), (0,), f"shape of what is nearest among {count} codes")

    @rule
    def test_nearest_at_an_offset(self) -> None:
        """On an unbounded space (tangent is the identity) nearest is right at an offset of 1000."""
        z, c = (1000 + normal(n, self.dim, seed=seed) for seed, n in enumerate((QUERIES, CODES)))
        manifold = self.make()
        if torch.equal(manifold.tangent(z), z):
            x, codes = manifold.expmap0(z).detach(), manifold.expmap0(c).detach()
            self._check_search(manifold, x, codes, "at an offset")

    @rule
    def test_nearest_takes_the_first_of_equals(self) -> None:
        """Among codes at the same distance, the lowest index is found."""
        # Codes at the origin: their scores contain no sum that a product could round in two ways.
        manifold = self.make()
        x, codes = (_points(manifold, s * normal(20, self.dim)) for s in (1.0, 0.0))
        zeros = torch.zeros(20, dtype=torch.int64)
        same(manifold.nearest(x, codes), zeros, "indices if all codes are the origin")

    @rule
    def test_nearest_has_no_gradient(self) -> None:
        """nearest accepts points and codes that require a gradient, and no point at all."""
        manifold = self.make()
        u = manifold.tangent(normal(QUERIES, self.dim)).requires_grad_()
        found = manifold.nearest(manifold.expmap0(u), manifold.expmap0(u[:8]))
        expect(not found.requires_grad, "indices with a gradient")
        none = manifold.nearest(manifold.expmap0(u[:0]), manifold.expmap0(u[:8]))
        expect(none.shape == (0,), f"shape {tuple(none.shape)} for no point")

    @rule
    def test_nearest_ignores_autocast(self) -> None:
        """Under autocast to bfloat16, nearest finds the same codes."""
        manifold = self.make()
        x, codes = (_points(manifold, normal(n, self.dim, seed=n)) for n in (QUERIES, CODES))
        plain = manifold.nearest(x, codes)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            same(manifold.nearest(x, codes), plain, "indices under autocast")

    @rule
    def test_distances_from_codes(self, manifold: Manifold) -> None:
        """squared_dist_from gives squared distances, up to a number of each point.

        They may be overwritten.
        """
        points = self.points(manifold)
        x, codes = points[:25], points[25:]
        distances = manifold.squared_dist_from(codes)
        found = distances(x.clone())
        expected = manifold.squared_dist(x[:, None], codes[None]).detach()
        limit = 1e-9 * float(expected.max())
        near(found - found[:, :1], expected - expected[:, :1], "differences", 1e-6, limit)
        first = found.detach().clone()
        found.detach().zero_()  # as a product adds to those of its first factor
        same(distances(x.clone()), first, "distances after the first ones were overwritten")

    @torch.no_grad()
    def _check_search(self, manifold: Manifold, x: Tensor, codes: Tensor, what: str) -> None:
        found = manifold.nearest(x, codes)
        expect(found.dtype == torch.int64, f"{what}: indices are {found.dtype}")
        expect(found.shape == x.shape[:1], f"{what}: shape {tuple(found.shape)}")
        in_range = (found >= 0) & (found < len(codes))
        expect(in_range.all(), f"{what}: an index that is no code")
        eps = torch.finfo(x.dtype).eps
        manifold, x, codes = manifold.double(), x.double(), codes.double()
        squared = manifold.squared_dist(x[:, None], codes[None])
        centre = manifold.from_ambient(manifold.to_ambient(codes).mean(0, keepdim=True))
        largest = max(float(manifold.squared_dist(each, centre).max()) for each in (x, codes))
        excess = squared.gather(1, found[:, None])[:, 0] - squared.amin(1)
        precision, floor = (
            stated(self, manifold, fact) for fact in ("search_precision", "search_floor")
        )
        limit = precision * eps * max(largest, floor)
        wrong = int((excess > limit).sum())
        expect(
            wrong == 0,
            f"{what}: {wrong} of {len(x)} points got a code that is not the nearest, farther in "
            f"squared distance by up to {float(excess.max()):.3g}; rounding explains {limit:.3g}",
        )


def _points(manifold: Manifold, z: Tensor) -> Tensor:
    return manifold.expmap0(manifold.tangent(z)).detach()
