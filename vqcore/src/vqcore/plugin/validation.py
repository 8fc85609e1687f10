"""Validation of options, error messages that carry the whole key path, and types in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vqcore.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from pydantic import BaseModel

    from vqcore.plugin.component_config import ComponentRef

_CHOICE = "the name of a component, or a mapping of name and options"
_LIMITS = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}


def validate(model: Any, values: Mapping[str, Any], path: str) -> Any:
    """Validate plain values against a pydantic model.

    Raises:
        UsageError: one line for each problem: whole key path, value, what was expected.
    """
    from pydantic import ValidationError

    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        lines = [_explain(model, problem, path) for problem in error.errors(include_url=False)]
        raise UsageError("\n".join(lines)) from error


def _explain(model: type[BaseModel], problem: Mapping[str, Any], path: str) -> str:
    """One of pydantic's problems as a line that a user can act on."""
    location = problem["loc"]
    key = ".".join(str(part) for part in ([path] if path else []) + list(location))
    if problem["type"] == "extra_forbidden":
        known = list(model.model_fields)
        guess = did_you_mean(str(location[-1]), known) if len(location) == 1 else ""
        return f"{key}: unknown setting; {guess or 'expected one of ' + ', '.join(known)}"
    if problem["type"] == "missing":
        return f"{key}: this setting is required"
    expected = problem["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if key in inner_kinds(model):
        expected = _CHOICE
    field = model.model_fields.get(str(location[0])) if location else None
    default = f" (default {field.default!r})" if field and not field.is_required() else ""
    return f"{key} = {problem['input']!r}: expected {expected}{default}"


def inner_kinds(model: type[BaseModel]) -> dict[str, str]:
    """The fields of an options model that choose another component, with the kind of each."""
    from vqcore.plugin.component_config import OfKind

    return {
        name: mark.kind
        for name, info in model.model_fields.items()
        for mark in info.metadata
        if isinstance(mark, OfKind)
    }


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
        raise UsageError(f"{path} = {choice!r}: expected {_CHOICE}")
    options = dict(choice)
    name = options.pop("name", None)
    if not isinstance(name, str):
        raise UsageError(f"{path}.name = {name!r}: expected the name of a component")
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
    limits = ", ".join(f"{sign} {schema[key]}" for key, sign in _LIMITS.items() if key in schema)
    return f"{name} {limits}".strip()
