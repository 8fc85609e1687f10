"""Indices of any integer type, from tensors, arrays and lists, as int64."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor, nn

from vqcore.errors import SettingError, shown


class Array(Protocol):
    """The part of a NumPy array that is needed; vqcore does not depend on NumPy."""

    dtype: Any

    def astype(self, dtype: Any, *, order: Any) -> Any:
        """A copy of another type."""


Indices: TypeAlias = Tensor | Array | Sequence[Any] | int

_INTEGERS = {
    torch.uint8, torch.uint16, torch.uint32, torch.uint64,
    torch.int8, torch.int16, torch.int32, torch.int64,
}  # fmt: skip
_EXPECTED = "whole numbers, such as int64"


def as_indices(given: Indices, owner: nn.Module) -> Tensor:
    """Indices as an int64 tensor.

    A tensor stays on its device. A NumPy array, a list or a number goes to the device of ``owner``,
    which decodes it.

    Raises:
        SettingError: if they are not whole numbers.
    """
    indices = given if isinstance(given, Tensor) else _tensor(given, owner)
    if indices.dtype not in _INTEGERS:
        raise SettingError("indices", str(indices.dtype), _EXPECTED)
    whole = indices.long()
    if indices.dtype == torch.uint64:  # beyond int64: out of every range, and never the -1 of masks
        whole = torch.where(whole < 0, torch.iinfo(torch.int64).max, whole)
    return whole


def _tensor(given: Any, owner: nn.Module) -> Tensor:
    kind = getattr(getattr(given, "dtype", None), "kind", None)
    if kind is not None and kind not in "iu":
        raise SettingError("indices", str(given.dtype), _EXPECTED)
    plain: Any = given
    if kind is not None:
        # A copy in the machine's byte order: torch reads no other, and warns of a read-only array.
        plain = given.astype(f"{kind}8", order="C") if given.ndim else int(given)
    device = next((each.device for each in chain(owner.parameters(), owner.buffers())), None)
    try:
        return torch.as_tensor(plain, device=device)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise SettingError("indices", shown(given, 60), f"{_EXPECTED} ({error})") from error
