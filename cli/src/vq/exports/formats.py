"""Graphs as files: torch's .pt2, and ONNX."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor
from torch.export import ExportedProgram

from vq.exports.programs import Runner
from vq.optional_dependencies import require


def save_pt2(program: ExportedProgram, path: Path, given: str, made: str) -> Runner:
    """Write a program for ``torch.export.load``; returns the program as loaded from the file."""
    torch.export.save(program, path)
    return torch.export.load(path).module()


def save_onnx(program: ExportedProgram, path: Path, given: str, made: str) -> Runner:
    """Write a graph with named input and output; returns the file as ONNX Runtime runs it."""
    import onnxruntime

    with _quiet():
        graph = torch.onnx.export(
            program,
            dynamo=True,
            verbose=False,
            input_names=[given],
            output_names=[made],
            dynamic_shapes=({0: "batch"},),
        )
        assert graph is not None  # None is for the older exporter
        graph.save(path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def run(x: Tensor) -> Tensor:
        return torch.from_numpy(session.run([made], {given: x.numpy()})[0])

    return run


#: Each format by its name, which is also the suffix of the files.
FORMATS: Mapping[str, Callable[[ExportedProgram, Path, str, str], Runner]] = {
    "pt2": save_pt2,
    "onnx": save_onnx,
}


def require_format(file_format: str) -> None:
    """Check that a format can be written here.

    Raises:
        UsageError: if its extra is not installed.
    """
    if file_format == "onnx":
        require("onnx", "--format onnx", "onnx", "onnxscript", "onnxruntime")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's progress and its warnings about operators that are not used."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
