"""Whose code an exception is from: the line in it that a plugin's author can change."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable

from vqcore.errors import describe_error

#: Packages whose lines do not say where a mistake is.
_OURS = {"vqcore", "vq"}
_NOT_THEIRS = {"torch", *_OURS, *sys.stdlib_module_names}


def described(error: BaseException) -> str:
    """An error in a line, with its place unless it says that itself."""
    place = "" if isinstance(error, SyntaxError) else place_of(error)
    return f"{describe_error(error)}{place}"


def place_of(error: BaseException) -> str:
    """The innermost line of an error outside of torch and of ours, in brackets; or nothing."""
    place = _innermost(error, lambda package: package not in _NOT_THEIRS)
    return f" ({place})" if place else ""


def place_in_plugin(error: BaseException) -> str:
    """The innermost line of an error that is a plugin's, as ``module:line``; or nothing."""
    modules = list(sys.modules.items())
    plugins = {name for name, module in modules if "VQ_API" in getattr(module, "__dict__", ())}
    packages = {name.partition(".")[0] for name in plugins} - _OURS
    return _innermost(error, packages.__contains__)


def _innermost(error: BaseException, is_meant: Callable[[str], bool]) -> str:
    """The innermost line, as ``module:line``, of the packages that are meant."""
    frames = traceback.walk_tb(error.__traceback__)
    places = [(frame.f_globals.get("__name__", ""), line) for frame, line in frames]
    meant = [place for place in places if is_meant(place[0].partition(".")[0])]
    return "{}:{}".format(*meant[-1]) if meant else ""
