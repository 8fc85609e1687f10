"""What must hold for the points of every manifold: validity, averages, translations, codes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vqcore.interfaces.manifold import Manifold
from vqcore.testing.manifold.bench import ManifoldBench
from vqcore.testing.rules import expect, near, rule, same, valid
from vqcore.testing.samples import normal

DTYPES = (torch.float32, torch.float64)


class PointRules(ManifoldBench):
    """Part of ``ManifoldConformance``."""

    @rule
    def test_projection_gives_points(self) -> None:
        """project turns stretched, moved, zero or far vectors into points."""
        for dtype in DTYPES:
            manifold = self.make().to(dtype)
            points = self.points(manifold, dtype=dtype)
            moved = points + 0.1 * normal(*points.shape, seed=4, dtype=dtype)
            for what, spoilt in (("stretched", 1.3 * points), ("moved", moved)):
                valid(manifold, manifold.project(spoilt), f"{what} points in {dtype}")
            for factor in (0, 1e4):
                valid(manifold, manifold.project(factor * points), f"{factor} x points in {dtype}")

    @rule
    def test_projection_keeps_points(self) -> None:
        """project changes a valid point by no more than rounding."""
        for dtype, error in ((torch.float32, 1e-5), (torch.float64, 1e-9)):
            manifold = self.make().to(dtype)
            for scale in (1.0, 1e4):
                points = self.points(manifold, dtype=dtype, scale=scale)
                near(manifold.project(points), points, f"project(x) in {dtype}", error, error)

    @rule
    def test_bad_points_are_explained(self, manifold: Manifold) -> None:
        """check_points explains what is wrong with a coordinate of NaN."""
        points = self.points(manifold)
        points[3] = float("nan")
        why = manifold.check_points(points)
        expect(isinstance(why, str) and why.strip(), f"{why!r} for a point of NaN")

    @rule
    def test_random_points(self) -> None:
        """random gives n valid points of point_dim(D) coordinates, equal for equal generators."""
        manifold = self.make()
        first, again = (
            manifold.random(30, self.dim, std=0.5, generator=torch.Generator().manual_seed(3))
            for _ in range(2)
        )
        shape = (30, manifold.point_dim(self.dim))
        expect(first.shape == shape, f"shape {tuple(first.shape)} instead of {shape}")
        valid(manifold, first.detach(), "random points")
        same(again, first, "a second draw from an equal generator")
        expect(len(first.detach().unique(dim=0)) == 30, "points that are equal")

    @rule
    def test_centroid_is_a_point(self) -> None:
        """from_ambient of a mean of ambient coordinates is a valid point, for any cloud size."""
        for dtype in DTYPES:
            manifold = self.make().to(dtype)
            for scale in (0.01, 2.0, 1e4):
                cloud = self.points(manifold, dtype=dtype, scale=scale)
                what = f"the centroid of a cloud of scale {scale:g} in {dtype}"
                valid(manifold, _centroid(manifold, cloud), what)

    @rule
    def test_centroid_minimises_the_spread(self, manifold: Manifold) -> None:
        """The mean squared distance of a cloud is smaller from its centroid than from near it."""
        with torch.no_grad():
            points = manifold.expmap0(0.3 * self.tangents(manifold))
            centroid = _centroid(manifold, points)
            nudges = 0.2 * torch.cat([torch.eye(self.dim), -torch.eye(self.dim)]).double()
            nudges = nudges * self.tangents(manifold).norm(dim=1).mean()
            around = manifold.expmap0(manifold.logmap0(centroid) + nudges)
            at = manifold.squared_dist(points[:, None], centroid[None]).mean(0)
            near_it = manifold.squared_dist(points[:, None], around[None]).mean(0)
        spreads = f"{float(at):.4g} at the centroid, {float(near_it.min()):.4g} near it"
        expect((at < near_it).all(), f"a spread of {spreads}")

    @rule
    def test_one_point_is_its_own_centroid(self, manifold: Manifold) -> None:
        """The centroid of a point, or of copies of it, is that point; it has ambient_dim(D)."""
        points = self.points(manifold)
        ambient = manifold.to_ambient(points)
        width = manifold.ambient_dim(self.dim)
        expect(ambient.shape[1] == width, f"{ambient.shape[1]} ambient coordinates, not {width}")
        near(manifold.from_ambient(ambient), points, "the centroid of one point", 1e-6, 1e-8)
        near(manifold.from_ambient(3 * ambient / 3), points, "that of three copies", 1e-6, 1e-8)

    @rule
    def test_translation_moves_the_origin(self, manifold: Manifold) -> None:
        """translate(x, origin) is x, and translate(origin, x) too."""
        x, _, _ = self._three_clouds(manifold)
        origin = manifold.expmap0(torch.zeros(1, self.dim, dtype=torch.float64)).expand_as(x)
        near(manifold.translate(x, origin), x, "translate(x, origin)", 1e-7, 1e-9)
        near(manifold.translate(origin, x), x, "translate(origin, x)", 1e-7, 1e-9)

    @rule
    def test_translation_keeps_distances(self, manifold: Manifold) -> None:
        """translate is an isometry, d(x + y, x + z) = d(y, z), and gives valid points."""
        x, y, z = self._three_clouds(manifold)
        moved, other = manifold.translate(x, y), manifold.translate(x, z)
        valid(manifold, moved, "translated points")
        before = manifold.dist(y, z)
        near(manifold.dist(moved, other), before, "distances of translated points", 1e-6, 1e-8)

    @rule
    def test_translation_is_inverted_by_the_opposite(self, manifold: Manifold) -> None:
        """translate(negate(x), translate(x, y)) is y."""
        x, y, _ = self._three_clouds(manifold)
        back = manifold.translate(manifold.negate(x), manifold.translate(x, y))
        near(back, y, "there and back", 1e-6, 1e-8)

    @rule
    def test_negation_is_the_opposite(self, manifold: Manifold) -> None:
        """negate(x) is the point of the opposite tangent vector."""
        x, _, _ = self._three_clouds(manifold)
        near(manifold.negate(x), manifold.expmap0(-manifold.logmap0(x)), "negate(x)", 1e-6, 1e-9)

    @rule
    def test_volume_matches_translations(self, manifold: Manifold) -> None:
        """A translation u(v) enlarges volumes in tangent space by log_volume(v) - log_volume(u)."""
        x, y, _ = self._three_clouds(manifold)
        for origin, v in zip(x[:8], manifold.logmap0(y)[:8].detach(), strict=True):

            def moved(v: Tensor, origin: Tensor = origin) -> Tensor:
                return manifold.logmap0(manifold.translate(origin, manifold.expmap0(v)))

            slopes = torch.autograd.functional.jacobian(moved, v)
            found = manifold.log_volume(v) - manifold.log_volume(moved(v))
            near(found, torch.linalg.slogdet(slopes)[1], "log |det du/dv|", 1e-5, 1e-6)

    @rule
    def test_codes_are_read_back(self) -> None:
        """codes() reads tangent vectors and points back from parameter(points), an nn.Parameter."""
        for dtype, error in ((torch.float32, 1e-4), (torch.float64, 1e-6)):
            manifold = self.make().to(dtype)
            u = self.tangents(manifold, dtype=dtype)
            points = manifold.expmap0(u).detach()
            parameter = manifold.parameter(points)
            is_parameter = isinstance(parameter, nn.Parameter)
            expect(is_parameter, f"parameter gives a {type(parameter).__name__}")
            near(parameter, manifold.coordinates(points), "parameter and coordinates", 0, 0)
            tangents, read = manifold.codes(parameter)
            near(tangents, u, f"tangent vectors in {dtype}", error, error / 10)
            near(read, points, f"points in {dtype}", error, error / 10)

    @rule
    def test_disk_keeps_directions(self, manifold: Manifold) -> None:
        """If there is a disk, it maps 2D tangent vectors inside itself and keeps directions."""
        u = self.tangents(manifold)[:, :2]
        disk = manifold.disk(u)
        if disk is not None:
            expect((disk.norm(dim=1) < 1).all(), "a point outside the open unit disk")
            near(torch.atan2(*disk.T), torch.atan2(*u.T), "directions", 1e-6, 1e-9)

    def _three_clouds(self, manifold: Manifold) -> list[Tensor]:
        """Points, 20 each, close enough for their sums to be valid latents."""
        tangents = (0.3 * self.tangents(manifold, 20, seed=seed) for seed in range(3))
        return [manifold.expmap0(u).detach() for u in tangents]


@torch.no_grad()
def _centroid(manifold: Manifold, points: Tensor) -> Tensor:
    """The centroid (1, A) of points (n, A), in their dtype."""
    mean = manifold.to_ambient(points).mean(0, keepdim=True)
    return manifold.from_ambient(mean).to(points.dtype)
