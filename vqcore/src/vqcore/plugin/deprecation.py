"""Names that changed: the old one works for a while, with a warning that says what to write.

    class EmaConfig(ComponentConfig):
        decay: Annotated[Decay, FormerName("ema_decay", gone_in="0.4")] = 0.99

    ComponentSpec(name="ema", former_names=(FormerName("moving-average", gone_in="0.4"),), ...)

    __getattr__ = former_attributes(__name__, {"EMA": ("Ema", "0.4")})

    @deprecated("source.tree.distance", gone_in="0.4")
    def tree_distance(self, a, b): ...

Python shows a ``FutureWarning`` to everybody and a ``DeprecationWarning`` in tests and in the code
that is run as the program (PEP 565). So what users write warns as ``VQFutureWarning``, and what
code calls as ``VQDeprecationWarning``.
"""

from __future__ import annotations

import functools
import importlib
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from vqcore.errors import UsageError, shown_key

if TYPE_CHECKING:
    from pydantic import BaseModel

_P = ParamSpec("_P")
_R = TypeVar("_R")


class VQFutureWarning(FutureWarning):
    """A user wrote a name that a later version will not know: an option, a component."""


class VQDeprecationWarning(DeprecationWarning):
    """Code uses what a later version will not have; its author should change it."""


@dataclass(frozen=True)
class FormerName:
    """What an option or a component was called before.

    Of an option it marks the field, as in ``Annotated[Decay, FormerName("ema_decay", "0.4")]``.
    Configs of recorded runs are read without a warning: nobody can change those.

    Attributes:
        name: the former name.
        gone_in: the version of the package that will not know it any more.
    """

    name: str
    gone_in: str


def with_new_names(
    model: type[BaseModel], options: Mapping[str, Any], path: str, *, warn: bool = True
) -> dict[str, Any]:
    """Options given for a model, those with a former name under the name that they have now.

    Raises:
        UsageError: if an option is given under both names, with different values.
    """
    found, place = dict(options), f"{path}." if path else ""
    for name, field in model.model_fields.items():
        for former in (mark for mark in field.metadata if isinstance(mark, FormerName)):
            if former.name not in found:
                continue
            value = found.pop(former.name)
            if found.setdefault(name, value) != value:
                text = f"a former name of {name}, which is given, too: leave it out"
                raise UsageError(f"{shown_key(f'{place}{former.name}')}: {text}")
            if warn:
                warn_of_former_name(f"{place}{former.name}", f"{place}{name}", former.gone_in)
    return found


def warn_of_former_name(old: str, new: str, gone_in: str) -> None:
    """Warn a user of a name that has changed."""
    warnings.warn(_text(old, new, gone_in), VQFutureWarning, stacklevel=3)


def deprecated(new: str, *, gone_in: str) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """A decorator of a function or method that is to be replaced by ``new``.

    Args:
        new: what to call instead.
        gone_in: the version that will not have it any more.
    """

    def decorate(function: Callable[_P, _R]) -> Callable[_P, _R]:
        @functools.wraps(function)
        def warning(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            text = _text(function.__qualname__, new, gone_in)
            warnings.warn(text, VQDeprecationWarning, stacklevel=2)
            return function(*args, **kwargs)

        return warning

    return decorate


def former_attributes(module: str, names: Mapping[str, tuple[str, str]]) -> Callable[[str], Any]:
    """A module's ``__getattr__`` for attributes that have another name, or another place, now.

    Args:
        module: its ``__name__``.
        names: by former name, the new one and the version that will not have the former. The new
            one is an attribute of the module, or ``package.module:Name`` elsewhere.
    """

    def get(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        new, gone_in = names[name]
        place, _, attribute = new.rpartition(":")
        place = place or module
        text = _text(f"{module}.{name}", f"{place}.{attribute}", gone_in)
        warnings.warn(text, VQDeprecationWarning, stacklevel=2)
        return getattr(importlib.import_module(place), attribute)

    return get


def _text(old: str, new: str, gone_in: str) -> str:
    return f"{old} is called {new} now; the former name goes in version {gone_in}"
