"""What every manifold must hold."""

from __future__ import annotations

from vqcore.testing.manifold.distances import DistanceRules
from vqcore.testing.manifold.maps import MapRules
from vqcore.testing.manifold.points import PointRules
from vqcore.testing.manifold.search import SearchRules


class ManifoldConformance(MapRules, DistanceRules, PointRules, SearchRules):
    """Subclass it, return your manifold from ``make``, and let pytest or ``violations`` run it.

    What a manifold may be different in is said by ``dim`` and ``isotropic`` (see ``ManifoldBench``), and by
    ``search_precision`` and ``search_floor`` (see ``SearchRules``).
    """
