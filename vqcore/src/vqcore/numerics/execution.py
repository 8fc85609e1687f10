"""How a call runs: in an export, in the capture of a CUDA graph, or again in a backward pass."""

from __future__ import annotations

import torch

#: Whether dynamo reads ``is_exporting`` as it is; before, it took it for true in any case.
_TELLS_EXPORTS = torch.__version__ >= "2.12"


def is_exporting() -> bool:
    """Whether ``torch.export`` traces this call. Under ``torch.compile`` it is False.

    Before torch 2.12 a strict export cannot be told from a compilation, and counts as one.
    """
    told_apart = _TELLS_EXPORTS or not torch.compiler.is_dynamo_compiling()
    return torch.compiler.is_exporting() and told_apart


def is_capturing() -> bool:
    """Whether a CUDA graph records now what is launched: the host reads no value then."""
    return torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing()


def is_recomputing() -> bool:
    """Whether activation checkpointing repeats this forward: it runs inside a backward pass."""
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() >= 0
