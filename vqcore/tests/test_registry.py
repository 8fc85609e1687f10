"""Finding, loading and resolving plugins: a broken one is reported and stops no other."""

import inspect
import json
import re
import sys

import pytest

import vqcore
from vqcore.errors import ComponentError, SettingError, UsageError
from vqcore.plugin.component import KINDS, ComponentSpec
from vqcore.plugin.component_config import descriptions
from vqcore.plugin.loader import disabled_names
from vqcore.plugin.registry import Registry

HEAD = "from vqcore import ComponentSpec, hookimpl\nVQ_API = 1\n"
TARGETS = """
from vqcore import Manifold

class Cube(Manifold):
    pass

Cube.__abstractmethods__ = frozenset()
"""


def hook(specs, kind="manifold", mark="@hookimpl"):
    """The text of one hook that returns ``specs``, a Python expression."""
    return f"{mark}\ndef {KINDS[kind]}():\n    return {specs}\n"


def spec(name="fancy", target="cubes:Cube", **fields):
    """The text of a ComponentSpec."""
    fields = {"name": name, "target": target, "summary": "a test's"} | fields
    return f"ComponentSpec({', '.join(f'{key}={value!r}' for key, value in fields.items())})"


FANCY = HEAD + hook(f"[{spec()}]")
BROKEN = {
    "missing-dependency": (
        "import nobody_has_this\n" + FANCY,
        "error",
        "ModuleNotFoundError: .*nobody_has_this",
    ),
    "raises": (FANCY + "1 / 0\n", "error", "ZeroDivisionError"),
    "raises-mute": (
        FANCY + "assert not VQ_API\n",
        "error",
        r"AssertionError \(fancy_plugin:\d+\)$",
    ),
    "exits": (FANCY + "import sys\nsys.exit('bye')\n", "error", "SystemExit: bye"),
    "exits-0": (FANCY + "raise SystemExit(0)\n", "error", "SystemExit: 0"),
    "syntax-error": (FANCY + "def f(:\n", "error", r"SyntaxError: .*fancy_plugin.py, line 6"),
    "without-api": (
        FANCY.replace("VQ_API", "API"),
        "incompatible",
        "VQ_API = None: expected VQ_API = 1",
    ),
    "newer-api": (
        FANCY.replace("= 1", "= 2"),
        "incompatible",
        "VQ_API = 2.*supports version 1; upgrade vqcore",
    ),
    "older-api": (FANCY.replace("= 1", "= 0"), "incompatible", "VQ_API = 0.*upgrade the plugin"),
    "true-api": (
        FANCY.replace("= 1", "= True"),
        "incompatible",
        "VQ_API = True: expected VQ_API = 1",
    ),
    "text-api": (
        FANCY.replace("= 1", "= '1'"),
        "incompatible",
        "VQ_API = '1': expected VQ_API = 1",
    ),
    "object-api": (
        FANCY.replace("= 1", "= object()"),
        "incompatible",
        "VQ_API = <object.*expected VQ_API = 1",
    ),
    "misspelt-hook": (
        FANCY.replace("vq_manifolds", "vq_manifold"),
        "error",
        "unknown hook 'vq_manifold'; did you mean 'vq_manifolds'?",
    ),
    "wrong-argument": (
        FANCY.replace("manifolds()", "manifolds(size)"),
        "error",
        r"vq_manifolds takes 'size': it has no arguments",
    ),
    "forgets-the-mark": (
        FANCY.replace("@hookimpl", ""),
        "error",
        "vq_manifolds is not marked: .*@vqcore.hookimpl",
    ),
    "hook-raises": (HEAD + hook("1 / 0"), "error", "^vq_manifolds: ZeroDivisionError"),
    "hook-exits": (HEAD + hook("exit(3)"), "error", "^vq_manifolds: SystemExit: 3"),
    "hook-yields-text": (
        HEAD + hook("['fancy']"),
        "error",
        "vq_manifolds yields 'fancy': expected a ComponentSpec",
    ),
    "hook-yields-nothing": (
        HEAD + hook("[None]"),
        "error",
        "vq_manifolds yields None: expected a ComponentSpec",
    ),
    "hook-returns-a-spec": (
        HEAD + hook(spec()),
        "error",
        r"vq_manifolds returns ComponentSpec\(.*expected a list of ComponentSpecs",
    ),
    "hook-returns-a-number": (HEAD + hook("5"), "error", "vq_manifolds returns 5: expected a list"),
    "hook-is-a-wrapper": (
        HEAD + hook("(yield)", mark="@hookimpl(wrapper=True)"),
        "error",
        "vq_manifolds yields None: expected a ComponentSpec",
    ),
    "one-name-twice": (
        HEAD + hook(f"[{spec()}, {spec()}]"),
        "error",
        "vq_manifolds names fancy twice",
    ),
    "one-of-two-bad": (FANCY + hook("[0]", "quantizer"), "error", "vq_quantizers yields 0"),
    "upper-case": (
        HEAD + hook(f"[{spec('Fancy')}]"),
        "error",
        "component name 'Fancy': expected lower-case words",
    ),
    "underscore": (HEAD + hook(f"[{spec('fan_cy')}]"), "error", "component name 'fan_cy'"),
    "slash": (HEAD + hook(f"[{spec('my/fancy')}]"), "error", "component name 'my/fancy'"),
    "no-name": (HEAD + hook(f"[{spec('')}]"), "error", "component name ''"),
    "target-without-class": (
        HEAD + hook(f"[{spec(target='cubes')}]"),
        "error",
        "target = 'cubes': expected 'package",
    ),
    "no-target": (
        HEAD + hook(f"[{spec(target=None)}]"),
        "error",
        "target = None: expected 'package",
    ),
    "bad-config": (
        HEAD + hook(f"[{spec(config='Cube')}]"),
        "error",
        "config = 'Cube': expected 'package",
    ),
    "no-summary": (
        HEAD + hook(f"[{spec(summary=' ')}]"),
        "error",
        "fancy: expected a summary of one line",
    ),
    "needs-a-text": (
        HEAD + hook(f"[{spec(needs='torch')}]"),
        "error",
        "fancy: needs = 'torch': expected a tuple",
    ),
}


