"""Everything that the conformance kit can check of a plugin, for ``vq check-plugin``."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

from vq.cli.about_plugin import hooks_of
from vq.cli.checked_part import Broken, Checked
from vq.config.plugin_files import absolute_files
from vq.requirements import unmet
from vq.testing import HooksConformance
from vqcore.errors import ComponentError, SettingError, UsageError, VQError, did_you_mean, shown
from vqcore.plugin.component import KINDS, ComponentSpec
from vqcore.plugin.component_config import OnDisk
from vqcore.plugin.hook_caller import LIFE_CYCLE
from vqcore.plugin.importing import absent_modules, options_model
from vqcore.plugin.loader import Plugin, owner_of
from vqcore.plugin.registry import Registry
from vqcore.testing import PluginConformance, rules, violations
from vqcore.testing.components import CASES, component_case
from vqcore.testing.loaded import module_of, registry_with
from vqcore.testing.rules import expect, explained, rule

#: Hooks that ``HooksConformance`` checks.
_FOLLOWING = {*LIFE_CYCLE, "vq_check_config", "vq_report"}
#: What a plugin can be checked with.
_LOADED = ("ok", "clash")
#: The rule for what cannot be built, of which no other can be checked.
CAN_BE_BUILT = "Each component is built from its name alone, or with the options that are given."


class InstalledConformance(PluginConformance):
    """What must hold for a plugin as it is installed; its components are built one by one."""

    test_defaults_build = None  # type: ignore[assignment]  # see ``_component``

    def __init__(self, registry: Registry, record: Plugin) -> None:
        self.package = record.package
        self.torch_free = record.version != "file"
        self._found = registry, [record]

    def _loaded(self) -> tuple[Registry, list[Plugin]]:
        return self._found

    @rule
    def test_requirements_are_met(self) -> None:
        """What the package requires is installed, in a version that fits."""
        missing = [str(each) for each in unmet(str(self.package))]
        expect(not missing, f"{self.package} {'; '.join(missing)}")

    def import_time(self) -> str:
        """How long the plugin is imported, in words; nothing where that does not matter."""
        try:
            _, found = self._imported_alone()
        except AssertionError:  # broken, as the rules say
            return ""
        return f"imported in {1000 * found.seconds:.0f} ms" if self.torch_free else ""


_CASES = (InstalledConformance, HooksConformance, *CASES.values())


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
        try:
            with redirect_stdout(sys.stderr):  # as where installed plugins are loaded
                return registry_with([name])
        except Exception as error:
            raise ComponentError(f"{name} cannot be imported: {explained(error)}") from error
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
        options: of components, by their names, or by their kinds and then names.
        settings: of the runs that the hooks follow; by default the plugin's own regularizers.
        skip: rules that are left out.

    Raises:
        UsageError: for options of a component that the plugins do not have, or of several with one
            name, or an unknown rule.
    """
    if all(record.status in _LOADED for record in records):
        _refuse_unmeant(options, records)
    _refuse_unknown("--skip", skip, {name for case in _CASES for name in rules(case)})
    for record in records:
        yield _declarations(registry, record, skip)
    for record in records:
        owner = owner_of(record.package)
        for kind, specs in record.provides.items():
            for spec in specs:
                given = {**options.get(spec.name, {}), **options.get(kind, {}).get(spec.name, {})}
                yield _component(registry, owner, kind, spec, given, skip)
    for record in records:
        if _FOLLOWING & set(hooks_of(registry, record)):
            yield _hooks(registry, record, settings, skip)


def _refuse_unmeant(options: Mapping[str, Mapping[str, Any]], records: Collection[Plugin]) -> None:
    """Refuse options of a component that there is not, or of a name that several kinds have."""
    kinds: dict[str, list[str]] = {}
    for kind, specs in (each for record in records for each in record.provides.items()):
        for spec in specs:
            kinds.setdefault(spec.name, []).append(kind)
    whole = {f"{kind}.{name}" for name, each in kinds.items() for kind in each}
    for name, given in options.items():
        if len(set(kinds.get(name, ()))) > 1:
            fix = " or ".join(f"{kind}.{name}.OPTION=VALUE" for kind in kinds[name])
            raise UsageError(f"--option {shown(name)}: a name of several kinds; give {fix}")
        if name in kinds or name not in KINDS:
            _refuse_unknown("--option", [name], kinds)
            continue
        _refuse_unknown("--option", [f"{name}.{each}" for each in given], whole)
        if not all(isinstance(each, Mapping) for each in given.values()):
            raise UsageError(f"--option {shown(name)}: expected KIND.NAME.OPTION=VALUE")


def _refuse_unknown(option: str, names: Collection[str], known: Collection[str]) -> None:
    for name in sorted(set(names) - set(known)):
        guess = did_you_mean(name, known) or f"expected one of {', '.join(sorted(known)) or 'none'}"
        raise UsageError(f"{option} {shown(name)}: there is no such name; {guess}")


def _declarations(registry: Registry, record: Plugin, skip: Collection[str]) -> Checked:
    if record.status not in _LOADED:
        told = f"{record.plugin} is not loaded ({record.status}): {record.error}"
        broken = Broken("loads", rules(InstalledConformance)["loads"], told)
        return Checked("plugin", record.plugin, 1, (broken,))
    case = InstalledConformance(registry, record)
    return replace(_result("plugin", record.plugin, case, skip), note=case.import_time())


def _component(
    registry: Registry,
    owner: str,
    kind: str,
    spec: ComponentSpec,
    given: Mapping[str, Any],
    skip: Collection[str],
) -> Checked:
    """Check a component, if it can be built with the options that are given."""
    if absent := absent_modules(spec):
        return Checked(kind, spec.name, unchecked=f"needs {', '.join(absent)}; install it")
    try:
        case = component_case(registry, kind, f"{owner}/{spec.name}", given)
    except Exception as error:
        found = str(error) if isinstance(error, VQError) else explained(error)
        wanted = _wanted(kind, spec, error) - given.keys()
        if not wanted:
            broken = Broken("can-be-built", CAN_BE_BUILT, found)
            return Checked(kind, spec.name, 1, (broken,))
        found = found.replace(f"--set {kind}.", f"--option {kind}.{spec.name}.")
        fix = " ".join(f"--option {kind}.{spec.name}.{option}=VALUE" for option in sorted(wanted))
        told = found if "--option" in found else f"{found}; give {fix}"
        return Checked(kind, spec.name, unchecked=told)
    return _result(kind, spec.name, case, skip)


def _wanted(kind: str, spec: ComponentSpec, error: Exception) -> set[str]:
    """The options that a component is not built without: those with no value, or with a path."""
    if spec.config is None or not isinstance(error, SettingError | UsageError):
        return set()
    fields = options_model(kind, spec.name, spec.config).model_fields
    required = {name for name, info in fields.items() if info.is_required()}
    if isinstance(error, UsageError):
        return required
    name = error.setting.removeprefix(f"{kind}.").partition(".")[0]
    info = fields.get(name)
    if info is None:
        return required
    empty = info.get_default(call_default_factory=True) in (None, "", (), [], {})
    on_disk = any(isinstance(mark, OnDisk) for mark in info.metadata)
    return required | ({name} if empty or on_disk else set())


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
