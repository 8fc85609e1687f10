"""The pytest fixture ``train_tiny``, for ``pytest_plugins = ["vq.testing"]``."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from vq.runs.trained_run import TrainedRun


@pytest.fixture
def train_tiny(tmp_path: Path) -> Callable[..., TrainedRun]:
    """``vq.testing.tiny_run`` in a new folder of the test for each call.

    Its arguments are those of ``tiny_run`` but ``folder``.
    """
    numbers = count(1)

    def start(settings: Any = None, **options: Any) -> TrainedRun:
        from vq.testing.tiny import tiny_run

        return tiny_run(tmp_path / f"run-{next(numbers)}", settings, **options)

    return start
