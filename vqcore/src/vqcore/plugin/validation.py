"""Validation of options, error messages that carry the whole key path, and types in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin

from vqcore.errors import UsageError, did_you_mean, shortened, shown, shown_key

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

    from vqcore.plugin.component_config import ComponentRef, OfKind

_CHOICE = "the name of a component, or a mapping of name and options"
#: What a setting in words has to be, by the type of pydantic's problem.
_PLAINER = {"bool_parsing": "true or false", "bool_type": "true or false"}
#: Problems that one message names.
_MOST_PROBLEMS = 10
_LIMITS = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}


def validate(
    model: Any, values: Mapping[str, Any], path: str, hint: Callable[[str], str] | None = None
) -> Any:
    """Validate plain values against a pydantic model.

    ``hint`` answers an unknown key; by default with the most similar option.

    Raises:
        UsageError: one line for each problem: whole key path, value, what was expected.
    """
    from pydantic import ValidationError

    try:
        options = model.model_validate(dict(values))
    except ValidationError as error:
        problems = error.errors(include_url=False)
        lines = [_explain(model, problem, path, hint) for problem in problems[:_MOST_PROBLEMS]]
        if len(problems) > _MOST_PROBLEMS:
            lines.append(f"... and {len(problems) - _MOST_PROBLEMS} more")
        raise UsageError("\n".join(lines)) from error
    for key, value in values.items():
        if isinstance(value, bool) and _is_number(model.model_fields.get(key)):
            where = f"{path}.{key}" if path else key
            raise UsageError(f"{where} = {shown(value)}: expected a number, not a truth value")
    return options


def _is_number(field: FieldInfo | None) -> bool:
    """Whether an option takes numbers alone. Pydantic reads a truth value as 0 or 1 there."""
    types = _types(field.annotation) if field else set()
    return bool(types & {int, float}) and bool not in types


def _types(annotation: Any) -> set[Any]:
    """The members of a union, without what ``Annotated`` adds to them."""
    if get_origin(annotation) is Annotated:
        return _types(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return set().union(*map(_types, get_args(annotation)))
    return {annotation}


def _explain(
    model: type[BaseModel], problem: Mapping[str, Any], path: str, hint: Callable[[str], str] | None
) -> str:
    """One of pydantic's problems as a line that a user can act on."""
    location = problem["loc"]
    key = shown_key(".".join(str(part) for part in ([path] if path else []) + list(location)))
    if problem["type"] == "extra_forbidden":
        known = list(model.model_fields)
        hint = hint or partial(did_you_mean, known=known)
        guess = hint(str(location[-1])) if len(location) == 1 else ""
        return f"{key}: unknown setting; {guess or 'expected one of ' + ', '.join(known)}"
    if problem["type"] == "invalid_key":
        owner = key.rpartition(".")[0]
        where = f"{owner}: " if owner else ""
        return f"{where}expected names as keys, found {shown(problem['input'])}"
    if problem["type"] == "missing":
        return f"{key}: this setting is required{_meaning(model, location)}"
    expected = problem["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    expected = _PLAINER.get(problem["type"], expected)
    if problem["type"].startswith(("greater_than", "less_than")):
        words, _, limit = expected.rpartition(" ")  # pydantic writes 1e30 with all its zeros
        expected = f"{words} {_short(float(limit)) if len(limit) > 10 else limit}"
    expected = shortened(expected, 500)
    if not location:  # from a validator of the whole model
        return f"{key}: expected {expected}"
    if key in inner_kinds(model):
        expected = _CHOICE
    field = model.model_fields.get(str(location[0]))
    default = f" (default {shown(field.default)})" if field and not field.is_required() else ""
    return f"{key} = {shown(problem['input'])}: expected {expected}{default}"


def _meaning(model: type[BaseModel], location: Sequence[str | int]) -> str:
    """What a missing option is, after a colon; nothing of one that lies deeper."""
    from vqcore.plugin.component_config import descriptions

    text = descriptions(model).get(str(location[0]), "") if len(location) == 1 else ""
    text = " ".join(text.split()).removesuffix(".")
    return f": {text[:1].lower()}{text[1:]}" if text else ""


def idle_options(options: BaseModel) -> Iterator[tuple[str, str]]:
    """The options that are set but cannot act, and with what they cannot, as ``option = value``."""
    for name, field in type(options).model_fields.items():
        if _chosen(getattr(options, name)) != _chosen(field.get_default(call_default_factory=True)):
            hindrances = _hindrances(options, name)
            if hindrances:
                yield name, " and ".join(hindrances)


def idle_sentences(options: BaseModel, path: str) -> Iterator[str]:
    """A sentence about each option at this key path that is set but cannot act."""
    for name, hindrance in idle_options(options):
        value = shown(getattr(options, name))
        yield f"{path}.{name} = {value}: has no effect with {hindrance}"


def _hindrances(options: BaseModel, name: str) -> list[str]:
    """Why an option cannot act, empty if it can. One that depends on an idle one is idle too."""
    from vqcore.plugin.component_config import ActsIf

    found = []
    for mark in type(options).model_fields[name].metadata:
        if isinstance(mark, ActsIf):
            value = getattr(options, mark.option)
            beyond = _hindrances(options, mark.option)
            if mark.allows(value) and not beyond:
                return []
            found += beyond or [f"{mark.option} = {shown(value)}"]
    return list(dict.fromkeys(found))


def _chosen(value: Any) -> Any:
    """A value to compare with a default: of a component, its name alone."""
    from vqcore.plugin.component_config import ComponentRef

    return value.name.rpartition("/")[2] if isinstance(value, ComponentRef) else value


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


def numbered(several: Any, default: Sequence[ComponentRef] | None, path: str) -> dict[str, Any]:
    """Choices in an order by their places, ``{"0": ..., "1": ...}``.

    A mapping with some of the places extends the default, as in ``manifold.factors.1.curvature``.

    Raises:
        UsageError: if it is no list of at least one, or a mapping with another key.
    """
    from vqcore.plugin.component_config import items

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
        raise UsageError(f"{path} = {shown(choice)}: expected {_CHOICE}")
    options = dict(choice)
    name = options.pop("name", None)
    if not isinstance(name, str):
        raise UsageError(f"{path}.name = {shown(name)}: expected the name of a component")
    return name, options


def type_in_words(schema: Mapping[str, Any]) -> str:
    """A JSON schema in a few words: ``number >= 0``, ``a | b``, ``list of string``."""
    if "enum" in schema:
        return " | ".join(str(value) for value in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(type_in_words(each) for each in schema["anyOf"])
    if "$ref" in schema or "allOf" in schema:
        return "component"
    name = str(schema.get("type", schema.get("const", "any")))
    if name == "array":
        return f"list of {type_in_words(schema['items'])}" if "items" in schema else "list"
    if name == "object":
        return "mapping"
    limits = [f"{sign} {_short(schema[key])}" for key, sign in _LIMITS.items() if key in schema]
    return f"{name} {', '.join(limits)}".strip()


def _short(limit: float) -> str:
    """A limit as in ``0.5``, ``65536``, ``1e9``, never rounded."""
    mantissa, e, exponent = f"{limit:g}".partition("e")
    text = f"{mantissa}e{int(exponent)}" if e else mantissa
    return text if float(text) == limit else str(limit)
