"""Writes the package of a new plugin, of one kind or several. Torch-free.

The files in ``template/`` are those of the distribution my-plugin with the package my_plugin, whose
plugin and component my-part is the class MyPart. Words in capitals differ from kind to kind.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vq.files import check_free, new_folder
from vq.new_plugin.names import PluginNames
from vqcore.errors import SettingError
from vqcore.plugin.component import KINDS, PLURALS
from vqcore.plugin.registry import Registry

_FILES = Path(__file__).parent / "template"
#: Of the code in a package, as its pyproject.toml says.
LINE_LENGTH = 120
_HOOKIMPL, _BOTH = "from vqcore import hookimpl", "from vqcore import ComponentSpec, hookimpl"


@dataclass(frozen=True)
class Kind:
    """What the plugin of a kind has in it, as it is written, and a command to try it."""

    summary: str
    command: str


TEMPLATES = {
    "manifold": Kind("flat space, half of its axes stretched", "vq train --manifold my-part"),
    "quantizer": Kind("codes that share a learned scale", "vq train --quantizer my-part"),
    "estimator": Kind("straight-through, damped", "vq train --estimator my-part"),
    "regularizer": Kind("a floor for the spread of latents", "vq train --regularizer my-part"),
    "loss": Kind("squares of small errors, sizes of large ones", "vq train --loss my-part"),
    "optimizer": Kind("steps by the sign of the mean gradient", "vq train --optimizer my-part"),
    "dataset": Kind("discs and squares, drawn at random", "vq train --dataset my-part"),
    "backbone": Kind("a linear map and its transpose", "vq train --backbone my-part"),
    "hooks": Kind("a log of the losses with the time", "vq train --plugins.my-part.every 5"),
    "command": Kind("the best step of a run", "vq my-part RUN"),
}


def new_plugin(
    name: str,
    kinds: Sequence[str],
    folder: Path | None,
    registry: Registry,
    commands: Collection[str],
) -> tuple[Path, list[str]]:
    """Write the package of a new plugin, whole or not at all.

    Args:
        name: of the distribution; its components have the same without ``vq-`` or ``vqcore-``.
        kinds: what it provides, of ``TEMPLATES``.
        folder: where to write it; by default a folder of the plugin's name. Nothing may be there.
        registry: the installed plugins, whose names are taken.
        commands: the names of all commands.

    Returns:
        The folder, and commands to try the plugin.

    Raises:
        SettingError: if the name cannot be used or is taken, or the folder is not empty.
        RunError: if the folder cannot be written.
    """
    names = PluginNames.of(name)
    path = Path(names.distribution) if folder is None else folder
    check_free(path, "FOLDER", "give another after NAME, or remove it")
    for kind in kinds:
        names.check_free(kind, registry, commands)
        others = _replaced("".join(_template(kind).values()), dict.fromkeys(_own(names), "_"))
        if re.search(rf"\b{names.cls}\b", others):
            raise names.refused(f"the class {names.cls} would hide one that it needs")
    files = _package(names, kinds)
    code = (text for place, text in files.items() if place.endswith(".py"))
    longest = max(len(line) for text in code for line in text.splitlines())
    if longest > LINE_LENGTH:
        expected = f"a shorter name: a line of code would have {longest} characters"
        raise SettingError("NAME", name, expected, f"the most is {LINE_LENGTH}")
    with new_folder(path, "FOLDER") as written:
        for place, text in files.items():
            target = written / place
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
    return path, _commands(names, kinds)


def _package(names: PluginNames, kinds: Sequence[str]) -> dict[str, str]:
    """Path and content of each file; of several kinds, each has a module of options."""
    files = _filled(_template("common"), _words(names, kinds))
    for kind in kinds:
        words = _words(names, [kind])
        if len(kinds) > 1:
            own = {f"my_plugin{mark}config": f"{names.package}{mark}{kind}_config" for mark in "./"}
            words = own | words
        for place, text in _filled(_template(kind), words).items():
            known = files.get(place, text)
            files[place] = text if text == known else _joined(known, text)
    return files


def _template(kind: str) -> dict[str, str]:
    """Path and content of each file of a kind, with what all components have in common."""
    folders = ("component", kind) if kind in KINDS else (kind,)
    return {
        path.relative_to(_FILES / folder).as_posix(): path.read_text(encoding="utf-8")
        for folder in folders
        for path in sorted((_FILES / folder).rglob("*"))
        if path.is_file() and path.suffix != ".pyc"
    }


def _joined(*modules: str) -> str:
    """Modules ``plugin.py`` as one: what they import and set, then what they define."""
    heads, bodies = zip(*(text.split("\n\n\n", 1) for text in modules), strict=True)
    lines = {line for head in heads for line in head.splitlines() if line}
    if _BOTH in lines:
        lines.discard(_HOOKIMPL)
    parts: dict[str, list[str]] = {start: [] for start in ('"""', "from vqcore", "from ", "")}
    for line in sorted(lines):
        next(part for start, part in parts.items() if line.startswith(start)).append(line)
    head = "\n\n".join("\n".join(part) for part in parts.values() if part)
    return "\n\n\n".join([head, *(body.rstrip("\n") for body in bodies)]) + "\n"


def _own(names: PluginNames) -> dict[str, str]:
    """The names that are written in the place of those in the files."""
    return {
        "my-plugin": names.distribution,
        "my_plugin": names.package,
        "my-part": names.part,
        "MyPart": names.cls,
    }


def _words(names: PluginNames, kinds: Sequence[str]) -> dict[str, str]:
    """What is written in the place of each word of the files."""
    pages = [PLURALS.get(kind, f"{kind.removesuffix('s')}s") for kind in kinds]
    return _own(names) | {
        "KIND": listed(kinds),
        "HOOK": KINDS.get(kinds[0], ""),
        "PAGES": listed(pages),
        "SUMMARY": "; ".join(TEMPLATES[kind].summary for kind in kinds),
        "COMMANDS": "\n    ".join(_commands(names, kinds)),
        "DEPENDENCY": "vq-cli" if "command" in kinds else "vqcore",
    }


def listed(words: Sequence[str]) -> str:
    """Words in a sentence: ``a, b and c``."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def _commands(names: PluginNames, kinds: Sequence[str]) -> list[str]:
    return [_replaced(TEMPLATES[kind].command, _own(names)) for kind in kinds]


def _filled(files: Mapping[str, str], words: Mapping[str, str]) -> dict[str, str]:
    return {_replaced(place, words): _replaced(text, words) for place, text in files.items()}


def _replaced(text: str, words: Mapping[str, str]) -> str:
    """The text with each of the words replaced, in one pass."""
    return re.sub("|".join(map(re.escape, words)), lambda found: words[found[0]], text)
