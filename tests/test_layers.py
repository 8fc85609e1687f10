"""The layer rules of docs/design.md: which module may import which, inside functions too."""

import ast
import re
import sys
from pathlib import Path

import pytest

import vqcore

ROOT = Path(__file__).parents[1]
CORE, CLI = ROOT / "vqcore" / "src" / "vqcore", ROOT / "cli" / "src" / "vq"
PLUGINS = {
    path.name: path
    for path in sorted(ROOT.glob("plugins/*/src/*"))
    if (path / "__init__.py").exists()
}

#: The subpackages and top-level modules of a package, layer by layer: imports run downward only.
LAYERS = {
    "vqcore": (
        ("errors", "plugin"),
        ("numerics", "distributed"),
        ("search",),
        ("interfaces",),
        ("codebook", "data"),
        ("blend", "regularization", "resolve", "projected", "layer", "builtin", "testing"),
    ),
    "vq": (
        (
            "device",
            "display",
            "files",
            "float32",
            "interrupt",
            "memory",
            "optional_dependencies",
            "processes",
            "progress",
            "requirements",
            "terminal",
        ),
        ("config", "data", "doctor", "new_plugin"),
        ("models", "checkpoints", "plugin"),
        ("objects",),
        ("runs",),
        ("composition", "evaluation", "tokens"),
        ("exports", "hub", "sweeps", "training"),
        ("api",),
        ("cli", "testing", "__main__"),
    ),
}
#: The highest layer that plugins may import.
OPEN_TO_PLUGINS = 4
#: Plugins that import ``vq`` too: they add commands, or share what ``vq evaluate`` has.
USE_VQ = {"vq_report", "vq_prior", "vq_papers", "vq_perceptual"}
#: The page that lists what plugins may import.
PUBLIC = (ROOT / "docs" / "plugins" / "index.md").read_text(encoding="utf-8")
#: What modules that declare components and options may import: every command reads them.
DECLARING = {"pydantic", "pluggy"}
CORE_MAY_USE = {"torch", "triton", "pluggy", "pydantic"}  # triton comes with torch


def modules(package):
    """The modules of a package: dotted name -> file."""
    named = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        if "template" in parts:  # data: what ``vq new-plugin`` writes
            continue
        named[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return named


def everything():
    """Every module of the repository's packages."""
    found = modules(CORE) | modules(CLI)
    for package in PLUGINS.values():
        found |= modules(package)
    return found


def exports():
    """Where the names that ``from vqcore import X`` gives live."""
    return {name: f"vqcore.{home}" for name, home in vqcore._HOME.items()}


ALL, EXPORTS = everything(), exports()


def imports(path, *, top_level=False):
    """The modules that a file imports when it runs; names of ours resolve to their own module.

    Imports under ``if TYPE_CHECKING`` do not count. ``top_level`` leaves out function bodies too.
    """
    tree = ast.parse(path.read_text())
    skipped = _for_types_alone if not top_level else _runs_later
    hidden = {inner for node in ast.walk(tree) if skipped(node) for inner in ast.walk(node)}
    found = set()
    for node in ast.walk(tree):
        if node in hidden:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            found |= {_origin(node.module, alias.name) for alias in node.names}
    return found - {"__future__"}


def _for_types_alone(node):
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def _runs_later(node):
    later = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    return later or _for_types_alone(node)


def _origin(module, name):
    if module == "vqcore" and name in EXPORTS:
        return EXPORTS[name]
    return f"{module}.{name}" if f"{module}.{name}" in ALL else module


def layer(name):
    """The layer of a module of vqcore or vq. The package itself imports nothing: the lowest."""
    top, *rest = name.split(".")
    if not rest:
        return 0
    return next(number for number, names in enumerate(LAYERS[top]) if rest[0] in names)


def third_party(names):
    """Top-level names that are neither the standard library's nor this repository's."""
    ours = {"vq", "vqcore", *PLUGINS}
    return {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names) - ours


def test_the_repository_is_found():
    ours = {
        "vq_hyperbolic",
        "vq_grouped",
        "vq_homology",
        "vq_householder",
        "vq_ema",
        "vq_lookup_free",
    }
    assert ours <= set(PLUGINS)
    assert {
        "vqcore.plugin.registry",
        "vqcore.builtin.manifolds.euclidean",
        "vq.config.run_config",
        "vq_ema.plugin",
    } <= set(ALL)
    assert EXPORTS["hookimpl"] == "vqcore.plugin.hooks"


# -- layers -----------------------------------------------------------------


PACKAGES = {"vqcore": CORE, "vq": CLI}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_room_has_a_layer(package):
    present = {name.split(".")[1] for name in modules(PACKAGES[package]) if name != package}
    assert present == {name for names in LAYERS[package] for name in names}


@pytest.mark.parametrize("name", [*modules(CORE), *modules(CLI)])
def test_imports_run_downward(name):
    top = name.partition(".")[0]
    ours = [other for other in imports(ALL[name]) if other.partition(".")[0] == top]
    assert [other for other in ours if layer(other) > layer(name)] == []


@pytest.mark.parametrize("name", modules(CORE))
def test_vqcore_imports_no_other_package_of_ours(name):
    others = {"vq", *PLUGINS}
    assert {other for other in imports(ALL[name]) if other.partition(".")[0] in others} == set()


def test_vqcore_itself_imports_nothing_of_its_own_until_asked():
    assert third_party(imports(CORE / "__init__.py")) == set()
    assert {name for name in imports(CORE / "__init__.py", top_level=True) if name in ALL} == set()


@pytest.mark.parametrize(
    "name", [name for name in modules(CORE) if name != "vqcore" and layer(name) == 0]
)
def test_the_lowest_layer_imports_no_torch(name):
    assert third_party(imports(ALL[name])) <= DECLARING


@pytest.mark.parametrize("name", modules(CORE))
def test_vqcore_uses_nothing_but_torch_pluggy_and_pydantic(name):
    assert third_party(imports(ALL[name])) <= CORE_MAY_USE


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_run_in_no_circle(package):
    names = modules(PACKAGES[package])
    left = {name: imports(path) & set(names) - {name} for name, path in names.items()}
    while free := {name for name, needed in left.items() if not needed & set(left) - {name}}:
        left = {name: needed for name, needed in left.items() if name not in free}
    assert left == {}


# -- plugins -----------------------------------------------


@pytest.mark.parametrize(
    "name", [name for package in PLUGINS.values() for name in modules(package)]
)
def test_a_plugin_imports_vqcores_lower_layers_and_no_other_package_of_ours(name):
    own = name.partition(".")[0]
    for other in imports(ALL[name]):
        top = other.partition(".")[0]
        if top == "vq" and own in USE_VQ:
            subpackage = ".".join(other.split(".")[:2])
            assert f"`{other}`" in PUBLIC or f"`{subpackage}.*`" in PUBLIC, other
            continue
        assert top == own or top not in {"vq", *PLUGINS}, other
        if top == "vqcore":
            assert other in ALL, f"{other} is no module or public name of vqcore"
            assert layer(other) <= OPEN_TO_PLUGINS, other


@pytest.mark.parametrize("package", PLUGINS)
def test_a_plugin_declares_classes_of_its_own_alone(package):
    trees = [ast.parse(path.read_text()) for path in modules(PLUGINS[package]).values()]
    texts = [
        node.value for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant)
    ]
    locations = [
        text
        for text in texts
        if isinstance(text, str) and re.fullmatch(r"[a-z_][\w.]*:[A-Za-z_]\w*", text)
    ]
    assert locations or package in USE_VQ
    assert {location.partition(".")[0] for location in locations} <= {package}