def record(registry, package):
    (found,) = [plugin for plugin in registry.plugins if plugin.package == package]
    return found


def refusal(registry, *asked):
    """The message that a component which cannot be had ends with."""
    with pytest.raises(ComponentError) as caught:
        registry.resolve(*asked)
    return str(caught.value)


@pytest.fixture
def healthy(distribution):
    """A package whose plugin is loaded before the others of a test, and works."""
    distribution(
        "able-pkg", {"able": HEAD + hook(f"[{spec('cube')}]"), "cubes": TARGETS}, {"able": "able"}
    )


def check_the_others(registry):
    cube = registry.resolve("manifold", "cube")
    assert (cube.package, type(registry.build(cube)).__name__) == ("able-pkg", "Cube")
    assert registry.resolve("manifold", "euclidean").package == "vqcore"
    assert {record(registry, package).status for package in ("able-pkg", "vqcore")} == {"ok"}


# -- broken plugins ---------------------------------------------------------


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_plugin_is_reported_and_stops_no_other(case, distribution, healthy):
    source, status, cause = BROKEN[case]
    distribution("broken-pkg", {"fancy_plugin": source}, {"fancy": "fancy_plugin"})
    registry = Registry()
    broken = record(registry, "broken-pkg")
    assert (broken.plugin, broken.version, broken.status, broken.provides) == (
        "fancy",
        "1.0",
        status,
        {},
    )
    assert re.search(cause, broken.error), broken.error
    assert "\n" not in broken.error
    assert broken.api is None or type(broken.api) is int
    left = [
        each for hooks in vars(registry.manager.hook).values() for each in hooks.get_hookimpls()
    ]
    assert "broken-pkg:fancy" not in {each.plugin_name for each in left}
    check_the_others(registry)
    for name in ("fancy", "broken-pkg/fancy"):
        text = refusal(registry, "manifold", name)
        assert f"plugin fancy of broken-pkg is not loaded ({status}): {broken.error}" in text
    assert "broken-pkg" not in refusal(registry, "manifold", "able-pkg/fancy")


def test_the_table_of_broken_plugins_starts_from_one_that_works(distribution, healthy):
    distribution("broken-pkg", {"fancy_plugin": FANCY}, {"fancy": "fancy_plugin"})
    registry = Registry()
    fancy = record(registry, "broken-pkg")
    assert (fancy.status, fancy.error, fancy.api) == ("ok", None, 1)
    assert [each.name for each in fancy.provides["manifold"]] == ["fancy"]
    assert registry.resolve("manifold", "fancy").package == "broken-pkg"


def test_a_class_as_entry_point_is_refused(distribution, healthy):
    distribution("broken-pkg", {"fancy_plugin": TARGETS}, {"fancy": "fancy_plugin:Cube"})
    registry = Registry()
    assert "expected a module" in record(registry, "broken-pkg").error
    check_the_others(registry)


