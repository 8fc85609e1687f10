"""Everything that the conformance kit can check of a plugin, for ``vq check-plugin``."""

from __future__ import annotations

import importlib.util
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vq.cli.about_plugin import hooks_of
from vq.config.plugin_files import absolute_files
from vq.requirements import unmet
from vq.testing import HooksConformance
from vqcore.errors import ComponentError, SettingError, UsageError, did_you_mean, shown
from vqcore.plugin.component import ComponentSpec
from vqcore.plugin.hook_caller import LIFE_CYCLE
from vqcore.plugin.loader import Plugin, owner_of
from vqcore.plugin.registry import Registry
from vqcore.testing import PluginConformance, rules, violations
from vqcore.testing.components import component_case
from vqcore.testing.loaded import module_of, registry_with
from vqcore.testing.rules import expect, rule

#: Hooks that ``HooksConformance`` checks.
_FOLLOWING = {*LIFE_CYCLE, "vq_check_config", "vq_report"}


@dataclass(frozen=True)
class Broken:
    """A rule that is broken: its name, the rule itself, what was found instead."""

    rule: str
    sentence: str
    found: str


@dataclass(frozen=True)
class Checked:
    """What was checked of a plugin.

    Attributes:
        what: ``plugin``, ``hooks``, or the kind of a component.
        name: of the plugin or the component.
        rules: how many were checked.
        broken: the rules that do not hold.
        unchecked: why none was checked, empty if they were: data or weights are missing.
    """

    what: str
    name: str
    rules: int = 0
    broken: tuple[Broken, ...] = ()
    unchecked: str = ""

    @property
    def status(self) -> str:
        """``ok``, ``broken`` or ``not checked``."""
        if self.unchecked:
            return "not checked"
        return "broken" if self.broken else "ok"

    def row(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"status": self.status, **asdict(self)}


class InstalledConformance(PluginConformance):
    """What must hold for a plugin as it is installed."""

    @rule
    def test_requirements_are_met(self) -> None:
        """What the package requires is installed, in a version that fits."""
        _, records = self._loaded()
        missing = [str(each) for record in records for each in unmet(record.package)]
        expect(not missing, f"{self.package} {'; '.join(missing)}")


def find_plugin(name: str) -> tuple[Registry, list[Plugin]]:
    """The plugins that a name means, in a registry that has them.

    Args:
        name: of a distribution or of a plugin, a dotted module, or a plugin file.

    Raises:
        ComponentError: if there is none.
    """
    if name.endswith(".py"):
        (path,) = absolute_files([name])
        return registry_with(files=[Path(path)])
    registry, _ = registry_with()
    found = [record for record in registry.plugins if record.is_called(name)]
    if found:
        return registry, found
    if _is_module(name):
        return registry_with([name])
    known = [each for record in registry.plugins for each in (record.plugin, record.package)]
    hint = did_you_mean(name, known) or "expected a distribution, a plugin, a module or a file"
    raise ComponentError(f"no plugin {shown(name)} is found; {hint}")


def checked(
    registry: Registry,
    records: Collection[Plugin],
    options: Mapping[str, Mapping[str, Any]],
    settings: Mapping[str, Any],
    skip: Collection[str] = (),
) -> Iterator[Checked]:
    """The plugins' declarations, each of their components, then their hooks.

    Args:
        registry: has the plugins.
        records: theirs.
        options: of components, by their names.
        settings: of the runs that the hooks follow; by default the plugin's own regularizers.
        skip: rules that are left out.
    """
    for record in records:
        yield _declarations(registry, record, options, skip)
    for record in records:
        for kind, specs in record.provides.items():
            for spec in specs:
                yield _component(registry, record, kind, spec, options, skip)
    for record in records:
        if _FOLLOWING & set(hooks_of(registry, record)):
            yield _hooks(registry, record, settings, skip)


def _declarations(
    registry: Registry,
    record: Plugin,
    options: Mapping[str, Mapping[str, Any]],
    skip: Collection[str],
) -> Checked:
    class Case(InstalledConformance):
        package = record.package
        torch_free = record.version != "file"

        def _loaded(self) -> tuple[Registry, list[Plugin]]:
            return registry, [record]

        def required(self, kind: str, name: str) -> dict[str, Any]:
            return dict(options.get(name, {}))

    return _result("plugin", record.plugin, Case(), skip)


def _component(
    registry: Registry,
    record: Plugin,
    kind: str,
    spec: ComponentSpec,
    options: Mapping[str, Mapping[str, Any]],
    skip: Collection[str],
) -> Checked:
    name = spec.name
    try:
        case = component_case(
            registry, kind, f"{owner_of(record.package)}/{name}", options.get(name)
        )
    except Exception as error:
        without = kind in ("dataset", "loss") and spec.config is not None and name not in options
        if without and isinstance(error, SettingError | UsageError):  # its files are missing
            fix = f"give options with --option {name}.OPTION=VALUE"
            return Checked(kind, name, unchecked=f"{error}; {fix}")
        found = f"{type(error).__name__}: {error}"
        broken = Broken("can-be-built", "Each component can be built.", found)
        return Checked(kind, name, 1, (broken,))
    return _result(kind, name, case, skip)


def _hooks(
    registry: Registry, record: Plugin, settings: Mapping[str, Any], skip: Collection[str]
) -> Checked:
    own: dict[str, Any] = {
        f"regularizers.{spec.name}": {} for spec in record.provides.get("regularizer", ())
    }
    module = module_of(registry, record)
    case = type("Case", (HooksConformance,), {"plugin": module, "settings": settings or own})
    return _result("hooks", record.plugin, case(), skip)


def _result(what: str, name: str, case: Any, skip: Collection[str]) -> Checked:
    broken = [Broken(error.rule, error.sentence, error.detail) for error in violations(case, skip)]
    return Checked(what, name, len(rules(case).keys() - set(skip)), tuple(broken))


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False
