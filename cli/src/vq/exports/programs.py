"""Encoder and decoder as graphs of plain operators, for any number of samples (torch.export)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from vq.models.autoencoder import VQModel

#: Samples that graphs are traced with; torch.export would treat 0 or 1 as a constant.
TRACED = 2
#: Names of the graphs' inputs and outputs.
SAMPLES, INDICES = "samples", "indices"


class _Half(nn.Module):
    def __init__(self, model: VQModel) -> None:
        super().__init__()
        self.model = model


class _Encoder(_Half):
    def forward(self, samples: Tensor) -> Tensor:
        return self.model.encode(samples)


class _Decoder(_Half):
    def forward(self, indices: Tensor) -> Tensor:
        return self.model.decode(indices).float()


class Graph(NamedTuple):
    """A traced graph, its name, and the names of its input and output."""

    name: str
    program: ExportedProgram
    given: str
    made: str


def export_programs(model: VQModel, shape: tuple[int, ...]) -> list[Graph]:
    """Trace a model on the CPU in eval mode, for samples of a shape.

    Returns:
        The encoder, from samples (B, *shape), float32, to indices (B, *index_shape), int64; and the
        decoder, from indices to samples in the data's range, float32. What is between is of the
        model's type. The decoder does not refuse indices out of range: -1 is a masked token, whose
        vector is zero, and any other gives NaN.
    """
    batch = Dim("batch")
    samples = torch.zeros(TRACED, *shape)
    indices = torch.zeros(TRACED, *model.index_shape, dtype=torch.int64)

    def traced(module: nn.Module, example: Tensor) -> ExportedProgram:
        with torch.no_grad():
            return torch.export.export(module, (example,), dynamic_shapes=({0: batch},))

    return [
        Graph("encoder", traced(_Encoder(model), samples), SAMPLES, INDICES),
        Graph("decoder", traced(_Decoder(model), indices), INDICES, SAMPLES),
    ]


#: A runnable graph.
Runner = Callable[[Tensor], Tensor]
