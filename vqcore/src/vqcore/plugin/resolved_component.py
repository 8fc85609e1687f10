"""A component that a config chose, ready to be built."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vqcore.errors import SettingError
from vqcore.plugin.component import ComponentSpec
from vqcore.plugin.component_choice import in_order
from vqcore.plugin.idle_options import idle_sentences
from vqcore.plugin.loader import owner_of

if TYPE_CHECKING:
    from vqcore.plugin.component_config import ComponentConfig


@dataclass(frozen=True)
class Component:
    """A component ready to be built: options validated, inner components resolved.

    Attributes:
        kind: one of ``vqcore.plugin.component.KINDS``.
        name: the shortest name that means it, ``package/name`` if another package has the same.
        spec: the plugin's declaration.
        package: the package that provides it.
        path: key path of the choice in the config.
        options: an instance of the component's options model, or None if it has none.
        children: inner components by the option that chooses them; of an option that chooses
            several, by ``option.name`` or ``option.place``.
        made: the component itself, if it was given as an object.
    """

    kind: str
    name: str
    spec: ComponentSpec
    package: str
    path: str
    options: ComponentConfig | None
    children: Mapping[str, Component] = field(default_factory=dict)
    made: Any = None

    @property
    def qualified(self) -> str:
        """The name that files keep: it means the same whatever packages are installed later."""
        return f"{owner_of(self.package)}/{self.spec.name}"

    def idle_options(self) -> Iterator[str]:
        """A sentence about each option that is set but cannot act, inner components included."""
        if self.options is not None:
            yield from idle_sentences(self.options, self.path)
        for child in self.children.values():
            yield from child.idle_options()

    def dims(self, dim: int) -> Iterator[tuple[Component, int]]:
        """The innermost components whose dimension is known if this one has ``dim``, with theirs.

        Raises:
            SettingError: by its key path, for options that do not fit the dimension.
        """
        try:
            inner = self.options.inner_dims(dim) if self.options is not None else {}
        except SettingError as error:
            raise error.under(self.path) from error
        for key, of_child in inner.items():
            yield from self.children[key].dims(of_child)
        if not self.children:
            yield self, dim

    def dump(self) -> dict[str, Any]:
        """Qualified name and every option as plain values, as in config.yaml."""
        options = self.options.model_dump(mode="json") if self.options is not None else {}
        return {"name": self.qualified, **options, **self.inner(Component.dump)}

    def inner(self, use: Callable[[Component], Any]) -> dict[str, Any]:
        """What ``use`` makes of each inner component, by option; of several a mapping or list."""
        return by_option(type(self.options), {key: use(one) for key, one in self.children.items()})


def by_option(model: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """What ``Component.children`` names, by option: a value, or a mapping or list of several."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        option, several, name = key.partition(".")
        if several:
            found.setdefault(option, {})[name] = value
        else:
            found[option] = value
    for option in in_order(model) if found else ():
        found[option] = list(found[option].values())
    return found
