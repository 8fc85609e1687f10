"""Laying settings over one another, and building them from key paths. Torch-free."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from vq.config.plain_values import DEEPEST, plain, repeated
from vq.config.run_config import RunConfig
from vq.config.setting_hints import unknown_setting
from vq.config.sizes import SIZED
from vqcore.errors import UsageError, shown, shown_key
from vqcore.plugin.component import KINDS, SETTINGS, SEVERAL
from vqcore.plugin.component_config import items
from vqcore.plugin.deprecation import with_new_names

#: The settings that say how long a run is.
LENGTHS = ("epochs", "max_steps")


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``over`` laid over ``base``, key by key.

    Choosing another component drops the options of the previous one. Options without a name belong
    to the default component. A name without its package means the component that ``base`` has.
    The settings of plugins hold no components.
    """
    return _merged(base, over, True)


def lay_over(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """A source of settings laid over another, with lower precedence.

    As ``merge``, but a source that says how long a run is, in epochs or in steps, replaces what the
    other says of it in either. One that chooses another size of the backbone replaces what the size
    before, or the options that it sets, say of it.
    """
    if "backbone" in base:
        base = {**base, "backbone": _resized(base["backbone"], over.get("backbone"))}
    merged = merge(base, over)
    given = {key for key in LENGTHS if over.get(key) is not None}
    replaced = set(LENGTHS) - given if given else set()
    return {key: value for key, value in merged.items() if key not in replaced}


def assign(settings: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Nested values from key paths, as in ``[("quantizer.inner.name", "ema")]``; later ones win.

    The order of a component's name and its options does not matter.

    Raises:
        UsageError: if a key path starts with an unknown setting, or for what no config may hold.
    """
    nested, known = dict[str, Any](), RunConfig.model_fields.keys()
    plain_settings = [(path, plain(value, path)) for path, value in settings]
    for path, value in sorted(plain_settings, key=_choices_first):
        keys = path.split(".")
        if len(keys) > DEEPEST:
            raise UsageError(f"{shown_key(path)}: nested more than {DEEPEST} deep")
        keys[0] = SETTINGS.get(keys[0], keys[0])
        if not with_new_names(RunConfig, {keys[0]: 0}, "", warn=False).keys() <= known:
            raise UsageError(unknown_setting(path))
        for key in reversed(keys):
            value = {key: value}
        nested = merge(nested, value)
    return nested


def by_name(key: str, value: Any) -> Any:
    """Components of a setting as a mapping from names to options; ``None`` as options is ``{}``.

    Args:
        key: the setting, one of ``SEVERAL``.
        value: a name, a list of names and of mappings with one, or such a mapping.

    Raises:
        UsageError: if it is none of these, or an item of a list has no name or that of another.
    """
    if isinstance(value, str):
        value = [value]
    if isinstance(value, list):
        named = [_name_and_options(key, item) for item in value]
        if (twice := repeated(name for name, _ in named)) is not None:
            raise UsageError(f"{key}: {shown(twice)} is given twice; give it once")
        return dict(named)
    if isinstance(value, Mapping):
        return {name: {} if options is None else options for name, options in value.items()}
    if value is None:
        return None
    expected = "a list of names, or a mapping from names to options"
    raise UsageError(f"{key} = {shown(value)}: expected {expected}")


def bare(name: Any) -> str:
    """A component's name without its package."""
    return str(name).rpartition("/")[2]


def shown_names(values: Any, among: Iterable[Any] = ()) -> Any:
    """Nested settings with component names as people read them, which is without the package.

    The package stays where settings to be shown beside them (``among``) have the same name from
    another one.
    """
    names = {name for each in (values, *among) for name in _names(each) if name != bare(name)}
    owners = Counter(map(bare, names))
    return _renamed(values, lambda name: name if owners[bare(name)] > 1 else bare(name))


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by their key paths."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _resized(old: Any, new: Any) -> Any:
    """The options of a backbone, without what ``size`` sets if the new ones choose another."""
    if not isinstance(old, Mapping) or not isinstance(new, Mapping):
        return old
    dropped = SIZED if "size" in new and new["size"] != old.get("size") else frozenset()
    return {key: _resized(old[key], new.get(key)) for key in old if key not in dropped}


def _merged(base: Mapping[str, Any], over: Mapping[str, Any], may_choose: bool) -> dict[str, Any]:
    """See ``merge``; ``may_choose``: whether keys may choose components."""
    merged = dict(base)
    for key, value in over.items():
        chooses = may_choose and key != "plugins"
        merged[key] = _merged_value(key, merged.get(key), value, chooses)
    return merged


def _merged_value(key: Any, old: Any, new: Any, may_choose: bool) -> Any:
    is_component = may_choose and (_chooses_component(key) or _is_place(key, old, new))
    if is_component:
        old, new = _named(old), _named(new)
    elif may_choose and key in SEVERAL:
        old, new = by_name(key, old), by_name(key, new)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            old = {_as_in(new, name): options for name, options in old.items()}
            new = {_as_in(old, name): options for name, options in new.items()}
    if isinstance(new, Mapping) and _has_places(old := items(old), new):
        old = list(old)
        for place, item in new.items():
            if isinstance(item, Mapping):  # a component, as one inside another
                item = _merged_value("inner", old[int(place)], item, may_choose)
            old[int(place)] = item
        return old
    if not isinstance(old, Mapping) or not isinstance(new, Mapping):
        return new
    if is_component:
        previous = old.get("name", _default_name(key))
        name = new.get("name", previous)
        if name not in (previous, bare(previous)) and bare(name) != previous:
            return new
        if "name" in old and name == bare(previous):
            new = {**new, "name": previous}
    return _merged(old, new, may_choose)


def _is_place(key: Any, old: Any, new: Any) -> bool:
    """Whether a key is that of a component by its place, as in ``factors: {1: sphere}``.

    A mapping from numbers to plain values is none. YAML reads numbers as keys, too.
    """
    return str(key).isdigit() and (isinstance(old, Mapping) or isinstance(new, Mapping))


def _has_places(old: Any, new: Mapping[str, Any]) -> bool:
    """Whether all keys are places in a list, as in ``manifold.factors.1.curvature``."""
    return isinstance(old, list) and bool(new) and {*map(str, new)} <= {*map(str, range(len(old)))}


def _chooses_component(key: str) -> bool:
    return key in KINDS or key == "inner"


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


def _default_name(key: str) -> str | None:
    field = RunConfig.model_fields.get(key)
    return field.default.name if field else None


def _as_in(others: Mapping[str, Any], name: str) -> str:
    """A component's name, with the package that it has in ``others``."""
    return next((each for each in others if name == bare(each)), name)


def _names(values: Any) -> Iterator[str]:
    """The names of all components in nested settings."""
    if isinstance(values, list):
        for each in values:
            yield from _names(each)
    if isinstance(values, Mapping):
        for key, value in values.items():
            if key == "name" and isinstance(value, str):
                yield value
            elif key in SEVERAL and isinstance(value, Mapping):
                yield from map(str, value)
            if key != "plugins":  # their settings choose no components
                yield from _names(value)


def _renamed(values: Any, rename: Callable[[str], str]) -> Any:
    if isinstance(values, list):
        return [_renamed(each, rename) for each in values]
    if not isinstance(values, Mapping):
        return values
    renamed = {}
    for key, value in values.items():
        value = value if key == "plugins" else _renamed(value, rename)
        if key == "name" and isinstance(value, str):
            value = rename(value)
        elif key in SEVERAL and isinstance(value, Mapping):
            value = {rename(str(name)): options for name, options in value.items()}
        renamed[key] = value
    return renamed


def _choices_first(setting: tuple[str, Any]) -> tuple[bool, int, bool]:
    """Sort key: settings that choose a component first, then the others; outermost first.

    Those of a place in a list, as in ``factors.1.name``, come after the list.
    """
    path, value = setting
    component, _, last = path.rpartition(".")
    value, depth = _named(value), path.count(".")
    if last == "name":
        in_list = component.rpartition(".")[2].isdigit()
        return (True, depth, False) if in_list else (False, depth - 1, False)
    if _chooses_component(last) and isinstance(value, Mapping) and "name" in value:
        return False, depth, False
    return True, depth, True


def _name_and_options(key: str, item: Any) -> tuple[str, dict[str, Any]]:
    options = dict(item) if isinstance(item, Mapping) else {"name": item}
    name = options.pop("name", None)
    if not isinstance(name, str):
        expected = "expected the name of one, or a mapping of name and options"
        raise UsageError(f"{key} = {shown(item)}: {expected}")
    return name, options
