"""What must hold for every manifold."""

from vqcore.testing.manifold.distances import DistanceRules
from vqcore.testing.manifold.maps import MapRules
from vqcore.testing.manifold.points import PointRules
from vqcore.testing.manifold.programs import ProgramRules
from vqcore.testing.manifold.search import SearchRules
from vqcore.testing.manifold.waiting import WaitRules


class ManifoldConformance(
    MapRules, DistanceRules, PointRules, SearchRules, WaitRules, ProgramRules
):
    """Subclass it, return your manifold from ``make``, and let pytest or ``violations`` run it.

    A case may set ``dim`` (see ``ManifoldBench``). What the manifold is like, it states itself:
    ``isotropic``, ``search_precision`` and ``search_floor`` of ``vqcore.Manifold``.
    """
