"""vq: the command line and the training pipeline of vqcore."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vq.hub.load import from_pretrained

__all__ = ["from_pretrained"]


def __getattr__(name: str) -> Any:
    if name != "from_pretrained":
        raise AttributeError(f"module 'vq' has no attribute {name!r}")
    from vq.hub.load import from_pretrained  # imports torch: not at the start of every command

    return from_pretrained
