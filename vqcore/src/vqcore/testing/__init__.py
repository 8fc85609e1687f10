"""The conformance kit: what must hold for every component, as classes to subclass in your tests.

    from vqcore.testing import ManifoldConformance

    class TestMine(ManifoldConformance):
        def make(self):
            return Mine()

pytest collects the checks; ``violations(TestMine())`` runs them without it. Each check is one rule,
named in the message if it is broken; ``rules(TestMine)`` lists them.
"""

from vqcore.testing.backbone import BackboneConformance
from vqcore.testing.dataset import DatasetConformance
from vqcore.testing.estimator import EstimatorConformance
from vqcore.testing.loss import LossConformance
from vqcore.testing.manifold import ManifoldConformance
from vqcore.testing.optimizer import OptimizerConformance
from vqcore.testing.plugins import PluginConformance
from vqcore.testing.quantizer import QuantizerConformance
from vqcore.testing.regularizer import RegularizerConformance
from vqcore.testing.rules import ConformanceError, rules, violations

__all__ = [
    "BackboneConformance",
    "ConformanceError",
    "DatasetConformance",
    "EstimatorConformance",
    "LossConformance",
    "ManifoldConformance",
    "OptimizerConformance",
    "PluginConformance",
    "QuantizerConformance",
    "RegularizerConformance",
    "rules",
    "violations",
]
