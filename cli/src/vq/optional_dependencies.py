"""Packages that only some features need, and the extras of vq-cli that install them."""

from __future__ import annotations

from importlib.util import find_spec

from vqcore.errors import UsageError


def require(extra: str, wanted_by: str, *modules: str) -> None:
    """Refuse to continue without the modules of an extra of vq-cli.

    Raises:
        UsageError: naming the missing modules and how to install them.
    """
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise UsageError(f"{wanted_by} needs {', '.join(missing)}: pip install 'vq-cli[{extra}]'")
