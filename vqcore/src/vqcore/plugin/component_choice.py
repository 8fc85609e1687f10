"""How settings choose components: by a name, or a mapping of name and options, one or several."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vqcore.errors import UsageError, shown, shown_key

if TYPE_CHECKING:
    from pydantic import BaseModel

    from vqcore.plugin.component_config import ComponentRef, OfKind

#: What a choice has to be, in words.
EXPECTED = "the name of a component, or a mapping of name and options"
#: A size that is given with a name; 2.0 is valid, too.
_SIZE = re.compile(r"0*[1-9][0-9]*(\.0*)?")


def inner_kinds(model: type[BaseModel], *, many: bool = False) -> dict[str, str]:
    """The fields of an options model that choose another component, with the kind of each.

    With ``many``, those that choose several.
    """
    return {name: mark.kind for name, mark in _marks(model).items() if mark.many == many}


def in_order(model: type[BaseModel]) -> list[str]:
    """The fields of an options model that choose several components in an order."""
    return [name for name, mark in _marks(model).items() if mark.in_order]


def _marks(model: type[BaseModel]) -> dict[str, OfKind]:
    from vqcore.plugin.component_config import OfKind

    return {
        name: mark
        for name, info in model.model_fields.items()
        for mark in info.metadata
        if isinstance(mark, OfKind)
    }


def sizes_apart(model: type[BaseModel], options: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Options in which sizes given with names, as in ``poincare:8``, are in the option for them.

    Raises:
        UsageError: if only some components have a size, or that option says otherwise.
    """
    from vqcore.plugin.component_config import items

    found = dict(options)
    for key, option in _options_of_sizes(model).items():
        choices = numbered(options.get(key), _default(model, key), f"{path}.{key}").values()
        names, sizes = zip(*map(_choice_and_size, choices), strict=True)
        if all(size is None for size in sizes):
            continue
        for place, (choice, size) in enumerate(zip(names, sizes, strict=True)):
            if not size:
                text = "no size: expected one of each or of none, as in a:8,b:4"
                raise UsageError(f"{path}.{key}.{place} = {_described(choice)}: {text}")
            if not _SIZE.fullmatch(size):
                name = choice["name"] if isinstance(choice, Mapping) else choice
                text = f"expected a whole number above 0 after the colon, as in {name}:8"
                raise UsageError(f"{path}.{key}.{place} = {shown(f'{name}:{size}')}: {text}")
        given = found.get(option)
        several = items(given) if isinstance(given, str | list | tuple) else [given]
        if given is not None and tuple(map(_size_in_text, several)) != sizes:
            text = f"expected {','.join(sizes)}, as {path}.{key} says"
            raise UsageError(
                f"{path}.{option} = {shown(given)}: {text}; set one of them, the other null"
            )
        found |= {key: list(names), option: list(sizes)}
    return found


def _options_of_sizes(model: type[BaseModel]) -> dict[str, str]:
    """The fields of components that may have a size, and the options that hold these."""
    from vqcore.plugin.component_config import SizesIn

    fields = model.model_fields.items()
    marks = ((name, mark) for name, info in fields for mark in info.metadata)
    return {name: mark.option for name, mark in marks if isinstance(mark, SizesIn)}


def _choice_and_size(choice: Any) -> tuple[Any, str | None]:
    """A choice without the size that is given with its name, and that size."""
    name = choice.get("name") if isinstance(choice, Mapping) else choice
    if not isinstance(name, str) or ":" not in name:
        return choice, None
    name, _, size = map(str.strip, name.partition(":"))
    return ({**choice, "name": name} if isinstance(choice, Mapping) else name), size


def _size_in_text(size: Any) -> str:
    """A size as it is written with a name: 2 for 2.0, which is valid, too."""
    return str(int(size) if isinstance(size, float) and size.is_integer() else size)


def inner_choices(
    model: type[BaseModel], options: Mapping[str, Any], path: str
) -> Iterator[tuple[str, str, Any]]:
    """The inner components that options choose: key, kind and choice of each.

    The key is the option; of an option that chooses several, ``option.name`` or ``option.place``.

    Raises:
        UsageError: if a choice that has no default is missing, or several are not as they should.
    """
    for option, kind in inner_kinds(model).items():
        choice = named(options.get(option), _default(model, option))
        if choice is None:
            raise UsageError(f"{path}.{option}: this setting is required")
        yield option, kind, choice
    for option, kind in inner_kinds(model, many=True).items():
        several = options.get(option)
        if option in in_order(model):
            several = numbered(several, _default(model, option), f"{path}.{option}")
        for name, choice in several.items() if isinstance(several, Mapping) else ():
            yield f"{option}.{name}", kind, choice


def _default(model: type[BaseModel], option: str) -> Any:
    info = model.model_fields[option]
    return None if info.is_required() else info.get_default(call_default_factory=True)


def numbered(several: Any, default: Sequence[ComponentRef] | None, path: str) -> dict[str, Any]:
    """Choices in an order by their places, ``{"0": ..., "1": ...}``.

    A mapping with some of the places extends the default, as in ``manifold.factors.1.curvature``.

    Raises:
        UsageError: if it is no list of at least one, or a mapping with another key.
    """
    from vqcore.plugin.component_config import items

    if isinstance(several, str) and "," not in several:
        text = f"expected several components, as in a,b; for one alone write '[{several}]'"
        fix = "in a sweep, brackets stand around each list"
        raise UsageError(f"{path} = {shown(several)}: {text}; {fix}")
    chosen = items(default or () if several is None or isinstance(several, Mapping) else several)
    if not isinstance(chosen, list | tuple) or not chosen:
        raise UsageError(f"{path} = {shown(chosen)}: expected a list of components, as in a,b")
    found = {str(place): choice for place, choice in enumerate(chosen)}
    for key, choice in several.items() if isinstance(several, Mapping) else ():
        place = str(key)  # YAML reads it as a number
        if place not in found:
            text = f"no such place: expected 0 to {len(found) - 1}"
            raise UsageError(f"{path}.{shown_key(place)}: {text}, or a list")
        found[place] = named(choice, found[place])
    return found


def named(choice: Any, default: str | ComponentRef | None) -> Any:
    """A component choice; options without a name extend those of the default."""
    if choice is None:
        return default
    if default is None or not isinstance(choice, Mapping) or "name" in choice:
        return choice
    name, options = split_choice(default, "default")
    return {"name": name, **options, **choice}


def is_module(choice: Any) -> bool:
    """Whether it is a ``torch.nn.Module``, found without importing torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(choice, torch.nn.Module)


def _described(choice: Any) -> str:
    """A choice as messages name it."""
    return shown(type(choice).__name__ if is_module(choice) else getattr(choice, "name", choice))


def split_choice(choice: Any, path: str) -> tuple[str, dict[str, Any]]:
    """The name and the options of a choice.

    Raises:
        UsageError: if it is neither a name nor a mapping with one.
    """
    from vqcore.plugin.component_config import ComponentRef

    if isinstance(choice, str):
        return choice, {}
    if isinstance(choice, ComponentRef):
        return choice.name, choice.options
    if not isinstance(choice, Mapping):
        raise UsageError(f"{path} = {_described(choice)}: expected {EXPECTED}")
    options = dict(choice)
    name = options.pop("name", None)
    if not isinstance(name, str):
        raise UsageError(f"{path}.name = {shown(name)}: expected the name of a component")
    return name, options