@pytest.mark.parametrize("value", ["nowhere_at_all", "fancy_plugin.sub", "not a module"])
def test_an_entry_point_that_leads_nowhere_is_reported(value, distribution, healthy):
    distribution("broken-pkg", {"fancy_plugin": FANCY}, {"fancy": value})
    registry = Registry()
    broken = record(registry, "broken-pkg")
    assert broken.status == "error"
    assert f"entry point fancy = {value} of 'vqcore': no module" in broken.error
    check_the_others(registry)


def test_a_plugin_for_another_vqcore_says_which_one_it_requires(distribution, healthy):
    source = "from vqcore import NotYet\n" + FANCY
    folder = distribution("later-pkg", {"fancy_plugin": source}, {"fancy": "fancy_plugin"})
    with (folder / "later_pkg-1.0.dist-info" / "METADATA").open("a") as metadata:
        metadata.write("Requires-Dist: vqcore-ema>=1\nRequires-Dist: vqcore>=9\n")
    registry = Registry()
    later = record(registry, "later-pkg")
    assert later.status == "incompatible"
    assert "cannot import name 'NotYet'" in later.error
    assert "; the plugin requires vqcore>=9, and this is vqcore " in later.error
    check_the_others(registry)


def test_what_a_plugin_prints_goes_to_stderr_and_is_noted(distribution, healthy, capsys):
    modules = {
        "fancy_plugin": FANCY + "import sys\nkept = sys.stdout\nprint('hello')\n",
        "cubes": TARGETS + "print('from the target')\n",
    }
    distribution("loud-pkg", modules, {"fancy": "fancy_plugin"})
    registry = Registry()
    loud = record(registry, "loud-pkg")
    assert loud.status == "ok"
    assert loud.notes == ["prints when it is loaded: 'hello\\n'"]
    assert record(registry, "able-pkg").notes == []
    registry.build(registry.resolve("manifold", "fancy"))
    sys.modules["fancy_plugin"].kept.write("a handler of logs\n")
    assert capsys.readouterr() == ("", "hello\nfrom the target\na handler of logs\n")


def test_a_plugin_that_imports_torch_is_noted(distribution, healthy, monkeypatch):
    source = FANCY + "import sys\nsys.modules['torch'] = sys\n"
    distribution("slow-pkg", {"fancy_plugin": source}, {"fancy": "fancy_plugin"})
    monkeypatch.delitem(sys.modules, "torch")
    slow = record(Registry(), "slow-pkg")
    assert slow.notes == ["imports torch when it is loaded, which slows down every command"]


@pytest.mark.parametrize("text", [None, b"", b"Name: \xff\xfe"])
def test_a_distribution_with_damaged_metadata_is_listed(text, distribution, healthy):
    metadata = distribution("broken-pkg", {"fancy_plugin": FANCY}, {"fancy": "fancy_plugin"})
    metadata /= "broken_pkg-1.0.dist-info/METADATA"
    metadata.unlink() if text is None else metadata.write_bytes(text)
    registry = Registry()
    assert record(registry, "?").version == "?"
    check_the_others(registry)


def test_ctrl_c_while_a_plugin_loads_interrupts(distribution):
    distribution(
        "broken-pkg", {"fancy_plugin": "raise KeyboardInterrupt"}, {"fancy": "fancy_plugin"}
    )
    with pytest.raises(KeyboardInterrupt):
        Registry()


# -- names that two packages provide ----------------------------------------


def test_a_name_that_two_packages_provide_is_an_error_naming_both(distribution, healthy):
    distribution(
        "rival-pkg", {"rival": HEAD + hook(f"[{spec('cube')}, {spec('ring')}]")}, {"rival": "rival"}
    )
    registry = Registry()
    text = refusal(registry, "manifold", "cube")
    assert "able-pkg/cube" in text
    assert "rival-pkg/cube" in text
    for package, other in (("able-pkg", "rival-pkg"), ("rival-pkg", "able-pkg")):
        clash = record(registry, package)
        assert clash.status == "clash"
        assert clash.error == f"manifold 'cube' is also provided by {other}; use {package}/cube"
        chosen = registry.resolve("manifold", f"{package}/cube")
        assert (chosen.package, chosen.dump()) == (package, {"name": f"{package}/cube"})
        assert type(registry.build(chosen)).__name__ == "Cube"
    assert registry.resolve("manifold", "ring").package == "rival-pkg"
    assert registry.names("manifold").count("cube") == 1


