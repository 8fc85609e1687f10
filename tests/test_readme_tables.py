"""The component tables of the READMEs name what the packages register, no more and no less."""

import re
import tomllib
from pathlib import Path

import pytest

from vqcore.plugin.registry import Registry

ROOT = Path(__file__).parent.parent
#: What the README's column "built in" stands for.
BUILT_IN = ("vqcore", "vq-cli")


def folders():
    """The folder of each package of this repository, by the package's name."""
    projects = [*ROOT.glob("*/pyproject.toml"), *ROOT.glob("plugins/*/pyproject.toml")]
    return {tomllib.loads(p.read_text())["project"]["name"]: p.parent for p in projects}


def registered():
    """(kind, name) of each component, by package: ours alone, whatever else is installed."""
    return {
        plugin.package: {
            (kind, spec.name) for kind, specs in plugin.provides.items() for spec in specs
        }
        for plugin in Registry(disabled=()).plugins
        if plugin.package in FOLDERS
    }


def rows(file, head):
    """The cells of each row of the one table with this head."""
    (table,) = re.findall(
        rf"^{re.escape(head)}\n\|[-|]+\|\n((?:\|.*\n)+)", file.read_text(encoding="utf-8"), re.M
    )
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()]


FOLDERS = folders()
REGISTERED = registered()


def test_the_readme_lists_every_component_beside_its_package():
    listed, built_in = set(), set()
    for kind, ours, plugins in rows(ROOT / "README.md", "| kind | built in | from plugins |"):
        built_in |= {(kind, name) for name in ours.split(", ")}
        for names, package in re.findall(r"([\w, -]+) \(`([\w-]+)`\)", plugins):
            listed |= {(package, kind, name) for name in names.strip(", ").split(", ")}
    assert built_in == set.union(*(REGISTERED[package] for package in BUILT_IN))
    assert listed == {
        (package, *component)
        for package in REGISTERED.keys() - set(BUILT_IN)
        for component in REGISTERED[package]
    }


@pytest.mark.parametrize("package", sorted(name for name in REGISTERED if REGISTERED[name]))
def test_a_packages_readme_lists_its_components(package):
    listed = rows(FOLDERS[package] / "README.md", "| kind | name | what it is |")
    assert {(kind, name.strip("`")) for kind, name, _ in listed} == REGISTERED[package]
    assert len(listed) == len(REGISTERED[package])


def test_a_package_without_components_has_no_table():
    for package in FOLDERS.keys() - {name for name in REGISTERED if REGISTERED[name]}:
        text = (FOLDERS[package] / "README.md").read_text(encoding="utf-8")
        assert "| kind | name | what it is |" not in text
