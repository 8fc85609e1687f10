"""Who reduces the boundary matrix for H1: giotto-ph or gudhi, behind one method, imported at the first search."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cache
from typing import ClassVar

import numpy as np

from vqcore.errors import SettingError

#: giotto-ph holds values in float32, which counts whole numbers exactly up to here.
FLOAT32_WHOLE = 2**24


class Backend(ABC):
    """A library that computes H1 of a flag filtration: a graph whose edges appear one after another.

    Every backend sees whole numbers as lengths, so all of them give the same answer to the last bit.
    """

    name: ClassVar[str]

    @abstractmethod
    def loops(self, edges: np.ndarray, points: int) -> np.ndarray:
        """H1 of the flag complexes of a growing graph.

        Args:
            edges: (M, 2) int32, each edge once with the smaller vertex first, in the order in which they appear.
            points: n, the number of vertices; all are there from the start.

        Returns:
            (m, 2) float64 ranks 1 to M of the edges with which loops appear and are filled; inf where never.
        """


class GiottoPH(Backend):
    """giotto-ph (AGPLv3). Importing it brings in scikit-learn and takes seconds; it holds the interpreter's lock."""

    name = "giotto-ph"

    def __init__(self) -> None:
        from gph import ripser_parallel
        from scipy.sparse import coo_matrix

        self._ripser, self._coo = ripser_parallel, coo_matrix

    def loops(self, edges: np.ndarray, points: int) -> np.ndarray:
        """See ``Backend.loops``.

        Raises:
            SettingError: if there are more edges than float32 can number.
        """
        if len(edges) > FLOAT32_WHOLE:
            expected = f"at most {FLOAT32_WHOLE} edges, here {len(edges)}"
            raise SettingError(
                "backend", self.name, expected, "lower max_points or edge_quantile, or choose gudhi"
            )
        graph = self._coo((_ranks(edges), (edges[:, 0], edges[:, 1])), shape=(points, points))
        found = self._ripser(
            graph, metric="precomputed", maxdim=1, n_threads=1
        )  # diagrams are right with any number
        return np.asarray(found["dgms"][1], dtype=np.float64).reshape(-1, 2)


class Gudhi(Backend):
    """gudhi (MIT): its fork of Ripser, which releases the GIL.

    ``gudhi.sklearn.RipsPersistence`` calls the same function but wants scikit-learn, which nothing else here needs.
    A gudhi that keeps the function elsewhere is used through its public simplex tree: the same answer, about ten
    times slower.
    """

    name = "gudhi"

    def __init__(self) -> None:
        import gudhi

        self._tree = gudhi.SimplexTree
        try:
            from gudhi._ripser_ext import _sparse
        except ImportError:
            self._ripser = None
        else:
            self._ripser = _sparse

    def loops(self, edges: np.ndarray, points: int) -> np.ndarray:
        """See ``Backend.loops``."""
        if self._ripser is None:
            return self._loops_of_tree(edges, points)
        rows, columns = (np.ascontiguousarray(edges[:, k], dtype=np.int32) for k in (0, 1))
        found = self._ripser(
            rows, columns, _ranks(edges), points, max_dimension=1, homology_coeff_field=2
        )
        return np.asarray(found[1], dtype=np.float64).reshape(-1, 2)

    def _loops_of_tree(self, edges: np.ndarray, points: int) -> np.ndarray:
        tree = self._tree()
        tree.insert_batch(np.arange(points, dtype=np.int32).reshape(1, -1), np.zeros(points))
        tree.insert_batch(np.ascontiguousarray(edges.T, dtype=np.int32), _ranks(edges))
        tree.expansion(2)
        tree.compute_persistence(homology_coeff_field=2, persistence_dim_max=False)
        return np.asarray(tree.persistence_intervals_in_dimension(1), dtype=np.float64).reshape(
            -1, 2
        )


def _ranks(edges: np.ndarray) -> np.ndarray:
    return np.arange(1, len(edges) + 1, dtype=np.float64)


_BACKENDS: dict[str, type[Backend]] = {"giotto-ph": GiottoPH, "gudhi": Gudhi}


@cache
def get(name: str, *, beside: bool = False) -> Backend:
    """The backend called ``name``; ``auto`` is the first of giotto-ph and gudhi that can be imported.

    ``beside`` a training step ``auto`` tries gudhi first: giotto-ph would stop the step while it searches.

    Raises:
        SettingError: if it cannot be imported.
    """
    order = [*reversed(_BACKENDS)] if beside else [*_BACKENDS]
    for choice in order if name == "auto" else [name]:
        try:
            return _BACKENDS[choice]()
        except ImportError:
            continue
    fix = "pip install gudhi" + ("" if name == "gudhi" else ", and set backend to gudhi or auto")
    raise SettingError("backend", name, "a library that can be imported here", fix)