def test_the_same_name_for_another_kind_is_no_clash(distribution, healthy):
    distribution(
        "rival-pkg", {"rival": HEAD + hook(f"[{spec('cube')}]", "estimator")}, {"rival": "rival"}
    )
    registry = Registry()
    assert record(registry, "rival-pkg").status == "ok"
    assert registry.resolve("estimator", "cube").package == "rival-pkg"
    check_the_others(registry)


def test_a_package_that_reuses_default_names_does_not_replace_the_defaults(distribution):
    taken = {"manifold": "euclidean", "quantizer": "codebook", "estimator": "straight-through"}
    source = HEAD + "".join(hook(f"[{spec(name)}]", kind) for kind, name in taken.items())
    distribution("rival-pkg", {"rival": source}, {"rival": "rival"})
    registry = Registry()
    for kind, name in taken.items():
        assert "rival-pkg" in refusal(registry, kind, name)
        assert registry.resolve(kind, f"vqcore/{name}").package == "vqcore"
        assert registry.resolve(kind, f"vqcore/{name}").name == f"vqcore/{name}"
    from vqcore import VectorQuantizer

    layer = VectorQuantizer(dim=2, codebook_size=4, registry=registry)
    assert type(layer.manifold).__module__ == "vqcore.builtin.manifolds.euclidean"


def test_two_packages_may_name_their_entry_points_alike(distribution, healthy):
    for package, name in (("first-pkg", "ring"), ("second-pkg", "torus")):
        module = f"{name}_plugin"
        distribution(package, {module: HEAD + hook(f"[{spec(name)}]")}, {"extra": module})
    registry = Registry()
    assert registry.resolve("manifold", "ring").package == "first-pkg"
    assert registry.resolve("manifold", "extra/torus").package == "second-pkg"
    check_the_others(registry)


def test_a_broken_plugin_leaves_another_of_the_same_entry_point_name_alone(distribution, healthy):
    distribution(
        "first-pkg", {"ring_plugin": HEAD + hook(f"[{spec('ring')}]")}, {"extra": "ring_plugin"}
    )
    distribution("second-pkg", {"torus_plugin": "1 / 0"}, {"extra": "torus_plugin"})
    registry = Registry()
    assert registry.resolve("manifold", "extra/ring").package == "first-pkg"
    assert record(registry, "second-pkg").status == "error"


# -- plugins switched off ---------------------------------------------------


@pytest.mark.parametrize(
    "variable", ["fancy", "off-pkg", "OFF_PKG", "other, fancy", "fancy other", " ,off-pkg,, "]
)
def test_a_disabled_plugin_is_listed_but_not_imported(variable, distribution, healthy, monkeypatch):
    distribution("off-pkg", {"fancy_plugin": "1 / 0"}, {"fancy": "fancy_plugin"})
    monkeypatch.setenv("VQ_DISABLE_PLUGINS", variable)
    registry = Registry()
    assert record(registry, "off-pkg").status == "disabled"
    check_the_others(registry)
    text = refusal(registry, "manifold", "fancy")
    assert "plugin fancy of off-pkg is not loaded (disabled): named in VQ_DISABLE_PLUGINS" in text


def test_several_plugins_can_be_disabled(distribution, healthy, monkeypatch):
    monkeypatch.setenv("VQ_DISABLE_PLUGINS", "able, builtin vqcore-ema")
    assert disabled_names() == ["able", "builtin", "vqcore-ema"]
    registry = Registry()
    assert {record(registry, package).status for package in ("able-pkg", "vqcore")} == {"disabled"}
    assert "cube" not in registry.names("manifold")
    assert "able-pkg" in refusal(registry, "manifold", "cube")


def test_disabling_one_of_two_packages_resolves_the_clash(distribution, healthy, monkeypatch):
    distribution("rival-pkg", {"rival": HEAD + hook(f"[{spec('cube')}]")}, {"rival": "rival"})
    monkeypatch.setenv("VQ_DISABLE_PLUGINS", "rival-pkg")
    check_the_others(Registry())


# -- plugin files -----------------------------------------------------------


@pytest.fixture
def plugin_file(distribution, tmp_path):
    """A function that writes a plugin file and returns its path."""

    def write(source, name="my_plugin.py", folder="mine"):
        path = tmp_path / folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(source)
        return path

    return write


