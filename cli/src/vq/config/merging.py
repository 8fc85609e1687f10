"""Laying settings over one another, and building them from key paths. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from vq.config.run_config import RunConfig
from vqcore.errors import UsageError, did_you_mean
from vqcore.plugin.component import KINDS


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``over`` laid over ``base``, key by key.

    Choosing another component drops the options of the previous one. Options without a name belong
    to the default component.
    """
    merged = dict(base)
    for key, value in over.items():
        merged[key] = _merged_value(key, merged.get(key), value)
    return merged


def assign(settings: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Nested values from key paths, as in ``[("quantizer.inner.name", "ema")]``; later ones win.

    The order of a component's name and its options does not matter.

    Raises:
        UsageError: if a key path starts with an unknown setting.
    """
    nested: dict[str, Any] = {}
    for path, value in sorted(settings, key=_choices_first):
        keys = path.split(".")
        if keys[0] == "regularizer":
            keys[0] = "regularizers"
        if keys[0] not in RunConfig.model_fields:
            hint = did_you_mean(keys[0], RunConfig.model_fields)
            hint = hint or "see vq train --print-config for all of them"
            raise UsageError(f"{path}: unknown setting; {hint}")
        for key in reversed(keys):
            value = {key: value}
        nested = merge(nested, value)
    return nested


def regularizers_by_name(value: Any) -> Any:
    """Regularizers as a mapping from names to options; ``None`` as options is ``{}``.

    Args:
        value: a name, a list of names and of mappings with one, or such a mapping.

    Raises:
        UsageError: if it is none of these, or an item of a list has no name.
    """
    if isinstance(value, str):
        value = [value]
    if isinstance(value, list):
        return dict(_name_and_options(item) for item in value)
    if isinstance(value, Mapping):
        return {name: {} if options is None else options for name, options in value.items()}
    if value is None:
        return None
    expected = "a list of names, or a mapping from names to options"
    raise UsageError(f"regularizers = {value!r}: expected {expected}")


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by their key paths."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _merged_value(key: str, old: Any, new: Any) -> Any:
    is_component = _chooses_component(key)
    if is_component:
        old, new = _named(old), _named(new)
    elif key == "regularizers":
        old, new = regularizers_by_name(old), regularizers_by_name(new)
    if not isinstance(old, Mapping) or not isinstance(new, Mapping):
        return new
    if is_component:
        previous = old.get("name", _default_name(key))
        if new.get("name", previous) != previous:
            return new
    return merge(old, new)


def _chooses_component(key: str) -> bool:
    return key in KINDS or key == "inner"


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


def _default_name(key: str) -> str | None:
    field = RunConfig.model_fields.get(key)
    return field.default.name.rpartition("/")[2] if field else None


def _choices_first(setting: tuple[str, Any]) -> tuple[bool, int]:
    """Sort key: settings that choose a component, outermost first, then the others in order."""
    path, value = setting
    component, _, last = path.rpartition(".")
    if last == "name":
        return False, component.count(".")
    value = _named(value)
    if _chooses_component(last) and isinstance(value, Mapping) and "name" in value:
        return False, path.count(".")
    return True, 0


def _name_and_options(item: Any) -> tuple[str, dict[str, Any]]:
    options = dict(item) if isinstance(item, Mapping) else {"name": item}
    name = options.pop("name", None)
    if not isinstance(name, str):
        raise UsageError(
            f"regularizers = {item!r}: expected the name of one, or a mapping of name and options"
        )
    return name, options
