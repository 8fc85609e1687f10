"""What every manifold must hold of its points: validity, averages, translations, codes as parameters."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from vqcore.interfaces.manifold import Manifold
from vqcore.testing.manifold.bench import ManifoldBench
from vqcore.testing.rules import expect, near, rule, same
from vqcore.testing.samples import normal


class PointRules(ManifoldBench):
    """Part of ``ManifoldConformance``."""

    # -- validity ------------------------------------------------------------

    @rule
    def test_projection_mends_points(self) -> None:
        """project makes points, accepted by check_points, of what is stretched, moved, zero or far out."""
        for dtype in (torch.float32, torch.float64):
            manifold = self.make().to(dtype)
            points = self.points(manifold, dtype=dtype)
            noise = 0.1 * normal(*points.shape, seed=4, dtype=dtype)
            for what, spoilt in {
                "stretched by 1.3": 1.3 * points, "moved": points + noise, "zero": 0 * points, "far out": 1e4 * points
            }.items():  # fmt: skip
                why = manifold.check_points(manifold.project(spoilt))
                expect(why is None, f"points that were {what} in {dtype}: {why}")

    @rule
    def test_projection_leaves_points_alone(self) -> None:
        """project changes a valid point by no more than rounding."""
        for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-9)):
            manifold = self.make().to(dtype)
            for scale in (1.0, 1e4):
                points = self.points(manifold, dtype=dtype, scale=scale)
                near(
                    manifold.project(points), points, f"project(x) in {dtype}", tolerance, tolerance
                )

    @rule
    def test_bad_points_are_told(self) -> None:
        """check_points says why, in words, where a coordinate is NaN."""
        manifold = self.make().double()
        points = self.points(manifold)
        points[3] = float("nan")
        why = manifold.check_points(points)
        expect(isinstance(why, str) and why.strip(), f"{why!r} for a point of NaN")

    @rule
    def test_random_points(self) -> None:
        """random gives n valid points of point_dim(D) coordinates, the same again from an equal generator."""
        manifold = self.make()
        with torch.no_grad():
            first, again = (
                manifold.random(30, self.dim, std=0.5, generator=torch.Generator().manual_seed(3))
                for _ in range(2)
            )
        shape = (30, manifold.point_dim(self.dim))
        expect(first.shape == shape, f"shape {tuple(first.shape)} instead of {shape}")
        why = manifold.check_points(first)
        expect(why is None, f"invalid points: {why}")
        same(again, first, "a second draw from an equal generator")
        expect(len(first.unique(dim=0)) == 30, "points that are equal")

    # -- averages ------------------------------------------------------------

    @rule
    def test_centroid_is_a_point(self) -> None:
        """from_ambient of a mean of ambient coordinates is a valid point, for clouds near, wide and far out."""
        for dtype in (torch.float32, torch.float64):
            manifold = self.make().to(dtype)
            for scale in (0.01, 2.0, 1e4):
                why = manifold.check_points(
                    _centroid(manifold, self.points(manifold, dtype=dtype, scale=scale))
                )
                expect(why is None, f"a cloud of scale {scale:g} in {dtype}: {why}")

    @rule
    def test_centroid_minimises_the_spread(self) -> None:
        """The mean squared distance of a cloud is smaller from its centroid than from points around it."""
        manifold = self.make().double()
        with torch.no_grad():
            points = manifold.expmap0(0.3 * self.tangents(manifold))
            centroid = _centroid(manifold, points)
            nudges = 0.2 * torch.cat([torch.eye(self.dim), -torch.eye(self.dim)]).double()
            nudges = nudges * self.tangents(manifold).norm(dim=1).mean()
            around = manifold.expmap0(manifold.logmap0(centroid) + nudges)
            at, beside = (
                manifold.squared_dist(points[:, None], each[None]).mean(0)
                for each in (centroid, around)
            )
        expect(
            (at < beside).all(),
            f"spread {float(at):.4g} at the centroid, {float(beside.min()):.4g} beside it",
        )

    @rule
    def test_one_point_is_its_own_centroid(self) -> None:
        """The centroid of a point, or of copies of it, is that point."""
        manifold = self.make().double()
        points = self.points(manifold)
        ambient = manifold.to_ambient(points)
        near(manifold.from_ambient(ambient), points, "the centroid of one point", 1e-6, 1e-8)
        near(
            manifold.from_ambient(3 * ambient / 3),
            points,
            "the centroid of three copies",
            1e-6,
            1e-8,
        )

    # -- translations --------------------------------------------------------

    @rule
    def test_translation_moves_the_origin(self) -> None:
        """translate(x, origin) is x, and translate(origin, x) too."""
        manifold, x, _ = self._three_clouds()
        origin = manifold.expmap0(torch.zeros(1, self.dim, dtype=torch.float64)).expand_as(x)
        near(manifold.translate(x, origin), x, "translate(x, origin)", 1e-7, 1e-9)
        near(manifold.translate(origin, x), x, "translate(origin, x)", 1e-7, 1e-9)

    @rule
    def test_translation_keeps_distances(self) -> None:
        """translate is an isometry: d(x + y, x + z) = d(y, z), and gives valid points."""
        manifold, x, (y, z) = self._three_clouds()
        moved, other = manifold.translate(x, y), manifold.translate(x, z)
        why = manifold.check_points(moved)
        expect(why is None, f"translated points: {why}")
        near(
            manifold.dist(moved, other),
            manifold.dist(y, z),
            "distances of translated points",
            1e-6,
            1e-8,
        )

    @rule
    def test_translation_is_undone_by_the_opposite(self) -> None:
        """translate(negate(x), translate(x, y)) is y."""
        manifold, x, (y, _) = self._three_clouds()
        near(
            manifold.translate(manifold.negate(x), manifold.translate(x, y)),
            y,
            "there and back",
            1e-6,
            1e-8,
        )

    @rule
    def test_negation_turns_round(self) -> None:
        """negate(x) is the point of the opposite tangent vector."""
        manifold, x, _ = self._three_clouds()
        near(manifold.negate(x), manifold.expmap0(-manifold.logmap0(x)), "negate(x)", 1e-6, 1e-9)

    @rule
    def test_volume_is_that_of_translations(self) -> None:
        """A translation u(v) enlarges volumes in tangent space by exp(log_volume(v) - log_volume(u))."""
        manifold, x, (y, _) = self._three_clouds()
        for origin, v in zip(x[:8], manifold.logmap0(y)[:8].detach(), strict=True):
            moved = _moved_by(manifold, origin)
            slopes = torch.autograd.functional.jacobian(moved, v)
            found = manifold.log_volume(v) - manifold.log_volume(moved(v))
            near(found.detach(), torch.linalg.slogdet(slopes)[1], "log |det du/dv|", 1e-5, 1e-6)

    # -- codes and pictures --------------------------------------------------

    @rule
    def test_codes_are_read_back(self) -> None:
        """parameter(points) is an nn.Parameter, from which codes() reads the tangent vectors and points again."""
        for dtype, tolerance in ((torch.float32, 1e-4), (torch.float64, 1e-6)):
            manifold = self.make().to(dtype)
            u = self.tangents(manifold, dtype=dtype)
            points = manifold.expmap0(u).detach()
            parameter = manifold.parameter(points)
            expect(
                isinstance(parameter, nn.Parameter), f"parameter gives a {type(parameter).__name__}"
            )
            near(
                parameter,
                manifold.coordinates(points),
                "the parameter and coordinates(points)",
                0,
                0,
            )
            tangents, read = manifold.codes(parameter)
            near(tangents, u, f"tangent vectors in {dtype}", tolerance, tolerance / 10)
            near(read, points, f"points in {dtype}", tolerance, tolerance / 10)

    @rule
    def test_disk_keeps_directions(self) -> None:
        """Where there is a disk, tangent vectors of two dimensions lie inside it, each in its own direction."""
        manifold = self.make().double()
        u = self.tangents(manifold)[:, :2]
        disk = manifold.disk(u)
        if disk is not None:
            expect((disk.norm(dim=1) < 1).all(), "a point outside the open unit disk")
            near(torch.atan2(*disk.T), torch.atan2(*u.T), "directions", 1e-6, 1e-9)

    # -- what the checks are made of -----------------------------------------

    def _three_clouds(self) -> tuple[Manifold, Tensor, tuple[Tensor, Tensor]]:
        """Float64 points, 20 each, near enough for their sums to be in reach."""
        manifold = self.make().double()
        x, y, z = (
            manifold.expmap0(0.3 * self.tangents(manifold, 20, seed=seed)).detach()
            for seed in range(3)
        )
        return manifold, x, (y, z)


def _moved_by(manifold: Manifold, x: Tensor) -> Callable[[Tensor], Tensor]:
    """The translation by the point x (A,) in tangent coordinates: v (D,) to u (D,)."""
    return lambda v: manifold.logmap0(manifold.translate(x, manifold.expmap0(v)))


def _centroid(manifold: Manifold, points: Tensor) -> Tensor:
    """The centroid (1, A) of points (n, A), in their number type."""
    with torch.no_grad():
        return manifold.from_ambient(manifold.to_ambient(points).mean(0, keepdim=True)).to(
            points.dtype
        )
