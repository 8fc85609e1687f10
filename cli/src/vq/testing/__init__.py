"""For the tests of plugins: tiny runs with their hooks, and what must hold for these.

    pytest_plugins = ["vq.testing"]  # in conftest.py, for the fixture ``train_tiny``

    def test_notes_are_written(train_tiny):
        run = train_tiny(plugins=["my_package.plugin"], steps=4)
        assert (run.folder.path / "plugins" / "my-package" / "notes.txt").exists()

Without pytest, ``tiny_run`` is the same in a folder of yours. What must hold for components is in
``vqcore.testing``.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vq.testing.commands import run_command
    from vq.testing.hooks import HooksConformance
    from vq.testing.tiny import tiny_run

if find_spec("pytest") is not None:  # which looks for fixtures here
    from vq.testing.fixtures import train_tiny

#: Imported when they are asked for: pytest starts without torch.
_HOME = {"HooksConformance": "hooks", "run_command": "commands", "tiny_run": "tiny"}

__all__ = ["HooksConformance", "run_command", "tiny_run", "train_tiny"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
