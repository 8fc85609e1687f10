"""Writes docs/components.md from the registry: ``uv run python docs/generate_components.py``.

What the page says stands in the code: summaries in the specs, formulas and costs in the docstrings of the classes,
sources in those of their modules, options in the options models. ``tests/test_components.py`` compares the page.
"""

from __future__ import annotations

import importlib
import inspect
import re
import tomllib
from pathlib import Path
from typing import Any

from vqcore.plugin.component import KINDS, ComponentSpec
from vqcore.plugin.registry import Registry

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "components.md"
COMMAND = "uv run python docs/generate_components.py"
#: Kinds whose classes are described by formula, source and cost; of the others summary and options say all.
DESCRIBED = ("manifold", "quantizer", "estimator", "regularizer")
#: First lines of the parts of a docstring that describe code and not the component.
SECTIONS = ("Args:", "Attributes:", "Raises:", "Returns:")

INTRO = f"""# Components

Every component that comes with this repository, by kind, with its formula, cost, source and options.
`vq show KIND NAME` prints the options on a terminal. An option is `--quantizer.decay 0.9` on the command line,
`quantizer: {{name: ema, decay: 0.9}}` in a file, and in code the same mapping,
`VectorQuantizer(..., quantizer={{"name": "ema", "decay": 0.9}})`.

z is a latent of D dimensions, read as a tangent vector at the manifold's origin, and z_q its code; x and e are their
points on the manifold. There are N tokens in a step and K codes. sg stops a gradient. Costs are those of one step.

This page is written by `{COMMAND}`: change the code, then run it again.
"""


def page() -> str:
    """The whole page."""
    registry, packages = Registry(disabled=()), our_packages()
    ours = [plugin for plugin in registry.plugins if plugin.package in packages]
    parts = [INTRO]
    for kind in KINDS:
        found = [
            (plugin.package, spec) for plugin in ours for spec in plugin.provides.get(kind, ())
        ]
        found.sort(key=lambda each: each[1].name)
        parts.append(f"\n## {kind.capitalize()}s\n\n{overview(found)}")
        parts += [entry(kind, package, spec, registry) for package, spec in found]
    return "".join(parts)


def our_packages() -> set[str]:
    """The distributions of this repository: others that are installed do not belong on the page."""
    files = [*ROOT.glob("*/pyproject.toml"), *ROOT.glob("plugins/*/pyproject.toml")]
    return {tomllib.loads(file.read_text(encoding="utf-8"))["project"]["name"] for file in files}


def overview(entries: list[tuple[str, ComponentSpec]]) -> str:
    """The table of one kind."""
    rows = [
        (f"[{spec.name}](#{spec.name})", package, cell(spec.summary)) for package, spec in entries
    ]
    return table(("name", "package", "what it is"), rows)


def entry(kind: str, package: str, spec: ComponentSpec, registry: Registry) -> str:
    """The section of one component."""
    lines = [f"### {spec.name}", f"From `{package}`: {spec.summary}."]
    if kind in DESCRIBED:
        about, cost = description(spec)
        lines += [*about, f"Cost: {cost}"]
        if source := source_of(spec):
            lines.append(f"Source: {source}.")
    options = registry.options(kind, f"{package}/{spec.name}")
    return (
        "\n"
        + "\n\n".join(lines)
        + "\n\n"
        + (option_table(options) if options else "It has no options.\n")
    )


def description(spec: ComponentSpec) -> tuple[list[str], str]:
    """The paragraphs of the class docstring in Markdown, and what its ``Cost:`` paragraph says.

    Raises:
        SystemExit: if the class does not state its cost.
    """
    paragraphs, costs = [], []
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(target_of(spec).__doc__ or "")):
        if paragraph.split("\n")[0] in SECTIONS:
            break
        (costs if paragraph.startswith("Cost: ") else paragraphs).append(markdown(paragraph))
    if len(costs) != 1:
        raise SystemExit(
            f"{spec.target}: expected one paragraph 'Cost: ...' in the docstring, before Args"
        )
    return [text for text in paragraphs if text], costs[0].removeprefix("Cost: ")


def source_of(spec: ComponentSpec) -> str:
    """The papers, which the first paragraph of the module's docstring has in brackets, with links to arXiv."""
    module = importlib.import_module(spec.target.partition(":")[0])
    first = inspect.cleandoc(module.__doc__ or "").split("\n\n")[0].replace("\n", " ")
    return linked("; ".join(re.findall(r"\(([^()]+)\)", first)))


def linked(text: str) -> str:
    """Text with a link behind each number of arXiv."""
    return re.sub(r"arXiv:(\d{4}\.\d{4,5})", r"[arXiv:\1](https://arxiv.org/abs/\1)", text)


def target_of(spec: ComponentSpec) -> Any:
    """The class or function of a component."""
    module, _, name = spec.target.partition(":")
    return getattr(importlib.import_module(module), name)


def markdown(text: str) -> str:
    """A paragraph of a docstring on one line; references to options of a base class are left to the table."""
    joined = re.sub(r"\s*\n\s*", " ", text)
    joined = re.sub(r"\s*Options: see ``\w+``\.", "", joined)
    return linked(re.sub(r"``([^`]+)``", r"`\1`", joined).replace("*", r"\*").strip())


def option_table(options: list[dict[str, Any]]) -> str:
    """The options of a component."""
    rows = [
        (f"`{each['name']}`", cell(each["type"]), cell(default_of(each)), cell(each["description"]))
        for each in options
    ]
    return table(("option", "type", "default", "what it does"), rows)


def default_of(option: dict[str, Any]) -> str:
    """A default as a settings file would have it."""
    value = option["default"]
    if option["required"]:
        return "required"
    if isinstance(value, dict):
        return value["name"]
    return (
        str(value).lower() if isinstance(value, bool) else "null" if value is None else str(value)
    )


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def cell(text: str) -> str:
    """Text that a table can hold."""
    return text.replace("\n", " ").replace("|", r"\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
