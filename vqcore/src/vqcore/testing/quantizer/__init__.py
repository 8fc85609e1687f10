"""What every quantizer must hold."""

from __future__ import annotations

from vqcore.testing.quantizer.indices import IndexRules
from vqcore.testing.quantizer.tokens import TokenRules
from vqcore.testing.quantizer.training import TrainingRules


class QuantizerConformance(IndexRules, TokenRules, TrainingRules):
    """Subclass it, return your quantizer from ``make``, and let pytest or ``violations`` run it.

    The quantizer is checked bare and inside ``VectorQuantizer``, on each of ``manifolds()``. Sizes that it does not
    take can be changed: ``dim``, ``codebook_size``, ``tokens``.
    """
