"""The public surface as lines: ``uv run python tests/surface/record.py`` writes what has changed.

``recorded.txt`` is the surface as of the last baseline, ``changes.txt`` what changed since then.
Each change needs a line in the section Unreleased of CHANGELOG.md. With ``--baseline``, at a
release, today's surface becomes the recorded one. ``tests/test_surface.py`` compares. The files
hold one item a line, in any order, so that branches merge.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
import pkgutil
import re
import sys
import tempfile
import tomllib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).parents[2]
FOLDER = Path(__file__).parent
#: The surface at the baseline; what has changed since; the lines that the changelog had then.
RECORDED, CHANGES, TOLD = (FOLDER / f"{name}.txt" for name in ("recorded", "changes", "told"))
COMMAND = "uv run python tests/surface/record.py"
#: What the docs say a plugin may import.
PUBLIC = ROOT / "docs" / "plugins" / "index.md"
#: What is public besides.
ALWAYS = {"vqcore", "vqcore.testing", "vq", "vq.testing"}
_RUN = {"backbone": {"name": "mlp", "hidden": 8}, "max_steps": 1, "eval_samples": 16}


def surface() -> set[str]:
    """Every item of the surface, ``key: detail``."""
    from vqcore.plugin.registry import Registry, default_registry

    # only ours: what else is installed belongs to nobody here
    registry = default_registry()
    strangers = {each.package for each in registry.plugins} - our_packages()
    ours = Registry(disabled=strangers) if strangers else registry
    lines = [*commands(ours), *settings(ours), *components(ours), *hooks(), *folders(), *python()]
    return {re.sub(" at 0x[0-9a-f]+", "", line) for line in lines}


def our_packages() -> set[str]:
    """The packages of this repository."""
    files = [*ROOT.glob("*/pyproject.toml"), *ROOT.glob("plugins/*/pyproject.toml")]
    return {tomllib.loads(file.read_text(encoding="utf-8"))["project"]["name"] for file in files}


# -- the command -------------------------------------------------------------------


def commands(registry: Any) -> Iterator[str]:
    """Commands with their options and arguments."""
    import typer

    from vq.cli.app import build_app

    app: Any = typer.main.get_command(build_app(registry))
    yield from _parameters("vq", app)
    for name, command in app.commands.items():
        yield f"vq {name}: command"
        yield from _parameters(f"vq {name}", command)


def _parameters(command: str, found: Any) -> Iterator[str]:
    for each in found.params:
        options = [name for name in each.opts if name.startswith("-")]
        facts = [
            *(["flag"] if getattr(each, "is_flag", False) else []),
            *(["required"] if each.required else []),
            *(["repeatable"] if getattr(each, "multiple", False) or each.nargs == -1 else []),
        ]
        detail = ", ".join(facts) or "value"
        for name in (*options, *each.secondary_opts) if options else [each.human_readable_name]:
            yield f"{command} {name}: {detail}"


# -- settings, components, hooks -----------------------------------------------------


def settings(registry: Any) -> Iterator[str]:
    """The settings of a run, and presets."""
    from vq.config.presets import presets
    from vq.config.run_settings import setting_rows

    for row in setting_rows(registry):
        yield f"setting {row['name']}: {_option(row)}"
    for name in presets(registry):
        yield f"preset {name}: preset"


def components(registry: Any) -> Iterator[str]:
    """The components with their options."""
    from vqcore.plugin.component import KINDS
    from vqcore.plugin.option_rows import option_rows
    from vqcore.plugin.plugin_settings import settings_model, with_settings

    for kind in KINDS:
        for name in registry.names(kind):
            plugin, _ = registry.find(kind, name)
            yield f"{kind} {name}: {plugin.package}"
            for row in registry.options(kind, name):
                yield f"{kind} {name}.{row['name']}: {_option(row)}"
    for name in with_settings(registry):
        for row in option_rows(settings_model(registry, name)):
            yield f"setting plugins.{name}.{row['name']}: {_option(row)}"


def _option(row: Any) -> str:
    default = "required" if row["required"] else json.dumps(row["default"])
    return f"{row['type']} = {default}"


def hooks() -> Iterator[str]:
    """The hooks and the members of what they receive."""
    from vqcore.plugin import hooks, protocols

    yield f"VQ_API: {hooks.API_VERSION}, {sorted(hooks.ACCEPTED)}"
    for name, hook in vars(hooks).items():
        if name.startswith("vq_"):
            yield f"hook {name}: {inspect.signature(hook)}"
    for name, protocol in vars(protocols).items():
        if getattr(protocol, "_is_protocol", False) and protocol.__module__ == protocols.__name__:
            yield f"protocol {name}: Protocol"
            for member in dir(protocol):
                if not member.startswith("_"):
                    found = inspect.getattr_static(protocol, member)
                    yield f"protocol {name}.{member}: {_signature(found)}"


# -- the run folder --------------------------------------------------------------------


def folders() -> Iterator[str]:
    """The files of a run folder and the keys in them, of a run without plots."""
    import yaml

    import vq
    from vqcore.plugin.registry import Registry

    registry = Registry(disabled=["vq-report", "homology"])
    with tempfile.TemporaryDirectory() as temporary:
        run = vq.train(settings=_RUN, run_dir=Path(temporary, "run"), registry=registry).folder
        for file in sorted(path for path in run.path.rglob("*") if path.is_file()):
            name = re.sub(r"step-\d+", "step-N", file.relative_to(run.path).as_posix())
            yield f"run folder {name}: file"
            text = file.read_text("utf-8", "replace")
            if file.suffix in (".json", ".jsonl", ".yaml"):
                values = yaml.safe_load(text.splitlines()[0] if file.suffix == ".jsonl" else text)
                for key in values[0] if isinstance(values, list) else values:
                    yield f"run folder {name}.{key}: key"


# -- Python ------------------------------------------------------------------------------


def python() -> Iterator[str]:
    """The public names with their signatures, at their home if that is public."""
    modules = public_modules()
    for name in modules:
        module = importlib.import_module(name)
        for attribute in _names(module):
            found = getattr(module, attribute)
            home = getattr(found, "__module__", name)
            if home != name and home in modules:
                yield f"{name}.{attribute}: of {home}"
            elif not getattr(found, "_is_protocol", False):
                yield from _described(f"{name}.{attribute}", found)


def public_modules() -> list[str]:
    """The modules in the table "What a plugin may import", packages with all that is in them."""
    section = PUBLIC.read_text(encoding="utf-8").partition("## What a plugin may import")[2]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    found = set(ALWAYS)
    for name in re.findall(r"`([\w.]+?)(\.\*)?`", " ".join(rows)):
        found |= {name[0]}
        if name[1]:
            package = importlib.import_module(name[0])
            found |= {each.name for each in pkgutil.walk_packages(package.__path__, f"{name[0]}.")}
    return sorted(name for name in found if "._" not in name)


def _names(module: Any) -> list[str]:
    """The public names that are at home in a module; of a package with a list, that list."""
    if hasattr(module, "__all__"):
        return sorted(module.__all__)
    return sorted(
        name
        for name, each in vars(module).items()
        if not name.startswith("_") and getattr(each, "__module__", None) == module.__name__
        if not isinstance(each, TypeVar)
    )


def _described(key: str, found: Any) -> Iterator[str]:
    """A class with its members, or anything else in a line."""
    if not inspect.isclass(found):
        yield f"{key}: {_signature(found)}"
        return
    bases = ", ".join(each.__name__ for each in found.__bases__ if each is not object)
    yield f"{key}: class({bases})"
    if hasattr(found, "model_fields"):
        for name in found.model_fields:
            yield f"{key}.{name}: option"
    elif "__init__" in vars(found):
        yield f"{key}.__init__: {_signature(vars(found)['__init__'])}"
    for name, member in vars(found).items():
        if not name.startswith(("_", "test_")) and _is_code(member):  # rules of the kit may come
            yield f"{key}.{name}: {_signature(member)}"
    for name, annotation in inspect.get_annotations(found).items():
        if not name.startswith("_") and name not in getattr(found, "model_fields", ()):
            yield f"{key}.{name}: {getattr(annotation, '__forward_arg__', annotation)}"


def _is_code(member: Any) -> bool:
    return isinstance(member, property | staticmethod | classmethod) or inspect.isfunction(member)


def _signature(found: Any) -> str:
    """A signature as the source has it; of what cannot be called, what it is."""
    if isinstance(found, property):
        returned = getattr(found.fget, "__annotations__", {}).get("return", "Any")
        return f"property {returned}"
    function = getattr(found, "__func__", found)
    try:
        parameters = inspect.signature(function)
    except (TypeError, ValueError):
        return type(found).__name__
    routine = inspect.isroutine(function)
    return str(parameters).replace("'", "") if routine else type(found).__name__


# -- the record -----------------------------------------------------------------------------


def changes(found: set[str], recorded: set[str]) -> set[str]:
    """What is new and what is gone."""
    return {f"+ {line}" for line in found - recorded} | {f"- {line}" for line in recorded - found}


def read(file: Path) -> set[str]:
    """The lines of a file; none if it is not there."""
    return set(file.read_text(encoding="utf-8").splitlines()) if file.exists() else set()


def write(file: Path, lines: set[str]) -> None:
    """Sorted lines."""
    file.write_text("".join(f"{line}\n" for line in sorted(lines)), encoding="utf-8")


def unreleased() -> list[str]:
    """The lines of the section Unreleased."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    return text.partition("\n## Unreleased\n")[2].partition("\n## ")[0].splitlines()


