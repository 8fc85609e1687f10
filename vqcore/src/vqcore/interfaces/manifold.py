"""The interface of a manifold: the space of latents and codes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from itertools import chain
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from vqcore.errors import SettingError
from vqcore.numerics.stable import safe_sqrt
from vqcore.search import affine, tiled

#: By method, the methods that stand for it, or for what follows from it, in a cheaper way.
_SHORTCUTS = {
    "squared_dist": ("squared_dist_apart", "pairwise_order", "squared_dist_from"),
    "pairwise_squared_dist": ("pairwise_order", "squared_dist_from"),
    "search_query": ("squared_dist_from",),
    "search_keys": ("keys_of_tables", "squared_dist_from"),
    "nearest": ("keys_of_tables",),
    "to_ambient": ("ambient_dim",),
    "translate": ("flat_coordinates",),
}


class Manifold(nn.Module, ABC):
    """A space with an origin, whose points are reached from tangent vectors at that origin.

    A latent of dimension D is a tangent vector at the origin; ``expmap0`` maps it to a point of
    A = ``point_dim(D)`` coordinates. Estimators and decoders see tangent vectors; searches and
    distances see points.

    All methods act on the last axis and broadcast over the others. They read D from each tensor, so
    one manifold serves any D, such as groups of D/G. float64 stays float64. Values and gradients
    are finite for all points that ``tangent`` and ``expmap0`` can produce.

    Attributes:
        isotropic: whether rotations about the origin preserve distances, so that the distance from
            the origin depends on the tangent norm alone.
        search_precision: error that ``nearest`` may make, in units of rounding. The squared
            distance to the code found may exceed that to the nearest, both in float64, by
            search_precision x eps x s, where eps is that of the points' dtype and s the largest
            squared distance of a point or code from the codes' centroid, but at least
            ``search_floor``. Anything closer is a tie in the form that is searched. 64 suffices for
            the cosh^2 of a hyperbolic radius of 4.
        search_floor: squared length to which the form rounds, however small a cloud is: 0 if it is
            centred on the cloud, 1/c for coordinates on a surface of curvature c.
    """

    isotropic: bool = True
    search_precision: float = 64.0
    search_floor: float = 0.0

    def __init_subclass__(cls, **options: Any) -> None:
        """A class that redefines a method loses the inherited shortcuts that stand for it."""
        super().__init_subclass__(**options)
        for method, shortcuts in _SHORTCUTS.items():
            for name in shortcuts if method in vars(cls) else ():
                if name not in vars(cls):
                    setattr(cls, name, getattr(Manifold, name))

    def __init__(self) -> None:
        super().__init__()
        given = {name for name in _AFFINE if _overrides(self, name)}
        if len(given) == 1:
            kind, (missing,) = type(self).__name__, set(_AFFINE) - given
            text = "define both, or neither: then the search compares distances"
            raise TypeError(f"{kind} has {given.pop()} without {missing}: {text}")

    def point_dim(self, dim: int) -> int:
        """A, the number of coordinates of a point, for tangent vectors of ``dim`` dimensions."""
        return dim

    def check_dim(self, dim: int) -> None:
        """Refuse a D that the manifold cannot have, when a model is built; by default none.

        Raises:
            SettingError: by the name of an option of the manifold's.
        """

    @property
    def total_dim(self) -> int | None:
        """The D of a whole latent, where options say it, as sizes of factors do; None for any.

        Groups have a share of it.
        """
        return None

    def tangent(self, z: Tensor) -> Tensor:
        """An encoder's output (..., D) as a tangent vector (..., D).

        A curved space scales it, and clips it to where its formulas are accurate.
        """
        return z

    @abstractmethod
    def expmap0(self, u: Tensor) -> Tensor:
        """The point (..., A) reached from the origin along the tangent vector u (..., D)."""

    @abstractmethod
    def logmap0(self, x: Tensor) -> Tensor:
        """The tangent vector (..., D) that leads to the point x (..., A): inverts ``expmap0``."""

    @abstractmethod
    def squared_dist(self, x: Tensor, y: Tensor) -> Tensor:
        """Squared geodesic distance (...) of points (..., A); finite gradient also at x = y."""

    def squared_dist_apart(self, x: Tensor, y: Tensor) -> Tensor:
        """``squared_dist`` twice, (2, ...): with a gradient for x alone, then for y alone.

        The default measures twice. Override it where both gradients follow from one measurement.
        """
        to_x, to_y = self.squared_dist(x, y.detach()), self.squared_dist(x.detach(), y)
        return torch.stack([to_x, to_y])

    def dist(self, x: Tensor, y: Tensor) -> Tensor:
        """Geodesic distance (...) of points (..., A); gradient 0 at x = y.

        By default the root of ``squared_dist``.
        """
        return safe_sqrt(self.squared_dist(x, y))

    @abstractmethod
    def project(self, x: Tensor) -> Tensor:
        """The nearest valid point (..., A): removes rounding errors, keeps valid points."""

    @abstractmethod
    def check_points(self, x: Tensor) -> str | None:
        """Why some of x (..., A) are not points of the manifold, or None if all are."""

    @property
    def learns(self) -> bool:
        """Whether the space itself is trained, as by a learned curvature.

        If so, the point of a fixed tangent vector moves during training.
        """
        return any(True for _ in self.parameters())

    # -- motions -------------------------------------------------------------

    def translate(self, x: Tensor, y: Tensor) -> Tensor:
        """Points y (..., A) after the translation that takes the origin to x (..., A).

        An isometry, also called gyroaddition x (+) y, which ``translate(negate(x), ...)`` inverts.
        The default adds in the tangent space at the origin, which can be inverted in the same way
        but is an isometry of flat space alone.
        """
        return self.expmap0(self.logmap0(x) + self.logmap0(y))

    def flat_coordinates(self, dim: int) -> list[bool]:
        """Whether ``translate`` adds each of D coordinates of tangent vectors, as by default.

        In such coordinates a wrapped normal is a plain one, with a divergence in closed form.
        """
        return [not _overrides(self, "translate")] * dim

    def negate(self, x: Tensor) -> Tensor:
        """The points opposite to x (..., A), seen from the origin."""
        return self.expmap0(-self.logmap0(x))

    def log_volume(self, u: Tensor) -> Tensor:
        """log of the volume at ``expmap0(u)`` relative to the origin, (...) for u (..., D).

        It gives densities under ``translate``: for u = logmap0(translate(x, expmap0(v))) and any x,
        |det du/dv| = exp(log_volume(v) - log_volume(u)). Override it together with ``translate``;
        the default fits the default translation.
        """
        return torch.zeros_like(u[..., 0])

    def random(
        self, n: int, dim: int, *, std: float = 1.0, generator: torch.Generator | None = None
    ) -> Tensor:
        """n points (n, A) of the wrapped normal at the origin: ``expmap0`` of normal vectors."""
        return self.expmap0(std * torch.randn(n, dim, generator=generator))

    def pairwise_dist(self, x: Tensor, y: Tensor) -> Tensor:
        """All distances (N, M) between x (N, A) and y (M, A), held whole: for small sets."""
        return self.dist(x.unsqueeze(1), y.unsqueeze(0))

    def pairwise_squared_dist(self, x: Tensor, y: Tensor) -> Tensor:
        """All squared distances (N, M); see ``pairwise_dist``."""
        return self.squared_dist(x.unsqueeze(1), y.unsqueeze(0))

    def pairwise_order(self, x: Tensor) -> Tensor:
        """Numbers (N, N), at least 0, that rise with the distances between points x (N, A).

        They tell which of two distances is longer, where a matrix product is enough for that.
        """
        return self.pairwise_squared_dist(x, x)

    def disk(self, u: Tensor) -> Tensor | None:
        """Where tangent vectors u (..., 2) lie in a map of the manifold to the open unit disk.

        None if the manifold has no such map.
        """
        return None

    # -- averages ------------------------------------------------------------

    def ambient_dim(self, dim: int) -> int:
        """M, the number of coordinates of ``to_ambient``, for vectors of ``dim`` dimensions.

        By default that of one point.
        """
        if not _overrides(self, "to_ambient"):
            return self.point_dim(dim)
        like = next(chain(self.parameters(), self.buffers()), torch.zeros(()))
        with torch.no_grad():
            return self.to_ambient(self.expmap0(like.new_zeros(1, dim))).shape[-1]

    def to_ambient(self, x: Tensor) -> Tensor:
        """Coordinates (..., M) of points (..., A) that can be averaged, see ``from_ambient``."""
        return x

    def from_ambient(self, m: Tensor) -> Tensor:
        """The centroid (..., A) of points whose weighted mean in ``to_ambient`` is m (..., M)."""
        return self.project(m)

    # -- codes as parameters -------------------------------------------------

    def coordinates(self, points: Tensor) -> Tensor:
        """How points (K, A) are stored as learned codes.

        Tangent vectors by default, so that any optimizer's step leads to a valid code.
        """
        return self.logmap0(points)

    def parameter(self, points: Tensor) -> nn.Parameter:
        """A parameter that holds the ``coordinates`` of points (K, A)."""
        return nn.Parameter(self.coordinates(points))

    def codes(self, parameter: Tensor) -> tuple[Tensor, Tensor]:
        """Tangent coordinates (K, D) and points (K, A) of a ``parameter``."""
        return parameter, self.expmap0(parameter)

    # -- search --------------------------------------------------------------

    #: Whether ``search_keys`` takes codes (T, K, A) of several tables, with centres (T, 1, A), too.
    keys_of_tables: ClassVar[bool] = False

    @torch.no_grad()
    def nearest(self, x: Tensor, codes: Tensor) -> Tensor:
        """Index (N,), int64, of the code (K, A) nearest to each point x (N, A).

        Ties go to the lowest index. Nearest is by ``dist``, or by another distance that the
        manifold's docstring states, whose centroid ``from_ambient`` then gives. By default it is
        the fused search of the affine form where there is one, and else compares the distances of
        ``squared_dist_from``, in tiles.
        """
        if not self.has_keys:
            return tiled.search(x, codes, self.squared_dist_from)
        centre = codes.mean(0)
        return affine.search(self.search_query(x, centre), *self.search_keys(codes, centre))

    @property
    def has_keys(self) -> bool:
        """Whether ``nearest`` is the search of ``search_query`` and ``search_keys``."""
        return _overrides(self, "search_keys") and not _overrides(self, "nearest")

    def search_query(self, x: Tensor, centre: Tensor) -> Tensor:
        """Queries (N, S) for points x (N, A): the nearest code is argmin_k q . weight_k + bias_k.

        A manifold whose distance has such an affine form overrides this and ``search_keys``.
        ``centre`` (A,) is the mean of the codes. A form made of products of coordinates stays
        accurate far from the origin, and for points close together, if it first subtracts the
        centre from both sides.
        """
        raise NotImplementedError(f"{type(self).__name__} has no affine search, see has_keys")

    def search_keys(self, codes: Tensor, centre: Tensor) -> tuple[Tensor, Tensor]:
        """Weight (K, S) and bias (K,) for codes (K, A); see ``search_query``."""
        raise NotImplementedError(f"{type(self).__name__} has no affine search, see has_keys")

    def scores_from(self, codes: Tensor) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
        """A function from points x (N, A) to their queries (N, S) and scores (N, K).

        These are the numbers that the affine search compares, for a ``squared_dist_from`` that
        follows from them.
        """
        centre = codes.mean(0)
        weight, bias = self.search_keys(codes, centre)

        def scores(x: Tensor) -> tuple[Tensor, Tensor]:
            query = self.search_query(x, centre)
            return query, affine.scores(query, weight, bias)

        return scores

    def squared_dist_from(self, codes: Tensor) -> Callable[[Tensor], Tensor]:
        """A function from points x (N, A) to their squared distances (N, K) from codes (K, A).

        They tell which code is nearer: for each point all may be off by the same number, and they
        have no gradient. Their unit is that of ``squared_dist``, since a product of manifolds adds
        up those of its factors. A search calls the function with a tile of points at a time, and
        may overwrite the distances.
        Override this where distances follow from ``scores_from``: a matrix product is faster than
        all pairs.
        """
        return tiled.in_strips(self.pairwise_squared_dist, codes)


#: The two methods of an affine search.
_AFFINE = ("search_query", "search_keys")


def _overrides(manifold: Manifold, name: str) -> bool:
    return getattr(type(manifold), name) is not getattr(Manifold, name)


def require_dim(manifold: Manifold, dim: int) -> None:
    """``manifold.check_dim``, with whole key paths in its errors."""
    try:
        manifold.check_dim(dim)
    except SettingError as error:
        raise error.under("manifold") from error
