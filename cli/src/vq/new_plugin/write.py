"""Writes the package of a new plugin, of one kind. Torch-free.

The files in ``template/`` are those of the distribution my-plugin with the package my_plugin, whose
plugin and component my-part is the class MyPart. Words in capitals differ from kind to kind.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from vq.files import check_free, new_folder
from vq.new_plugin.names import PluginNames
from vqcore.plugin.component import KINDS, PLURALS
from vqcore.plugin.registry import Registry

_FILES = Path(__file__).parent / "template"


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
    name: str, kind: str, folder: Path | None, registry: Registry, commands: Collection[str]
) -> tuple[Path, str]:
    """Write the package of a new plugin, whole or not at all.

    Args:
        name: of the distribution; its component has the same without ``vq-`` or ``vqcore-``.
        kind: one of ``TEMPLATES``.
        folder: where to write it; by default a folder of the plugin's name. Nothing may be there.
        registry: the installed plugins, whose names are taken.
        commands: the names of all commands.

    Returns:
        The folder, and a command to try the plugin.

    Raises:
        SettingError: if the name cannot be used or is taken, or the folder is not empty.
        RunError: if the folder cannot be written.
    """
    names = PluginNames.of(name)
    path = Path(names.distribution) if folder is None else folder
    check_free(path, "FOLDER", "give another after NAME, or remove it")
    names.check_free(kind, registry, commands)
    files, words = _files(kind), _words(names, kind)
    others = _replaced("".join(files.values()), dict.fromkeys(words, "_"))
    if re.search(rf"\b{names.cls}\b", others):
        raise names.refused(f"the class {names.cls} would hide one that it needs")
    with new_folder(path, "FOLDER") as written:
        for place, text in files.items():
            target = written / _replaced(place, words)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(_replaced(text, words), encoding="utf-8")
    return path, words["COMMAND"]


def _files(kind: str) -> dict[str, str]:
    """Path and content of each file of a kind, with what all have in common."""
    folders = ("common", "component", kind) if kind in KINDS else ("common", kind)
    return {
        path.relative_to(_FILES / folder).as_posix(): path.read_text(encoding="utf-8")
        for folder in folders
        for path in sorted((_FILES / folder).rglob("*"))
        if path.is_file() and path.suffix != ".pyc"
    }


def _words(names: PluginNames, kind: str) -> dict[str, str]:
    """What is written in the place of each word of the files."""
    own = {
        "my-plugin": names.distribution,
        "my_plugin": names.package,
        "my-part": names.part,
        "MyPart": names.cls,
    }
    template = TEMPLATES[kind]
    return own | {
        "KIND": kind,
        "HOOK": KINDS.get(kind, ""),
        "PAGE": PLURALS.get(kind, f"{kind.removesuffix('s')}s"),
        "SUMMARY": template.summary,
        "COMMAND": _replaced(template.command, own),
        "DEPENDENCY": "vq-cli" if kind == "command" else "vqcore",
    }


def _replaced(text: str, words: Mapping[str, str]) -> str:
    """The text with each of the words replaced, in one pass."""
    return re.sub("|".join(words), lambda found: words[found[0]], text)