def test_a_plugin_file_works_with_targets_of_its_own(plugin_file, healthy):
    path = plugin_file(HEAD + TARGETS + hook(f"[{spec('disc', 'my_plugin:Cube')}]"))
    registry = Registry(files=[path])
    chosen = registry.resolve("manifold", "disc")
    assert type(registry.build(chosen)).__module__ == "my_plugin"
    assert (record(registry, str(path)).plugin, record(registry, str(path)).version) == (
        "my_plugin",
        "file",
    )
    assert registry.resolve("manifold", "my_plugin/disc").spec is chosen.spec
    assert registry.resolve("manifold", f"{path}/disc").spec is chosen.spec
    check_the_others(registry)
    again = Registry(files=[path])
    assert again.resolve("manifold", "disc").spec.name == "disc"


@pytest.mark.parametrize("kind", KINDS)
def test_the_hook_of_each_kind_collects_components(kind, plugin_file):
    path = plugin_file(HEAD + hook(f"[{spec()}]", kind))
    provided = record(Registry(files=[path]), str(path)).provides
    assert [each.name for each in provided[kind]] == ["fancy"]


def test_a_spec_may_name_options_by_their_public_name(plugin_file):
    made = spec("short", "my_plugin:Cube", config="vqcore:RegularizerConfig")
    path = plugin_file(HEAD + TARGETS + hook(f"[{made}]", kind="regularizer"))
    chosen = Registry(files=[path]).resolve("regularizer", {"name": "short", "weight": 2})
    assert chosen.dump() == {"name": "my_plugin.py/short", "weight": 2.0, "every": 1, "start": 0}


def test_every_public_name_is_sorted_and_importable():
    assert vqcore.__all__ == sorted(vqcore.__all__) == sorted(vqcore._HOME)
    assert all(getattr(vqcore, name) is not None for name in vqcore.__all__)


def test_a_plugin_file_given_twice_counts_once(plugin_file):
    source = HEAD + TARGETS + hook(f"[{spec('disc', 'my_plugin:Cube')}]")
    path = plugin_file(source + "@hookimpl\ndef vq_commands(app): ...\n")
    registry = Registry(files=[path, path])
    assert record(registry, str(path)).status == "ok"
    assert registry.resolve("manifold", "disc").package == str(path)
    found = registry.manager.hook.vq_commands.get_hookimpls()
    assert sum(each.plugin_name.startswith(f"{path}:") for each in found) == 1


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("raise SystemExit", "SystemExit"),
        ("def f(:", "SyntaxError"),
        (FANCY.replace("VQ_API", "API"), "VQ_API = None"),
    ],
)
def test_a_broken_plugin_file_is_reported(source, cause, plugin_file, healthy):
    path = plugin_file(source)
    registry = Registry(files=[path])
    assert cause in record(registry, str(path)).error
    check_the_others(registry)
    assert cause in refusal(registry, "manifold", "fancy")


def test_a_plugin_file_that_did_not_load_can_be_fixed(plugin_file):
    path = plugin_file("1 / 0")
    assert record(Registry(files=[path]), str(path)).status == "error"
    path.write_text(HEAD + hook(f"[{spec('fixed')}]"))
    assert Registry(files=[path]).resolve("manifold", "fixed").package == str(path)


def test_a_missing_plugin_file_is_reported(tmp_path, healthy):
    path = tmp_path / "absent.py"
    registry = Registry(files=[path])
    assert record(registry, str(path)).error == f"FileNotFoundError: no such plugin file: {path}"
    check_the_others(registry)


@pytest.mark.parametrize("name", ["json.py", "vqcore.py", "wave.py", "cubes.py"])
def test_a_plugin_file_does_not_take_another_modules_name(name, plugin_file, healthy):
    path = plugin_file(FANCY, name)
    registry = Registry(files=[path])
    assert (
        record(registry, str(path)).error
        == f"the name {path.stem!r} is taken by another module: rename the file"
    )
    check_the_others(registry)


def test_a_plugin_file_may_lie_where_python_looks_for_modules(plugin_file, monkeypatch):
    path = plugin_file(HEAD + hook(f"[{spec('disc')}]"))
    monkeypatch.syspath_prepend(path.parent)
    registry = Registry(files=[path])
    assert (record(registry, str(path)).status, registry.names("manifold")[0]) == ("ok", "disc")


def test_two_plugin_files_of_one_stem_do_not_mix(plugin_file):
    first = plugin_file(HEAD + hook(f"[{spec('disc')}]"))
    second = plugin_file(HEAD + hook(f"[{spec('ring')}]"), folder="other")
    registry = Registry(files=[first, second])
    assert record(registry, str(first)).status == "ok"
    assert "taken by another module" in record(registry, str(second)).error


