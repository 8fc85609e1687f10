"""The interface of a manifold: the space in which latents and codes live."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from vqcore.search import affine


class Manifold(nn.Module, ABC):
    """A space with an origin, whose points are reached from tangent vectors at that origin.

    A latent of dimension D is a tangent vector at the origin; ``expmap0`` takes it to a point with
    ``point_dim(D)`` coordinates. Estimators and decoders see tangent vectors; searches and distances see points.
    The dimension is read from each tensor, so one manifold serves any D (groups of D/G included). All methods
    act on the last axis and broadcast over the others; float64 stays float64.
    """

    def point_dim(self, dim: int) -> int:
        """Number of coordinates of a point whose tangent space has ``dim`` dimensions."""
        return dim

    def tangent(self, z: Tensor) -> Tensor:
        """An encoder's output (..., D) as a tangent vector (..., D): scaled or clipped where the space is curved."""
        return z

    @abstractmethod
    def expmap0(self, u: Tensor) -> Tensor:
        """The point (..., A) reached from the origin along the tangent vector u (..., D)."""

    @abstractmethod
    def logmap0(self, x: Tensor) -> Tensor:
        """The tangent vector (..., D) at the origin that leads to the point x (..., A); inverts ``expmap0``."""

    @abstractmethod
    def squared_dist(self, x: Tensor, y: Tensor) -> Tensor:
        """Squared geodesic distance (...) of points (..., A); value and gradient finite also where x = y."""

    @abstractmethod
    def dist(self, x: Tensor, y: Tensor) -> Tensor:
        """Geodesic distance (...) of points (..., A); gradient 0 where x = y."""

    @abstractmethod
    def project(self, x: Tensor) -> Tensor:
        """The nearest valid point (..., A): undoes what rounding did, leaves valid points alone."""

    @abstractmethod
    def check_points(self, x: Tensor) -> str | None:
        """Why some of x (..., A) are not points of the manifold, or None when all are."""

    @property
    def learns(self) -> bool:
        """Whether the space itself is trained, as by a learned curvature: points move under fixed tangent vectors."""
        return any(True for _ in self.parameters())

    # -- motions -------------------------------------------------------------

    def translate(self, x: Tensor, y: Tensor) -> Tensor:
        """The points y (..., A), moved by the translation that takes the origin to x (..., A), along its geodesic.

        An isometry, also called gyroaddition x (+) y. ``translate(negate(x), translate(x, y))`` is y. Unless a
        manifold knows better, addition in the tangent space at the origin, which inverts likewise.
        """
        return self.expmap0(self.logmap0(x) + self.logmap0(y))

    def negate(self, x: Tensor) -> Tensor:
        """The points (..., A) opposite to x, seen from the origin."""
        return self.expmap0(-self.logmap0(x))

    def log_volume(self, u: Tensor) -> Tensor:
        """Logarithm of how much more volume lies around ``expmap0(u)`` than around the origin, (...) for u (..., D).

        It makes densities of ``translate``: where v is moved to u = logmap0(translate(x, expmap0(v))), |det du/dv| is
        exp(log_volume(v) - log_volume(u)) whatever x is. Whoever overrides ``translate`` overrides this; the addition
        in the tangent space has 0.
        """
        return torch.zeros_like(u[..., 0])

    def random(
        self, n: int, dim: int, *, std: float = 1.0, generator: torch.Generator | None = None
    ) -> Tensor:
        """n points (n, A) of a wrapped normal at the origin: ``expmap0`` of normal tangent vectors of scale std."""
        return self.expmap0(std * torch.randn(n, dim, generator=generator))

    def pairwise_dist(self, x: Tensor, y: Tensor) -> Tensor:
        """All distances (N, M) between x (N, A) and y (M, A). For small sets: the matrix is held whole."""
        return self.dist(x.unsqueeze(1), y.unsqueeze(0))

    def pairwise_squared_dist(self, x: Tensor, y: Tensor) -> Tensor:
        """All squared distances (N, M); see ``pairwise_dist``."""
        return self.squared_dist(x.unsqueeze(1), y.unsqueeze(0))

    def disk(self, u: Tensor) -> Tensor | None:
        """Where tangent vectors u (..., 2) lie in the open unit disk that pictures the manifold; None without one."""
        return None

    # -- averages ------------------------------------------------------------

    def to_ambient(self, x: Tensor) -> Tensor:
        """Coordinates (..., M) in which sums make sense: ``from_ambient`` of a weighted sum is a centroid."""
        return x

    def from_ambient(self, m: Tensor) -> Tensor:
        """The centroid (..., A) that a mean m (..., M) of ambient coordinates stands for."""
        return self.project(m)

    # -- codes as parameters -------------------------------------------------

    def coordinates(self, points: Tensor) -> Tensor:
        """What learned codes, points (K, A), are held as: tangent vectors, so that any optimizer keeps them valid."""
        return self.logmap0(points)

    def parameter(self, points: Tensor) -> nn.Parameter:
        """A codebook's points (K, A) as a parameter that holds their ``coordinates``."""
        return nn.Parameter(self.coordinates(points))

    def codes(self, parameter: Tensor) -> tuple[Tensor, Tensor]:
        """Tangent coordinates (K, D) and points (K, A) of what ``parameter`` made."""
        return parameter, self.expmap0(parameter)

    # -- search --------------------------------------------------------------

    @abstractmethod
    def search_query(self, x: Tensor, centre: Tensor) -> Tensor:
        """Queries (N, S) for points x (N, A), so that the nearest code is argmin_k query . weight_k + bias_k.

        ``centre`` (A,) is the mean of the codes: a form made of products of coordinates keeps its digits far from the
        origin, or when all points are close together, if it takes the centre off both sides first.
        """

    @abstractmethod
    def search_keys(self, codes: Tensor, centre: Tensor) -> tuple[Tensor, Tensor]:
        """Weight (K, S) and bias (K,) for codes (K, A); see ``search_query``."""

    @torch.no_grad()
    def nearest(self, x: Tensor, codes: Tensor) -> Tensor:
        """Index (N,), int64, of the code (K, A) nearest to each point x (N, A); of equal scores the lowest index."""
        centre = codes.mean(0)
        return affine.search(self.search_query(x, centre), *self.search_keys(codes, centre))
