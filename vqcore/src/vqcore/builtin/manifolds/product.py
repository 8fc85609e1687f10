"""Products of manifolds (Gu et al. 2019, ICLR, openreview.net/forum?id=HJxeWnCcF7)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn

from vqcore.builtin.manifolds.euclidean import Euclidean
from vqcore.builtin.manifolds.shares import shares, whole_shares
from vqcore.errors import SettingError
from vqcore.interfaces.manifold import Manifold, require_dim


class Product(Manifold):
    """M_1 x ... x M_F: d(x, y)^2 = sum_i d_i(x_i, y_i)^2 over the factors.

    A latent is the tangent vectors of the factors, one after the other; so are points and ambient
    coordinates. Each factor scales and clips its own part. By default all factors have equal shares
    of D, and where F does not divide D the first ones have a dimension more, or the only ones. With
    ``dims`` they have these dimensions, which add up to D, and the same shares of a group.
    Codes are stored as tangent vectors. Options: see ``ProductConfig``.

    Cost: that of the factors for the maps. The search adds up distances in tiles, in O(N + tile)
    memory: for each factor a product like that of its own search, and for each curved one a few
    passes over N K numbers. If all factors are flat, it is the search of flat space.

    Raises:
        SettingError: for no factor and for another number of ``dims``; later, for what
            ``check_dim`` refuses.
    """

    isotropic = False  # a rotation mixes the factors

    def __init__(
        self,
        factors: Sequence[Manifold | Callable[[], Manifold]],
        *,
        dims: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        made = [each if isinstance(each, Manifold) else each() for each in factors]
        if not made:
            raise SettingError("factors", [], "one manifold at least")
        if dims is not None and (len(dims) != len(made) or min(dims) < 1):
            expected = f"dimensions of each of the {len(made)} factors"
            raise SettingError("dims", list(dims), expected)
        self.factors = nn.ModuleList(made)
        self.dims = None if dims is None else tuple(dims)
        self.flat = all(type(factor) is Euclidean for factor in made)

    def extra_repr(self) -> str:
        """The dimensions of the factors, in the text of a model; equal shares without any."""
        return "" if self.dims is None else f"dims={self.dims}"

    # -- parts ---------------------------------------------------------------

    @property
    def total_dim(self) -> int | None:
        """The sum of ``dims``."""
        return None if self.dims is None else sum(self.dims)

    def check_dim(self, dim: int) -> None:
        """Refuse a D of which a factor has no share, and a factor that stores codes as points."""
        names = [type(factor).__name__ for factor in self._each]
        own = shares([name.lower() for name in names], self.dims, dim)
        for place, (factor, share) in enumerate(zip(self._each, own, strict=True)):
            try:
                factor.check_dim(share)
            except SettingError as error:
                raise error.under(f"factors.{place}") from error
            if not _stores_tangents(factor, share):
                expected, fix = "codes stored as tangent vectors", "set its codes to tangent"
                raise SettingError(f"factors.{place}", names[place], expected, fix)

    def shares(self, dim: int) -> list[int]:
        """The dimensions of each factor, of ``dim``; of the first ones if that is less than F.

        For a table of codes ``check_dim`` refuses so few. Codes without a table may have them:
        ``fsq`` sets its own dimension, and parts of long codes may be a single coordinate.

        Raises:
            SettingError: if ``dims``, or those of a product among the factors, have no such shares.
        """
        found = self._shares(dim)
        if found is None:
            require_dim(self, dim)  # which explains
        return found or []

    def _shares(self, dim: int) -> list[int] | None:
        found = whole_shares(len(self.factors), self.dims, dim)
        for factor, share in zip(self._each, found or (), strict=False):
            if isinstance(factor, Product) and factor._shares(share) is None:
                return None
        return found

    def _widths(self, width: int, of: Callable[[Manifold, int], int]) -> list[int]:
        """Coordinates of each factor, of ``width``, where it has ``of(factor, dimensions)``."""
        for dim in range(width, 0, -1):
            found = self._shares(dim)
            if found is not None:
                widths = list(map(of, self._each, found))
                if sum(widths) == width:
                    return widths
        expected = f"coordinates of a point of {len(self.factors)} factors"
        raise SettingError("points", f"{width} coordinates", expected)

    @property
    def _each(self) -> list[Manifold]:
        return list(self.factors)  # type: ignore[arg-type]  # ModuleList is not generic

    def _of_tangents(self, u: Tensor) -> Sequence[Tensor]:
        return u.split(self.shares(u.shape[-1]), -1)

    def _of_points(self, x: Tensor) -> Sequence[Tensor]:
        return x.split(self._widths(x.shape[-1], _point_dim), -1)

    def _map(self, method: str, *parts: Sequence[Tensor]) -> list[Any]:
        """What a method of each factor gives for its parts."""
        each = zip(self._each, *parts, strict=False)  # the last factors may have no part
        return [getattr(factor, method)(*own) for factor, *own in each]

    def point_dim(self, dim: int) -> int:
        """The coordinates of all factors."""
        return sum(map(_point_dim, self._each, self.shares(dim)))

    # -- maps and distances --------------------------------------------------

    def tangent(self, z: Tensor) -> Tensor:
        """Each factor's, of its part."""
        return torch.cat(self._map("tangent", self._of_tangents(z)), -1)

    def expmap0(self, u: Tensor) -> Tensor:
        """Each factor's, of its part."""
        return torch.cat(self._map("expmap0", self._of_tangents(u)), -1)

    def logmap0(self, x: Tensor) -> Tensor:
        """Each factor's, of its part."""
        return torch.cat(self._map("logmap0", self._of_points(x)), -1)

    def squared_dist(self, x: Tensor, y: Tensor) -> Tensor:
        """The sum of the factors'."""
        return self._sum("squared_dist", x, y)

    def squared_dist_apart(self, x: Tensor, y: Tensor) -> Tensor:
        """See ``Manifold.squared_dist_apart``."""
        return self._sum("squared_dist_apart", x, y)

    def pairwise_squared_dist(self, x: Tensor, y: Tensor) -> Tensor:
        """The sum of the factors'."""
        return self._sum("pairwise_squared_dist", x, y)

    def _sum(self, method: str, x: Tensor, y: Tensor) -> Tensor:
        return reduce(torch.add, self._map(method, self._of_points(x), self._of_points(y)))

    def project(self, x: Tensor) -> Tensor:
        """Each factor's, of its part."""
        return torch.cat(self._map("project", self._of_points(x)), -1)

    def check_points(self, x: Tensor) -> str | None:
        """Whether the parts are points of the factors."""
        for place, problem in enumerate(self._map("check_points", self._of_points(x))):
            if problem is not None:
                return f"factor {place}, {type(self.factors[place]).__name__}: {problem}"
        return None

    def translate(self, x: Tensor, y: Tensor) -> Tensor:
        """Each factor's, of its parts."""
        return torch.cat(self._map("translate", self._of_points(x), self._of_points(y)), -1)

    def flat_coordinates(self, dim: int) -> list[bool]:
        """Those of the flat factors."""
        each = zip(self._each, self.shares(dim), strict=False)
        return [flat for factor, share in each for flat in factor.flat_coordinates(share)]

    def negate(self, x: Tensor) -> Tensor:
        """Each factor's, of its part."""
        return torch.cat(self._map("negate", self._of_points(x)), -1)

    def log_volume(self, u: Tensor) -> Tensor:
        """The sum of the factors'."""
        return reduce(torch.add, self._map("log_volume", self._of_tangents(u)))

    # -- averages and codes --------------------------------------------------

    def ambient_dim(self, dim: int) -> int:
        """The ambient coordinates of all factors."""
        return sum(map(_ambient_dim, self._each, self.shares(dim)))

    def to_ambient(self, x: Tensor) -> Tensor:
        """Each factor's, in the widest type of them."""
        return torch.cat(self._map("to_ambient", self._of_points(x)), -1)

    def from_ambient(self, m: Tensor) -> Tensor:
        """Each factor's, of its part: the centroid minimises each term of the squared distance."""
        parts = m.split(self._widths(m.shape[-1], _ambient_dim), -1)
        return torch.cat(self._map("from_ambient", parts), -1)

    def codes(self, parameter: Tensor) -> tuple[Tensor, Tensor]:
        """Each factor's, of its part."""
        pairs = self._map("codes", self._of_tangents(parameter))
        tangents, points = (torch.cat(parts, -1) for parts in zip(*pairs, strict=True))
        return tangents, points

    # -- search --------------------------------------------------------------

    @property
    def has_keys(self) -> bool:
        """Whether all factors are flat: those of a sum of curved ones have no affine form."""
        return self.flat and super().has_keys

    def search_query(self, x: Tensor, centre: Tensor) -> Tensor:
        """Of flat space."""
        return self._first.search_query(x, centre)

    def search_keys(self, codes: Tensor, centre: Tensor) -> tuple[Tensor, Tensor]:
        """Of flat space."""
        return self._first.search_keys(codes, centre)

    @property
    def _first(self) -> Manifold:
        return self._each[0]

    def squared_dist_from(self, codes: Tensor) -> Callable[[Tensor], Tensor]:
        """The sum of the factors'."""
        distances = self._map("squared_dist_from", self._of_points(codes))

        def total(x: Tensor) -> Tensor:
            parts = zip(distances, self._of_points(x), strict=True)
            return reduce(_added, (distance(part) for distance, part in parts))

        return total


def _added(total: Tensor, other: Tensor) -> Tensor:
    """The sum of two tiles that nobody else has, in the memory of the first where it fits."""
    return total.add_(other) if total.dtype == other.dtype else total + other


def _point_dim(manifold: Manifold, dim: int) -> int:
    return manifold.point_dim(dim)


def _ambient_dim(manifold: Manifold, dim: int) -> int:
    return manifold.ambient_dim(dim)


def _stores_tangents(manifold: Manifold, dim: int) -> bool:
    """Whether a code is a plain parameter that holds a tangent vector."""
    with torch.no_grad():
        code = manifold.parameter(manifold.expmap0(torch.zeros(1, dim)))
    return type(code) is nn.Parameter and code.shape == (1, dim)