@pytest.mark.parametrize("name", ["my-plugin.py", "my.plugin.py", "my_plugin.txt"])
def test_a_plugin_file_needs_a_name_that_can_be_imported(name, plugin_file):
    path = plugin_file(FANCY, name)
    broken = record(Registry(files=[path]), str(path))
    assert broken.status == "error"
    assert "expected a Python file named like a module" in broken.error


# -- components that are broken where it shows late -------------------------


@pytest.mark.parametrize(
    ("fields", "cause"),
    [
        (
            {"target": "nobody_has_this:Cube"},
            "nobody_has_this:Cube cannot be imported: ModuleNotFoundError",
        ),
        ({"target": "cubes:Sphere"}, "cubes:Sphere cannot be imported: AttributeError"),
        ({"target": "exits:Cube"}, "exits:Cube cannot be imported: SystemExit: no licence"),
        ({"target": "cubes:Fails"}, "of late-pkg cannot be built: ValueError: too late (cubes:"),
        ({"needs": ("nobody_has_this",)}, "needs nobody_has_this: install what late-pkg documents"),
        ({"needs": ("json", "nobody_has_this.sub")}, "needs nobody_has_this.sub: install"),
        (
            {"config": "nobody_has_this:Options"},
            "nobody_has_this:Options cannot be imported: ModuleNotFoundError",
        ),
        ({"config": "exits:Options"}, "exits:Options cannot be imported: SystemExit: no licence"),
        ({"config": "cubes:Cube"}, "cubes:Cube is not a vqcore.ComponentConfig"),
        (
            {"target": "json:JSONDecoder"},
            "of late-pkg is broken: json:JSONDecoder makes a JSONDecoder: "
            "expected a vqcore.Manifold",
        ),
    ],
)
def test_a_component_that_cannot_be_imported_fails_only_when_asked_for(
    fields, cause, distribution, healthy
):
    modules = {
        "late": HEAD + hook(f"[{spec('late', **fields)}]"),
        "exits": "import sys\nsys.exit('no licence')",
        "cubes": TARGETS
        + "class Fails:\n    def __init__(self):\n        raise ValueError('too late')\n",
    }
    distribution("late-pkg", modules, {"late": "late"})
    registry = Registry()
    assert record(registry, "late-pkg").status == "ok"
    check_the_others(registry)
    with pytest.raises(ComponentError) as caught:
        registry.build(registry.resolve("manifold", "late"))
    assert "manifold 'late'" in str(caught.value)
    assert cause in str(caught.value)


def test_a_component_whose_needs_are_met_is_built(distribution, healthy):
    distribution(
        "late-pkg",
        {"late": HEAD + hook(f"[{spec('late', needs=('json', 'os.path'))}]")},
        {"late": "late"},
    )
    registry = Registry()
    assert type(registry.build(registry.resolve("manifold", "late"))).__name__ == "Cube"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("euclidian", "manifold = 'euclidian': no plugin provides it; did you mean 'euclidean'?"),
        ("vqcore/euclidian", "did you mean 'euclidean'?"),
        ("nobody/euclidean", "manifold = 'nobody/euclidean': no plugin provides it"),
        ("xyz", "known: cube, euclidean"),
    ],
)
def test_an_unknown_name_is_an_error_with_a_suggestion(name, expected, healthy):
    assert expected in refusal(Registry(), "manifold", name)


# -- options ----------------------------------------------------------------

OPTIONS = """
from typing import Annotated
from pydantic import Field, PositiveInt
from vqcore.plugin.component_config import ComponentConfig, ComponentRef, QuantizerRef

class Box(ComponentConfig):
    'A box.'
    inner: QuantizerRef = ComponentRef(name="vqcore/codebook")
    'What is in the box.'
    sides: PositiveInt = 2
    'How many sides.'
    colour: Annotated[str, Field(description="Its colour.")] = "red"

class Crate(ComponentConfig):
    'A crate.'
    inner: QuantizerRef
    'What is in the crate; it must be said.'

class Twice(ComponentConfig):
    'A box in a box of three sides, or something else.'
    inner: QuantizerRef = ComponentRef(name="box", sides=3)
    'What is in it.'
"""
BOXES = """
from torch import nn
from vqcore import Quantizer, SettingError

class Box(Quantizer):
    def __init__(self, *, inner, sides=0, colour="", dim):
        nn.Module.__init__(self)
        if sides > 3:
            raise SettingError("sides", sides, "at most 3")
        if sides == 3 and colour == "blue":
            raise SettingError("dim", dim, "something else")
        self.inner, self.sides, self.dim = inner, sides, dim

Box.__abstractmethods__ = frozenset()
"""


