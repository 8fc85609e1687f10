"""What must hold for every quantizer when torch traces it."""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor, nn

from vqcore.interfaces.manifold import Manifold
from vqcore.layer import VectorQuantizer
from vqcore.testing.programs import alike, compiled, exported_alike
from vqcore.testing.quantizer.bench import QuantizerBench, backward
from vqcore.testing.quantizer.tokens import near_states
from vqcore.testing.rules import rule


class ProgramRules(QuantizerBench):
    """Part of ``QuantizerConformance``."""

    @rule
    def test_any_batch_can_be_exported(self, manifold: Manifold) -> None:
        """``torch.export`` of encode, decode and the eval forward, batch dynamic, is as eager."""
        layer = self.started(manifold).eval()
        z = self.latents(layer, 5, 3)
        indices = layer.encode(z)
        indices[0, 0] = -1  # a masked token
        exported_alike(_Used(layer), [z, indices])

    @rule
    def test_compiling_changes_nothing(self, manifold: Manifold) -> None:
        """Once started, a step compiled without a graph break is that of eager."""
        layer = self.started(manifold)
        twin, z = copy.deepcopy(layer), self.latents(layer)
        expected = _step(twin, twin, z)
        with compiled(layer) as function:
            alike(_step(function, layer, z), expected, "the compiled step", 1e-4, 1e-5)
        near_states(layer, twin, "state after the compiled step")


class _Used(nn.Module):
    """What a program does with a layer, as one module."""

    def __init__(self, layer: VectorQuantizer) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, z: Tensor, indices: Tensor) -> tuple[Tensor, ...]:
        """Latents to indices and vectors; other indices to vectors."""
        return self.layer.encode(z), self.layer(z).quantized, self.layer.decode(indices)


def _step(forward: Any, layer: VectorQuantizer, z: Tensor) -> list[Any]:
    """A step without an optimizer: indices, vectors, loss, gradients."""
    z = z.clone().requires_grad_()
    out = forward(z)
    found = [out.indices, out.quantized, out.loss, backward(layer, z, out)]
    layer.update()
    return found
