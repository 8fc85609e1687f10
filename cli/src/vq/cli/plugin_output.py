"""Keeps what plugins print while they load out of what the command prints."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def stdout_on_stderr() -> Iterator[None]:
    """Inside, what goes to stdout goes to stderr, from C too: JSON and completion stay whole."""
    sys.stdout.flush()
    output = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(output, 1)
        os.close(output)