@pytest.fixture
def boxes(distribution):
    """A registry with three quantizers around another: box, crate (without default) and twice."""
    specs = [
        spec(name, "boxes:Box", config=f"options:{name.title()}")
        for name in ("box", "crate", "twice")
    ]
    modules = {
        "box": HEAD + hook(f"[{', '.join(specs)}]", "quantizer"),
        "options": OPTIONS,
        "boxes": BOXES,
    }
    distribution("box-pkg", modules, {"box": "box"})
    return Registry()


def test_options_are_validated_and_dumped_in_full(boxes):
    chosen = boxes.resolve("quantizer", {"name": "box", "sides": 3})
    assert (chosen.options.sides, chosen.name, chosen.package, chosen.path) == (
        3,
        "box",
        "box-pkg",
        "quantizer",
    )
    dumped = chosen.dump()
    assert (dumped["name"], dumped["sides"], dumped["colour"]) == ("box-pkg/box", 3, "red")
    assert dumped["inner"] == boxes.resolve("quantizer", "codebook").dump()
    assert boxes.resolve("quantizer", dumped) == chosen
    assert json.loads(json.dumps(dumped)) == dumped


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"name": "box", "sides": 0}, "quantizer.sides = 0: expected greater than 0 (default 2)"),
        ({"name": "box", "sides": "many"}, "quantizer.sides = 'many': expected a valid integer"),
        ({"name": "box", "side": 1}, "quantizer.side: unknown setting; did you mean 'sides'?"),
        (
            {"name": "box", "xyz": 1},
            "quantizer.xyz: unknown setting; expected one of inner, sides, colour",
        ),
        (
            {"name": "box", "inner": {"name": "box", "inner": {"commitment_weight": -1}}},
            "quantizer.inner.inner.commitment_weight = -1: "
            "expected greater than or equal to 0 (default 0.25)",
        ),
        (
            {"name": "box", "inner": {"commitment_wieght": 1}},
            "quantizer.inner.commitment_wieght: unknown setting; did you mean 'commitment_weight'?",
        ),
        (
            {"name": "box", "inner": 5},
            "quantizer.inner = 5: expected the name of a component, or a mapping",
        ),
        (
            {"name": "box", "inner": {"name": 5}},
            "quantizer.inner.name = 5: expected the name of a component",
        ),
        ({"sides": 2}, "quantizer.name = None: expected the name of a component"),
        (5, "quantizer = 5: expected the name of a component, or a mapping"),
        ("crate", "quantizer.inner: this setting is required"),
        (
            {"name": "crate", "inner": {"sides": 2}},
            "quantizer.inner.name = None: expected the name of a component",
        ),
    ],
)
def test_a_bad_option_is_an_error_with_its_whole_key_path(choice, expected, boxes):
    with pytest.raises(UsageError) as caught:
        boxes.resolve("quantizer", choice)
    assert expected in str(caught.value)


def test_components_that_contain_themselves_are_refused(boxes):
    choice = "codebook"
    for _ in range(20):
        choice = {"name": "box", "inner": choice}
    with pytest.raises(UsageError, match=r"^quantizer(\.inner){16}: components nested more than"):
        boxes.resolve("quantizer", choice)


def test_a_message_prints_no_value_whole(boxes):
    long = {"name": "box", "sides": "x" * 100_000, "y" * 100_000: 1, 5: 6}
    with pytest.raises(UsageError) as caught:
        boxes.resolve("quantizer", long)
    assert len(str(caught.value)) < 2000
    assert "quantizer: expected names as keys, found 5" in str(caught.value)
    assert len(refusal(boxes, "quantizer", "z" * 100_000)) < 2000


def test_every_bad_option_is_named_at_once(boxes):
    with pytest.raises(UsageError) as caught:
        boxes.resolve("quantizer", {"name": "box", "sides": 0, "side": 1}, "model.quantizer")
    assert [line.split()[0] for line in str(caught.value).splitlines()] == [
        "model.quantizer.sides",
        "model.quantizer.side:",
    ]


def test_an_unknown_inner_name_is_an_error_with_a_suggestion(boxes):
    assert "did you mean 'codebook'?" in refusal(
        boxes, "quantizer", {"name": "box", "inner": "codebok"}
    )