def digest(line: str) -> str:
    """A short name of a line, as ``told.txt`` has it."""
    return hashlib.sha256(line.strip().encode()).hexdigest()[:12]


def untold(changed: set[str]) -> list[str]:
    """The changes of which no line of the changelog that is new since the baseline has the name."""
    before = read(TOLD)
    text = "\n".join(line for line in unreleased() if digest(line) not in before)
    code = " ".join(re.findall("`([^`]+)`", text)).replace("_", "-")
    code = re.sub(r"(?<!\w)-+", "", code)  # of an option
    gone, new = ({_key(line) for line in changed if line[0] == sign} for sign in "-+")
    return sorted(
        line
        for line in changed
        if not any(_is_word(name, code) for name in names(line, whole=gone ^ new))
    )


def names(change: str, whole: Collection[str] = ()) -> set[str]:
    """The words of which the changelog has to have one, as code: the name of the item.

    That of its owner will do, such as a class or a command, if this is new or gone as a ``whole``.
    """
    key = _key(change)
    is_file = change.endswith(": file")
    owner, name = key[: -len(_last(key))].rstrip(". "), _last(key, is_file=is_file)
    found = {name}
    if owner in whole:
        found.add(_last(owner, is_file=owner.startswith("run folder ")))
    return {each.lstrip("-").replace("_", "-") for each in found}


def _key(change: str) -> str:
    """The item of a change; a class for its constructor."""
    return change[2:].partition(": ")[0].removesuffix(".__init__")


def _last(key: str, *, is_file: bool = False) -> str:
    """The last name in a key."""
    return re.split("[ /]" if is_file else "[. ]", key)[-1]


def _is_word(name: str, text: str) -> bool:
    return re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text) is not None


def main(arguments: list[str]) -> None:
    """Write the changes, or with ``--baseline`` today's surface."""
    found = surface()
    if "--baseline" in arguments:
        write(RECORDED, found)
        write(TOLD, {digest(line) for line in unreleased() if line.strip()})
    changed = changes(found, read(RECORDED))
    write(CHANGES, changed)
    print(f"{len(found)} items, {len(changed)} changes: {CHANGES.relative_to(ROOT)}")
    for line in untold(changed):
        print(f"CHANGELOG.md, section Unreleased, has no new line with the name of: {line}")


if __name__ == "__main__":
    main(sys.argv[1:])
