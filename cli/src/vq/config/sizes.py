"""Sizes of networks by name: those of published models where there are such. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

SizeName: TypeAlias = Literal["tiny", "small", "base", "large"]

#: By backbone, the options that ``size`` sets, and their values at each size.
_SIZES: Mapping[str, tuple[tuple[str, ...], Mapping[str, tuple[int, ...]]]] = {
    "conv": (
        ("hidden", "residual_blocks", "residual_hidden"),
        {
            "tiny": (32, 2, 32),
            "small": (64, 2, 32),
            "base": (128, 2, 32),  # the example of DeepMind's Sonnet
            "large": (256, 2, 256),  # VQ-VAE, section 4.1
        },
    ),
    "resnet": (
        ("channels", "blocks"),
        {
            "tiny": (32, 1),
            "small": (64, 2),
            "base": (128, 2),  # VQGAN, LlamaGen
            "large": (128, 4),  # Open-MAGVIT2
        },
    ),
    "vit": (
        ("width", "depth", "heads"),
        {
            "tiny": (192, 12, 3),  # DeiT
            "small": (512, 8, 8),  # this and the larger ones: TiTok
            "base": (768, 12, 12),
            "large": (1024, 24, 16),
        },
    ),
}
#: The options that some size sets.
SIZED = frozenset(name for options, _ in _SIZES.values() for name in options)


def with_size(backbone: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in the options that a backbone's ``size`` sets; given ones win."""
    options, sizes = _SIZES[backbone]
    chosen = sizes.get(str(values.get("size")))
    return {**dict(zip(options, chosen, strict=True)), **values} if chosen else dict(values)
