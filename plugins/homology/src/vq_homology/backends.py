"""The libraries that compute H1, giotto-ph and gudhi, each imported at the first search."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cache
from typing import ClassVar

import numpy as np

from vqcore.errors import SettingError

#: giotto-ph stores values in float32, which is exact for integers up to here.
MAX_FLOAT32_INTEGER = 2**24


class Backend(ABC):
    """A library that computes H1 of a flag filtration: a graph whose edges appear one by one.

    Every backend sees edge ranks as lengths, so all return the same result to the bit.
    """

    name: ClassVar[str]

    @abstractmethod
    def loops(self, edges: np.ndarray, points: int) -> np.ndarray:
        """The ranks (m, 2) float64 of the edges at which H1 classes are born and die, or inf.

        ``edges`` (M, 2) int32 hold each edge once, the smaller vertex first, in filtration order;
        their ranks are 1 to M. All ``points`` vertices exist from the start.
        """


class GiottoPH(Backend):
    """giotto-ph (AGPLv3). Its import loads scikit-learn and takes seconds; it holds the GIL."""

    name = "giotto-ph"

    def __init__(self) -> None:
        from gph import ripser_parallel
        from scipy.sparse import coo_matrix

        self._ripser = ripser_parallel
        self._coo = coo_matrix

    def loops(self, edges: np.ndarray, points: int) -> np.ndarray:
        """See ``Backend.loops``.

        Raises:
            SettingError: if there are more edges than float32 can number.
        """
        if len(edges) > MAX_FLOAT32_INTEGER:
            expected = f"at most {MAX_FLOAT32_INTEGER} edges, here {len(edges)}"
            fix = "lower max_points or edge_quantile, or choose gudhi"
            raise SettingError("backend", self.name, expected, fix)
        graph = self._coo((_ranks(edges), (edges[:, 0], edges[:, 1])), shape=(points, points))
        found = self._ripser(graph, metric="precomputed", maxdim=1, n_threads=1)
        return _diagram(found["dgms"][1])


class Gudhi(Backend):
    """gudhi (MIT): its fork of Ripser, which releases the GIL.

    The public ``gudhi.sklearn.RipsPersistence`` calls the same function but needs scikit-learn. A
    gudhi without the function is used through its simplex tree, about ten times slower.
    """

    name = "gudhi"

    def __init__(self) -> None:
        import gudhi

        self._tree = gudhi.SimplexTree
        try:
            from gudhi._ripser_ext import _sparse
        except ImportError:
            _sparse = None
        self._ripser = _sparse

    def loops(self, edges: np.ndarray, points: int) -> np.ndarray:
        """See ``Backend.loops``."""
        if self._ripser is None:
            return self._loops_by_tree(edges, points)
        rows, columns = (np.ascontiguousarray(edges[:, k], dtype=np.int32) for k in (0, 1))
        options = {"max_dimension": 1, "homology_coeff_field": 2}
        return _diagram(self._ripser(rows, columns, _ranks(edges), points, **options)[1])

    def _loops_by_tree(self, edges: np.ndarray, points: int) -> np.ndarray:
        tree = self._tree()
        tree.insert_batch(np.arange(points, dtype=np.int32).reshape(1, -1), np.zeros(points))
        tree.insert_batch(np.ascontiguousarray(edges.T, dtype=np.int32), _ranks(edges))
        tree.expansion(2)
        tree.compute_persistence(homology_coeff_field=2, persistence_dim_max=False)
        return _diagram(tree.persistence_intervals_in_dimension(1))


def _ranks(edges: np.ndarray) -> np.ndarray:
    return np.arange(1, len(edges) + 1, dtype=np.float64)


def _diagram(pairs: np.ndarray) -> np.ndarray:
    return np.asarray(pairs, dtype=np.float64).reshape(-1, 2)


_BACKENDS: dict[str, type[Backend]] = {"giotto-ph": GiottoPH, "gudhi": Gudhi}


@cache
def get(name: str, *, in_background: bool = False) -> Backend:
    """The backend called ``name``; ``auto`` is the first that can be imported.

    ``auto`` tries giotto-ph first, except ``in_background``, since giotto-ph holds the GIL.

    Raises:
        SettingError: if it cannot be imported.
    """
    order = ["gudhi", "giotto-ph"] if in_background else ["giotto-ph", "gudhi"]
    for choice in order if name == "auto" else [name]:
        try:
            return _BACKENDS[choice]()
        except ImportError:
            continue
    fix = "pip install gudhi" + ("" if name == "gudhi" else ", and set backend to gudhi or auto")
    raise SettingError("backend", name, "a library that can be imported here", fix)