def test_options_without_a_name_are_those_of_the_default(boxes):
    chosen = boxes.resolve("quantizer", {"name": "box", "inner": {"commitment_weight": 0.5}})
    assert chosen.children["inner"].spec.name == "codebook"
    assert chosen.children["inner"].options.commitment_weight == 0.5


def test_options_without_a_name_keep_the_defaults_other_options(boxes):
    chosen = boxes.resolve("quantizer", {"name": "twice", "inner": {"colour": "blue"}})
    assert (chosen.children["inner"].options.sides, chosen.children["inner"].options.colour) == (
        3,
        "blue",
    )
    named = boxes.resolve("quantizer", {"name": "twice", "inner": "box"})
    assert named.children["inner"].options.sides == 2


def test_options_for_a_component_that_has_none_are_refused(healthy):
    with pytest.raises(UsageError, match=r"manifold.radius: manifold 'cube' has no options"):
        Registry().resolve("manifold", {"name": "cube", "radius": 1})


def test_an_inner_component_is_built_by_its_owner(boxes):
    chosen = boxes.resolve("quantizer", {"name": "box", "inner": {"name": "box", "sides": 1}})
    box = boxes.build(chosen, dim=8)
    assert (box.sides, box.dim) == (2, 8)
    within = box.inner(dim=4)
    assert (within.sides, within.dim) == (1, 4)


def test_an_option_that_does_not_fit_is_named_by_its_whole_path(boxes):
    box = boxes.build(
        boxes.resolve("quantizer", {"name": "box", "inner": {"name": "box", "sides": 4}}), dim=8
    )
    with pytest.raises(SettingError, match=r"^quantizer.inner.sides = 4: expected at most 3$"):
        box.inner(dim=4)
    other = boxes.resolve("quantizer", {"name": "box", "sides": 3, "colour": "blue"})
    with pytest.raises(SettingError, match=r"^dim = 8: expected something else$"):
        boxes.build(other, dim=8)


def test_a_components_options_are_listed(boxes):
    rows = {row["name"]: row for row in boxes.options("quantizer", "box")}
    assert list(rows) == ["inner", "sides", "colour"]
    assert rows["sides"] == {
        "name": "sides",
        "type": "integer > 0",
        "default": 2,
        "required": False,
        "description": "How many sides.",
        "acts_with": [],
    }
    assert rows["inner"]["type"] == "quantizer"
    assert rows["inner"]["default"] == {"name": "vqcore/codebook"}
    assert rows["colour"]["description"] == "Its colour."
    (inner,) = boxes.options("quantizer", "crate")
    assert (inner["required"], inner["default"]) == (True, None)
    assert boxes.options("manifold", "euclidean") == []


def test_a_components_options_are_listed_without_their_source(boxes, monkeypatch):
    def refuse(owner):
        raise OSError("could not get source code")

    monkeypatch.setattr(inspect, "findsource", refuse)
    rows = boxes.options("quantizer", "box")
    assert [row["description"] for row in rows] == ["", "", "Its colour."]


# -- the installed plugins --------------------------------------------------


def test_the_builtin_components_are_there_with_every_option_described():
    registry = Registry()
    expected = {
        "manifold": {"euclidean", "product", "sphere"},
        "quantizer": {"codebook", "random-projection", "simvq"},
        "estimator": {"gumbel", "noise-substitution", "straight-through", "transport"},
        "regularizer": {"entropy", "isometry", "orthogonal", "smoothness"},
        "loss": {"bernoulli", "cross-entropy", "l1", "links", "mse", "spectral", "ssim"},
    }
    provides = record(registry, "vqcore").provides
    assert {kind: {each.name for each in specs} for kind, specs in provides.items()} == expected
    for kind, names in expected.items():
        for name in names:
            for row in registry.options(kind, name):
                assert row["description"], f"{kind} {name}: {row['name']}"


def test_without_discovery_nothing_is_found():
    registry = Registry(discover=False)
    assert registry.plugins == []
    assert "known: none" in refusal(registry, "manifold", "euclidean")


def test_a_spec_is_frozen():
    made = ComponentSpec(name="fancy-one", target="pkg.mod:Cube", summary="one")
    with pytest.raises(AttributeError):
        made.name = "other"
    assert (made.config, made.needs) == (None, ())


def test_descriptions_skip_literals_other_than_strings():
    from vqcore.plugin.component_config import ComponentConfig

    def unchanged(model):
        return model

    @unchanged
    class Odd(ComponentConfig):
        first: int = 1
        ...
        second: int = 2
        """The second,
        in two lines."""

    assert descriptions(Odd) == {"second": "The second,\nin two lines."}
