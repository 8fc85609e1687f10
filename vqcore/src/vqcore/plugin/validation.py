"""Validation of options, error messages that carry the whole key path, and types in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin

from vqcore.errors import UsageError, did_you_mean, shortened, shown, shown_key
from vqcore.plugin.component_choice import (
    EXPECTED,
    in_order,
    inner_kinds,
    named,
    numbered,
    split_choice,
)
from vqcore.plugin.idle_options import idle_options, idle_sentences

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

__all__ = [
    "idle_options", "idle_sentences", "in_order", "inner_kinds", "named", "numbered",
    "split_choice", "type_in_words", "validate",
]  # fmt: skip
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
        expected = EXPECTED
    field = model.model_fields.get(str(location[0]))
    default = f" (default {shown(field.default)})" if field and not field.is_required() else ""
    return f"{key} = {shown(problem['input'])}: expected {expected}{default}"


def _meaning(model: type[BaseModel], location: Sequence[str | int]) -> str:
    """What a missing option is, after a colon; nothing of one that lies deeper."""
    from vqcore.plugin.component_config import descriptions

    text = descriptions(model).get(str(location[0]), "") if len(location) == 1 else ""
    text = " ".join(text.split()).removesuffix(".")
    return f": {text[:1].lower()}{text[1:]}" if text else ""


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
