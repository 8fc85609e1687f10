"""What must hold for every quantizer."""

from vqcore.testing.quantizer.codes import CodeRules
from vqcore.testing.quantizer.indices import IndexRules
from vqcore.testing.quantizer.programs import ProgramRules
from vqcore.testing.quantizer.tokens import TokenRules
from vqcore.testing.quantizer.training import TrainingRules


class QuantizerConformance(IndexRules, TokenRules, TrainingRules, CodeRules, ProgramRules):
    """Subclass it, return your quantizer from ``make``, and let pytest or ``violations`` run it.

    The quantizer is checked on its own and inside ``VectorQuantizer``, on each of ``manifolds()``.
    If it does not support the default sizes, set ``dim``, ``codebook_size`` or ``tokens``.
    """
