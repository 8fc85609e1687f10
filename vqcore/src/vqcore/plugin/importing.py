"""Imports what a plugin's declarations name: classes, options models, modules that they need."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

from vqcore.errors import ComponentError
from vqcore.plugin.blame import described
from vqcore.plugin.component import ComponentSpec

if TYPE_CHECKING:
    from vqcore.plugin.component_config import ComponentConfig


def absent_modules(spec: ComponentSpec) -> list[str]:
    """The modules in ``needs`` of a component that are not there."""
    return [module for module in spec.needs if not _is_there(module)]


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except Exception:  # a parent that is missing, is not a package, or cannot be imported
        return False


def options_model(kind: str, name: str, location: str) -> type[ComponentConfig]:
    """The model of a component's options, imported."""
    from vqcore.plugin.component_config import ComponentConfig

    model = load(location, kind, name)
    if not (isinstance(model, type) and issubclass(model, ComponentConfig)):
        text = f"{location} is not a vqcore.ComponentConfig"
        raise ComponentError(f"{kind} {name!r} is broken: {text}")
    return model


def load(location: str, kind: str, name: str) -> Any:
    """The object at ``module:attribute``, imported for a component.

    Raises:
        ComponentError: if it cannot be imported.
    """
    module, _, attribute = location.partition(":")
    try:
        with redirect_stdout(sys.stderr):  # stdout is the command's
            return getattr(importlib.import_module(module), attribute)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # also SystemExit: a plugin must not end the program
        text = f"{location} cannot be imported: {described(error)}"
        raise ComponentError(f"{kind} {name!r} is broken: {text}") from error
