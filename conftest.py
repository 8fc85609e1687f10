"""What every test shares. One thread: two on a machine that is busy elsewhere run many times slower than one."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import vqcore  # noqa: F401 - the package, before pytest takes the folder of the same name for it


@pytest.fixture
def forgotten_modules(tmp_path: Path) -> Iterator[None]:
    """After the test, modules that were imported from its folder are as if they had never been."""
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None)
        if file and Path(file).is_relative_to(tmp_path):
            del sys.modules[name]
