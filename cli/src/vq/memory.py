"""Too little memory, in words."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from vqcore.errors import RunError

#: How torch, its allocators and the dynamic linker say it.
_SAID = ("not enough memory", "out of memory", "allocate memory", "failed to map segment")


@contextmanager
def memory_in_words() -> Iterator[None]:
    """Inside, an exception that means too little memory becomes one for a user.

    Raises:
        RunError: with the first line of the cause, which often says how much was asked for.
    """
    try:
        yield
    except (MemoryError, RuntimeError, OSError, ImportError) as error:
        if not _means_memory(error):
            raise
        first = next(iter(str(error).splitlines()), "") or type(error).__name__
        fix = "a smaller batch, model or codebook needs less"
        raise RunError(f"there is not enough memory: {first}; {fix}") from error


def _means_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    return any(words in str(error).lower() for words in _SAID)
