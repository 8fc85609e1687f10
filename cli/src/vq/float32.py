"""What float32 means on a GPU: float32 itself, or TF32, for as long as a run lasts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.backends import cuda, cudnn, mkldnn


@contextmanager
def float32_products(device: torch.device, precision: str) -> Iterator[None]:
    """Inside, products and convolutions of float32 tensors on a GPU are what ``precision`` says.

    That is TF32 (10 bits of mantissa) for ``tf32``, else float32. By default torch takes TF32 for
    convolutions and float32 for products. The settings before are restored afterwards. torch has
    an older and a newer set of them, and raises where it reads one that contradicts the other:
    both are set here.
    """
    if device.type != "cuda":
        yield
        return
    newer: list[Any] = [cuda.matmul, cudnn.conv, cudnn.rnn]  # type: ignore[attr-defined]
    kept = [(each, each.fp32_precision) for each in (*newer, mkldnn.matmul)]  # type: ignore[attr-defined]
    products = _readable(torch.get_float32_matmul_precision)
    convolutions = _readable(lambda: cudnn.allow_tf32)
    short = precision == "tf32"
    torch.set_float32_matmul_precision("high" if short else "highest")
    cudnn.allow_tf32 = short
    for each in newer:
        each.fp32_precision = "tf32" if short else "ieee"
    try:
        yield
    finally:
        if products is not None:
            torch.set_float32_matmul_precision(products)
        if convolutions is not None:
            cudnn.allow_tf32 = convolutions
        for each, value in kept:
            each.fp32_precision = value


def _readable(read: Callable[[], Any]) -> Any:
    """An older setting; None where it contradicts a newer one."""
    try:
        return read()
    except RuntimeError:
        return None
