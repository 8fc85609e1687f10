"""For every rule for plugins there is a plugin that breaks it, and the kit finds it."""

import importlib
import sys
from types import SimpleNamespace

import pytest

from vqcore.errors import SettingError
from vqcore.plugin.registry import Registry
from vqcore.testing import ConformanceError, PluginConformance, rules, violations
from vqcore.testing.components import component_case

PLUGIN = """
from vqcore.plugin.component import ComponentSpec
from vqcore.plugin.hooks import hookimpl

VQ_API = 1

@hookimpl
def vq_manifolds():
    config = "acme_config:PlaneConfig"
    return [ComponentSpec(name="plane", target="acme_space:Plane", config=config, summary="flat")]

@hookimpl
def vq_settings():
    return "acme_config:AcmeConfig"
"""
CONFIG = '''
from typing import Annotated
from vqcore.plugin.bounds import Scale
from vqcore.plugin.component_config import (
    ActsIf, ComponentConfig, ComponentRef, ManifoldRef, QuantizerRef
)

class PlaneConfig(ComponentConfig):
    """Options of the plane."""

    scale: Scale = 1.0
    """Factor of all distances."""

class AcmeConfig(ComponentConfig):
    """Settings of the plugin itself."""

    limit: Scale = 2.0
    """Largest distance."""
'''
SPACE = """
from vqcore.builtin.manifolds.euclidean import Euclidean

class Plane(Euclidean):
    def __init__(self, scale=1.0):
        super().__init__()
        self.scale = scale
"""
#: Rule -> (module, text, its replacement).
BROKEN = {
    "api-version": ("acme", "VQ_API = 1", ""),
    "loads": ("acme", "def vq_manifolds():", "def vq_manifolds():\n    1 / 0"),
    "import-is-torch-free": (
        "acme_config",
        "from vqcore.plugin.component_config",
        "import torch\nfrom vqcore.plugin.component_config",
    ),
    "import-is-fast": (
        "acme",
        "VQ_API = 1",
        # in a fresh interpreter alone, which has used less than 2 s
        "from time import process_time as now\nend = max(2.5 * now(), now() + 0.4)\n"
        "while end < 5 and now() < end:\n    pass\nVQ_API = 1",
    ),
    "nothing-is-printed": ("acme", "VQ_API = 1", "VQ_API = 1; print('hello')"),
    "specs-are-valid": ("acme", 'summary="flat"', 'summary="flat\\nand wide"'),
    "targets-fit-their-kind": ("acme_space", "class Plane(Euclidean)", "class Plane(dict)"),
    "options-are-a-model": (
        "acme_config",
        "class PlaneConfig(ComponentConfig)",
        "class PlaneConfig(__import__('pydantic').BaseModel)",
    ),
    "options-are-described": ("acme_config", '    """Factor of all distances."""\n', ""),
    "options-depend-on-options": (
        "acme_config",
        "scale: Scale = 1.0",
        'scale: Annotated[Scale, ActsIf("size")] = 1.0',
    ),
    "numbers-are-bounded": ("acme_config", "scale: Scale", "scale: tuple[float, ...] | float"),
    "constructors-take-their-options": (
        "acme_space",
        "scale=1.0):\n",
        "size=1.0):\n        scale = size\n",
    ),
    "defaults-build": ("acme_space", "self.scale = scale", "self.scale = 1 / 0"),
    "settings-have-defaults": ("acme_config", "limit: Scale = 2.0", "limit: Scale"),
    "inner-components-have-defaults": (
        "acme_config",
        "scale: Scale = 1.0",
        'scale: ManifoldRef = ComponentRef(name="nowhere")',
    ),
}


def case_of(**attributes):
    return type("Case", (PluginConformance,), attributes)()


@pytest.fixture
def install(distribution):
    """Installs a distribution ``acme`` with one text of a module replaced."""

    def install_changed(module="acme", text="", replacement=""):
        modules = {"acme": PLUGIN, "acme_config": CONFIG, "acme_space": SPACE}
        assert text in modules[module]
        modules[module] = modules[module].replace(text, replacement)
        distribution("acme-spaces", modules, {"acme": "acme"})

    return install_changed


@pytest.mark.parametrize("rule", BROKEN)
def test_a_broken_plugin_violates_its_rule(install, rule):
    install(*BROKEN[rule])
    with pytest.raises(ConformanceError) as caught:
        getattr(case_of(plugin="acme"), f"test_{rule.replace('-', '_')}")()
    assert caught.value.rule == rule
    assert rules(PluginConformance)[rule] in str(caught.value)


def test_every_rule_has_a_violation():
    assert set(BROKEN) == set(rules(PluginConformance))


def test_a_good_plugin_breaks_nothing_however_it_is_named(install):
    install()
    registry = Registry()
    assert violations(case_of(plugin="acme")) == []
    assert violations(case_of(plugin=importlib.import_module("acme"))) == []
    assert violations(case_of(package="acme-spaces", registry=lambda self: registry)) == []


def test_a_module_that_is_not_installed_can_be_checked(tmp_path, monkeypatch, unloaded_modules):
    for name, text in {"acme": PLUGIN, "acme_config": CONFIG, "acme_space": SPACE}.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    assert violations(case_of(plugin="acme")) == []
    assert "acme_space" in sys.modules


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("atexit.register(os.write, 1, b'bye\\xff\\n')", "prints 'bye\N{REPLACEMENT CHARACTER}'"),
        ("os._exit(0)", "ends Python with 0"),
    ],
)
def test_a_plugin_that_prints_at_exit_or_ends_python_is_told(install, text, found):
    alone = "import atexit, os, sys; 'vqcore.testing' in sys.modules"
    install("acme", "VQ_API = 1", f"{alone} or {text}; VQ_API = 1")
    with pytest.raises(ConformanceError) as caught:
        case_of(plugin="acme").test_nothing_is_printed()
    assert found in caught.value.detail


def test_a_single_file_may_import_torch(tmp_path, monkeypatch, unloaded_modules):
    text = f"import torch\n{PLUGIN}\n{CONFIG}\n{SPACE}"
    (tmp_path / "single.py").write_text(
        text.replace("acme_config:", "single:").replace("acme_space:", "single:")
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert [error.rule for error in violations(case_of(plugin="single"))] == [
        "import-is-torch-free"
    ]
    assert violations(case_of(plugin="single", torch_free=False)) == []


def test_a_plugin_that_does_not_load_violates_several_rules_with_the_cause(install):
    install("acme", "VQ_API = 1", "VQ_API = 2")
    found = violations(case_of(package="acme-spaces", registry=lambda self: Registry()))
    assert {"api-version", "loads"} <= {error.rule for error in found}
    assert all("VQ_API = 2" in error.detail for error in found)


def test_a_quantizer_is_checked_in_a_size_that_it_takes():
    class Ternary:
        """A registry with one quantizer, for multiples of 3."""

        def resolve(self, kind, choice):
            return SimpleNamespace(kind=kind)

        def target(self, chosen):
            return object

        def build(self, chosen, *, codebook_size, **others):
            if codebook_size % 3:
                raise SettingError("codebook_size", codebook_size, "a multiple of 3")

    case = component_case(Ternary(), "quantizer", "ternary")
    assert (case.dim, case.codebook_size) == (9, 27)


def test_a_missing_package_is_reported():
    with pytest.raises(ConformanceError, match="no plugin of 'nowhere' is found"):
        case_of(package="nowhere").test_loads()
    with pytest.raises(ConformanceError, match="neither plugin nor package is set"):
        case_of().test_loads()
