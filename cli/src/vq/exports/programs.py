"""Encoder and decoder as graphs of plain operators, for any number of samples (torch.export)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from vq.models.autoencoder import VQModel

#: Samples that graphs are traced with; torch.export would take 0 or 1 for a constant.
TRACED = 2
#: Names of the graphs' inputs and outputs.
SAMPLES, INDICES = "samples", "indices"


class _Encoder(nn.Module):
    def __init__(self, model: VQModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, samples: Tensor) -> Tensor:
        return self.model.encode(samples)


class _Decoder(nn.Module):
    def __init__(self, model: VQModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, indices: Tensor) -> Tensor:
        return self.model.decode(indices)


@dataclass(frozen=True)
class Programs:
    """A model's two graphs.

    Attributes:
        encoder: samples (B, *shape), float32, to indices (B, *index_shape), int64.
        decoder: the other way round; float32 in the data's range of values. An index out of range is no error here.
    """

    encoder: ExportedProgram
    decoder: ExportedProgram

    def items(self) -> list[tuple[str, ExportedProgram, str, str]]:
        """The name of each graph, the graph, and the names of its input and output."""
        return [
            ("encoder", self.encoder, SAMPLES, INDICES),
            ("decoder", self.decoder, INDICES, SAMPLES),
        ]


def export_programs(model: VQModel, shape: tuple[int, ...]) -> Programs:
    """Trace a model on the CPU in eval mode, for samples of a shape."""
    batch = Dim("batch")
    samples = torch.zeros(TRACED, *shape)
    indices = torch.zeros(TRACED, *model.index_shape, dtype=torch.int64)

    def traced(module: nn.Module, example: Tensor) -> ExportedProgram:
        with torch.no_grad():
            return torch.export.export(module, (example,), dynamic_shapes=({0: batch},))

    return Programs(traced(_Encoder(model), samples), traced(_Decoder(model), indices))


#: A graph made runnable: a tensor in, a tensor out.
Runner = Callable[[Tensor], Tensor]
