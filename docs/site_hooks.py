"""What MkDocs does beyond its settings in mkdocs.yml: pages that the repository has elsewhere.

READMEs of packages, CONTRIBUTING.md and CHANGELOG.md become pages of the site. Links between pages
are written as paths in the repository, so that they work on a code host too; here they become links
between pages of the site.
"""

from __future__ import annotations

import ast
import json
import posixpath
import re
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
#: Pages outside docs/, by their paths in the repository: their places on the site.
ELSEWHERE = {
    "CONTRIBUTING.md": "project/contributing.md",
    "CHANGELOG.md": "project/changelog.md",
    "benchmarks/README.md": "project/benchmarks.md",
    "examples/README.md": "examples/index.md",
    **{
        path.relative_to(ROOT).as_posix(): f"examples/{path.parent.name}.md"
        for path in ROOT.glob("examples/*/README.md")
    },
    **{
        path.relative_to(ROOT).as_posix(): f"packages/{path.parent.name.replace('_', '-')}.md"
        for path in (*ROOT.glob("*/README.md"), *ROOT.glob("plugins/*/README.md"))
        if (path.parent / "pyproject.toml").exists()
    },
}
#: Files that pages link to, at the same places on the site.
LINKED = [
    path.relative_to(ROOT).as_posix()
    for pattern in ("examples/*.py", "examples/*.ipynb", "examples/loops/*.py")
    for path in ROOT.glob(pattern)
]
#: Pages that the site replaces by others.
REPLACED = {"README.md": "index.md"}
#: Packages whose exports have a page each.
EXPORTING = ("vqcore", "vqcore.testing", "vq", "vq.testing")
SOURCES = (ROOT / "vqcore" / "src", ROOT / "cli" / "src")
#: A link or an image up to its path, which is relative.
_LINK = re.compile(r"\[([^\[\]]*)\]\((?!\w+:|#)([^)#\s]+)(?=[)#])")


def on_files(files: Any, *, config: Any) -> Any:
    """Add the pages and files from outside docs/."""
    from mkdocs.structure.files import File

    for source, place in ELSEWHERE.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, place, content=text))
    for place in LINKED:
        files.append(File.generated(config, place, abs_src_path=str(ROOT / place)))
    for place, text in api_pages().items():
        files.append(File.generated(config, place, content=text))
    return files


def api_pages() -> dict[str, str]:
    """Pages of the Python API: the exports of each package, then its public modules, grouped."""
    pages = {f"api/{name}.md": _page_of_exports(name) for name in EXPORTING}
    groups: dict[str, list[str]] = {}
    for name in public_modules():
        package, *inner = name.split(".")
        title = f"{package}.{inner[0]}" if len(inner) > 1 else f"Other modules of {package}"
        groups.setdefault(title, []).append(name)
    for title, names in groups.items():
        pages[f"api/{title.lower().replace(' ', '-')}.md"] = _page(title, names)
    return pages


def _page_of_exports(package: str) -> str:
    options = {
        "members": exports(package),
        "group_by_category": False,
        "show_submodules": True,  # the function vqcore.testing.rules has the name of its module
        "summary": True,
        "show_root_heading": False,
        "show_root_toc_entry": False,
    }
    return f"# {package}\n\n::: {package}\n    options: {json.dumps(options)}\n"


def _page(title: str, names: list[str]) -> str:
    return "\n\n".join([f"# {title}", *(f"::: {name}" for name in names)])


def exports(package: str) -> list[str]:
    """``__all__`` of a package, read from its source: the site needs no torch."""
    paths = [folder.joinpath(*package.split("."), "__init__.py") for folder in SOURCES]
    tree = ast.parse(next(path for path in paths if path.exists()).read_text(encoding="utf-8"))
    (names,) = (
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    )
    return list(ast.literal_eval(names))


def public_modules() -> list[str]:
    """The modules that docs/plugins/index.md lists as public, but for what EXPORTING has."""
    text = (ROOT / "docs/plugins/index.md").read_text(encoding="utf-8")
    _, _, table = text.partition("| module | what it has |")
    patterns = set(re.findall(r"(?<=`)vq(?:core)?(?:\.[\w*]+)+(?=`)", table)) - {*EXPORTING}
    paths = [path.relative_to(folder) for folder in SOURCES for path in folder.rglob("*.py")]
    found = [".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in paths]
    return sorted(name for name in found if any(fnmatch(name, each) for each in patterns))


def on_page_markdown(markdown: str, *, page: Any, files: Any, **_: Any) -> str:
    """Turn links between files of the repository into links between pages of the site."""
    titles = {file.src_uri: title(file.content_string) for file in files.documentation_pages()}
    return as_mkdocs_reads(with_site_links(markdown, page.file.src_uri, titles))


def title(markdown: str) -> str:
    """The first heading of a page."""
    found = re.search(r"^# (.+)", markdown, re.M)
    return found[1] if found else ""


def with_site_links(markdown: str, place: str, titles: Mapping[str, str]) -> str:
    """The text of the page at ``place`` of the site, with links to other places of the site.

    A link that names a file, as in ``[data.md](data.md)``, gets the title of its page.
    """
    sources = {site: source for source, site in ELSEWHERE.items()}
    folder = posixpath.dirname(sources.get(place, f"docs/{place}"))

    def link(match: re.Match[str]) -> str:
        text, path = match.groups()
        target = posixpath.normpath(posixpath.join(folder, path))
        site = (ELSEWHERE | REPLACED).get(target, target.removeprefix("docs/"))
        text = titles.get(site, text) if text.endswith(".md") else text
        return f"[{text}]({posixpath.relpath(site, posixpath.dirname(place) or '.')}"

    return _LINK.sub(link, markdown)


def as_mkdocs_reads(markdown: str) -> str:
    """The text where MkDocs reads Markdown in another way than CommonMark and code hosts do.

    What belongs to a list item is indented by four instead of by the indent of the item's first
    word, two or three. A bar in the code of a table's cell is not escaped.
    """
    lines, missing, fenced = [], 0, False
    for line in markdown.split("\n"):
        fenced ^= line.startswith("```")
        if item := None if fenced else re.match(r"(?:-|\d+\.) +", line):
            missing = 4 - item.end()
        elif line and not line.startswith("  "):
            missing = 0
        if line.lstrip().startswith("|"):
            line = re.sub(r"`[^`]*`", lambda code: code[0].replace(r"\|", "|"), line)
        lines.append(" " * missing + line if missing and line.startswith("  ") else line)
    return "\n".join(lines)
