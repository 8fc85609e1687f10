"""A data set or a backbone given as a Python object where a config has a name."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vq.config.merging import bare
from vq.config.plugin_files import plugin_files, registry_for
from vq.config.resolved_config import ResolvedConfig, resolve_config
from vqcore.errors import SettingError, UsageError
from vqcore.plugin.component import ComponentSpec
from vqcore.plugin.component_choice import is_module
from vqcore.plugin.component_config import ComponentConfig, ComponentRef
from vqcore.plugin.loader import Plugin
from vqcore.plugin.registry import Component, Registry

if TYPE_CHECKING:
    from vqcore.interfaces.backbone import Backbone
    from vqcore.interfaces.dataset import DataSource

#: The name that config.yaml has in place of an object.
NAME = "python-object"
_PACKAGE = "python"
KINDS = ("dataset", "backbone")


class PythonObjectConfig(ComponentConfig):
    """What a config records of an object."""

    sets_dim = True  # a module emits what it emits

    type: str
    """Its class; of a tensor also shape and dtype."""


_SPEC = ComponentSpec(
    name=NAME,
    target="vq.objects:ObjectRegistry",
    config="vq.objects:PythonObjectConfig",
    summary="an object given in Python",
)


class ObjectRegistry(Registry):
    """The components of another registry, and objects given in Python, by kind.

    Runs share a ``DataSource``, and each run copies a module.
    """

    def __init__(self, base: Registry, objects: Mapping[str, Any]) -> None:
        self.base: Registry = base
        self.objects: dict[str, Any] = dict(objects)
        if isinstance(base, ObjectRegistry):
            self.base = base.base
            self.objects = base.objects | self.objects
        self.manager, self.record = self.base.manager, self.base.record
        provides: dict[str, tuple[ComponentSpec, ...]] = dict.fromkeys(KINDS, (_SPEC,))
        self.plugins = [*self.base.plugins, Plugin(_PACKAGE, _PACKAGE, "object", provides=provides)]

    def target(self, component: Component) -> Any:
        """See ``Registry.target``; of an object that was given, the object."""
        given = self.objects.get(component.kind) if component.spec is _SPEC else None
        return super().target(component) if given is None else given

    def build(self, component: Component, **injected: Any) -> Any:
        """See ``Registry.build``.

        Raises:
            SettingError: if the component is an object that was not given.
        """
        if component.spec is not _SPEC:
            return super().build(component, **injected)
        kind = component.kind
        if kind not in self.objects:
            recorded = component.dump()["type"]
            expected = "the Python object that the run was trained with"
            fix = f"give it again as {kind}=..., for example to vq.load_run"
            raise SettingError(kind, recorded, expected, fix)
        given = self.objects[kind]
        return given if kind == "dataset" else _backbone(given, **injected)


def split_objects(
    values: Mapping[str, Any],
    test_dataset: Any = None,
    value_range: tuple[float, float] | None = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings as a config file has them, and the objects among them, by kind.

    ``test_dataset`` and ``value_range`` belong to a ``dataset`` that is an object.

    Raises:
        SettingError: if an object cannot be used, or is given where a config needs a name.
        UsageError: if ``test_dataset`` or ``value_range`` is given without such a ``dataset``.
    """
    objects = {kind: values[kind] for kind in KINDS if _is_object(values.get(kind))}
    source = _source(objects.get("dataset"), test_dataset, value_range)
    if source is not None:
        objects["dataset"] = source
    name = f"{_PACKAGE}/{NAME}"
    recorded = {kind: {"name": name, "type": _type_of(each)} for kind, each in objects.items()}
    _refuse_modules({key: value for key, value in values.items() if key not in objects}, "")
    return {**values, **recorded}, objects


def resolve_with_objects(
    values: Mapping[str, Any],
    objects: Mapping[str, Any],
    registry: Registry | None = None,
    *,
    trained: bool = False,
) -> tuple[ResolvedConfig, Registry]:
    """Resolve plain settings, and find the registry of their components and objects.

    By default it has the installed plugins and ``plugin_files``. For ``trained`` see
    ``resolve_config``.
    """
    registry = registry or registry_for(plugin_files(values))
    chosen = [values.get(kind) for kind in KINDS]
    names = [each.get("name") if isinstance(each, Mapping) else each for each in chosen]
    if NAME in map(bare, names):
        registry = ObjectRegistry(registry, objects)
    return resolve_config(values, registry, trained=trained), registry


def _is_object(value: Any) -> bool:
    return not (value is None or isinstance(value, str | Mapping | ComponentRef))


def _refuse_modules(value: Any, path: str) -> None:
    if is_module(value):
        expected = "the name of a registered component: a run's config holds no such object"
        fix = "register its class in a plugin or a plugin file"
        raise SettingError(path, type(value).__name__, expected, fix)
    several = dict(enumerate(value)) if isinstance(value, list | tuple) else value
    for key, each in several.items() if isinstance(several, Mapping) else ():
        _refuse_modules(each, f"{path}.{key}" if path else str(key))


def _type_of(value: Any) -> str:
    default = f"{type(value).__module__}.{type(value).__qualname__}"
    return str(getattr(value, "described", default))  # an in-memory data set says what is in it


def _source(dataset: Any, test_dataset: Any, value_range: Any) -> DataSource | None:
    whole = dataset is None  # or a data source, which has a split and a range of its own
    if not whole:
        from vqcore.interfaces.dataset import DataSource

        whole = isinstance(dataset, DataSource)
    if whole:
        if test_dataset is not None or value_range is not None:
            option = "value_range" if test_dataset is None else "test_dataset"
            raise UsageError(f"{option}: expected a dataset that is a tensor or a torch Dataset")
        return dataset
    from vq.data.in_memory import InMemoryDataset

    return InMemoryDataset(dataset, test_dataset, value_range=value_range)


def _backbone(module: Any, *, shape: tuple[int, ...], **_: Any) -> Backbone:
    from vq.models.backbones.module import ModuleBackbone
    from vqcore.interfaces.backbone import Backbone

    module = copy.deepcopy(module)
    return module if isinstance(module, Backbone) else ModuleBackbone(module, shape=shape)
