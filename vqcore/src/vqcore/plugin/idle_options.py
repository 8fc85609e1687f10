"""Options that are set but cannot act, because of what another option is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from vqcore.errors import shown

if TYPE_CHECKING:
    from pydantic import BaseModel


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