# -- what declares components -----------------------------------------------

DECLARATIONS = [
    name
    for name in ALL
    if re.search(r"(\.plugin|[._]config)$", name) and not name.startswith("vqcore.testing.")
]


def reached(name):
    """Every module that importing ``name`` imports, parent packages included."""
    found, queue = set(), [name]
    while queue:
        each = queue.pop()
        if each not in found:
            found.add(each)
            if each in ALL:
                queue += imports(ALL[each], top_level=True)
            queue += [each.rpartition(".")[0]] if "." in each else []
    return found


@pytest.mark.parametrize("name", DECLARATIONS)
def test_plugin_and_config_modules_import_no_torch(name):
    assert third_party(imports(ALL[name])) - {"yaml"} <= DECLARING
    assert third_party(reached(name)) <= DECLARING


def test_every_package_has_declaring_modules():
    assert {
        "vqcore.builtin.plugin",
        "vqcore.builtin.builtin_config",
        "vq.plugin",
        "vq.config.run_config",
    } <= set(DECLARATIONS)
    assert {f"{package}.plugin" for package in PLUGINS} <= set(DECLARATIONS)


def test_the_rules_see_what_they_forbid(tmp_path):
    """The reader of imports finds each way of writing one."""
    file = tmp_path / "module.py"
    file.write_text(
        "from typing import TYPE_CHECKING\n"
        "import torch.nn as nn, vq_ema.plugin\n"
        "from vqcore import VectorQuantizer, hookimpl\nfrom vqcore.plugin import registry\n"
        "from vq.cli import app\n"
        "if TYPE_CHECKING:\n    import geoopt\n"
        "def build():\n    import gudhi\n"
        "class Inner:\n    import numpy\n"
    )
    always = {
        "typing",
        "torch.nn",
        "vq_ema.plugin",
        "vqcore.layer",
        "vqcore.plugin.hooks",
        "vqcore.plugin.registry",
        "vq.cli.app",
    }
    assert imports(file) == always | {"gudhi", "numpy"}
    assert imports(file, top_level=True) == always | {"numpy"}
    assert third_party(imports(file)) == {"torch", "gudhi", "numpy"}
