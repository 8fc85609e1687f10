"""What ``vq new-plugin`` writes: installed and tested as by its author, all kinds at once."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import pytest
from offline import needs_uv, plugin_environment
from packaging.requirements import Requirement

from vq.cli.app import build_app
from vq.new_plugin.write import TEMPLATES, new_plugin
from vq.requirements import installed
from vq.testing import run_command
from vqcore.errors import SettingError
from vqcore.plugin.component import INTERFACES
from vqcore.plugin.registry import Registry, default_registry

ROOT = Path(__file__).parents[1]
KINDS = list(TEMPLATES)
#: What makes mypy strict, where it can be said of some modules; with the repository's settings for
#: the others, its cache is used.
STRICT = """
[[tool.mypy.overrides]]
module = MODULES
disallow_any_generics = true
disallow_subclassing_any = true
disallow_untyped_calls = true
disallow_untyped_decorators = true
check_untyped_defs = true
warn_return_any = true
implicit_reexport = false
strict_equality = true
extra_checks = true
"""


@pytest.fixture(scope="module")
def plugins(tmp_path_factory):
    """A folder with a plugin of each kind."""
    folder = tmp_path_factory.mktemp("plugins")
    for kind in KINDS:
        written = run_command("new-plugin", f"vq-own-{kind}", folder / kind, "--kind", kind)
        assert written.exit_code == 0, written.output
    return folder


@pytest.fixture
def one_of_all_kinds(tmp_path, unloaded_modules):
    """The sources of a plugin, vq-own, that has every kind."""
    new_plugin("vq-own", KINDS, tmp_path / "own", default_registry(), ())
    return tmp_path / "own" / "src"


@pytest.fixture(scope="module")
def environment(plugins, tmp_path_factory):
    """An environment in which all of them are installed."""
    where = tmp_path_factory.mktemp("environment") / "venv"
    return plugin_environment(where, [plugins / kind for kind in KINDS])


def files(folder):
    return {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}


# -- what is written ----------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_package_has_all_it_needs_in_under_120_lines(kind, plugins):
    package = f"src/vq_own_{kind}"
    found = files(plugins / kind)
    expected = {
        "pyproject.toml", "README.md", ".gitignore", ".github/workflows/test.yml",
        f"tests/test_{kind}.py",
        *(f"{package}/{name}" for name in ("__init__.py", "py.typed", "plugin.py", f"{kind}.py")),
    }  # fmt: skip
    if kind != "command":  # which has options of its own
        expected.add(f"{package}/config.py")
    if kind in ("hooks", "command"):
        expected.add("tests/conftest.py")
    assert found.keys() == expected
    lines = {name: path.read_text().count("\n") for name, path in found.items()}
    assert sum(lines.values()) < 120, lines


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_of_the_template_is_left(kind, plugins):
    text = "\n".join(path.read_text() for path in files(plugins / kind).values())
    assert not re.search(r"my[-_](plugin|part)|MyPart|KIND|HOOK|PAGES|SUMMARY|COMMAND|DEPEND", text)


@pytest.mark.parametrize("kind", KINDS)
def test_requirements_have_floors_and_caps_that_allow_what_is_here(kind, plugins):
    project = tomllib.loads((plugins / kind / "pyproject.toml").read_text())["project"]
    ours = {"vqcore": ROOT / "vqcore", "vq-cli": ROOT / "cli"}
    required = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    for requirement in map(Requirement, required):
        assert {each.operator for each in requirement.specifier} == {">=", "<"}
        if requirement.name in ours:
            here = tomllib.loads((ours[requirement.name] / "pyproject.toml").read_text())
            assert here["project"]["version"] in requirement.specifier
    assert {Requirement(each).name for each in project["dependencies"]} <= set(ours)


def test_a_package_of_several_kinds_declares_all(one_of_all_kinds, monkeypatch):
    monkeypatch.syspath_prepend(one_of_all_kinds)
    registry = Registry(discover=False, files=[one_of_all_kinds / "vq_own" / "plugin.py"])
    (plugin,) = registry.plugins
    assert (plugin.status, plugin.error) == ("ok", None)
    assert list(plugin.provides) == [kind for kind in KINDS if kind in INTERFACES]
    for kind, (spec,) in plugin.provides.items():
        assert registry.options(kind, spec.name)
        assert getattr(import_module(f"vq_own.{kind}"), spec.target.split(":")[1])
    assert plugin.settings == "vq_own.hooks_config:OwnConfig"
    assert len(registry.manager.hook.vq_step_end.get_hookimpls()) == 1
    assert "own" in {each.name for each in build_app(registry).registered_commands}


def test_all_is_formatted_and_free_of_lint_with_any_name(tmp_path):
    registry = default_registry()
    for number, kinds in enumerate([*([kind] for kind in KINDS), KINDS]):
        for name in ("vq-own", "vq-q"):
            new_plugin(name, kinds, tmp_path / name / f"{number}", registry, ())
        for length in range(60, 35, -1):  # the longest name of one word
            with suppress(SettingError):
                new_plugin("x" * length, kinds, tmp_path / "long" / f"{number}", registry, ())
                break
    assert all((tmp_path / "long" / f"{number}").is_dir() for number in range(len(KINDS) + 1))
    ruff = (sys.executable, "-m", "ruff")
    for command in (("check", "--no-cache"), ("format", "--no-cache", "--check")):
        done = subprocess.run(
            [*ruff, *command], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


# -- installed ----------------------------------------------------------------


@needs_uv
def test_its_tests_pass_where_it_is_installed_and_all_train_together(plugins, environment):
    shutil.copy(ROOT / "conftest.py", plugins)
    shutil.copy(ROOT / "tests" / "installed_plugins.py", plugins / "test_installed_plugins.py")
    pytest = ("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--confcutdir=.")
    done = environment.run(*pytest, *KINDS, "test_installed_plugins.py", cwd=plugins)
    assert re.search(r"^\d+ passed in ", done.stdout, re.M), done.stdout


@needs_uv
def test_a_type_checker_is_content(plugins, one_of_all_kinds, environment, tmp_path):
    config = tmp_path / "strict.toml"
    own = ["vq_own", *(f"{name}_{kind}" for kind in KINDS for name in ("vq_own", "test"))]
    modules = json.dumps([*own, *(f"{name}.*" for name in own)])
    config.write_text((ROOT / "pyproject.toml").read_text() + STRICT.replace("MODULES", modules))
    cache = ("--config-file", config, "--cache-dir", ROOT / ".mypy_cache")
    parts = [f"{kind}/{part}" for kind in KINDS for part in ("src", f"tests/test_{kind}.py")]
    environment.run("python", "-m", "mypy", *cache, *parts, one_of_all_kinds, cwd=plugins)


# -- names and folders --------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "distribution", "package", "part", "cls"),
    [
        ("ripple", "ripple", "ripple", "ripple", "Ripple"),
        ("My_Ripple", "my-ripple", "my_ripple", "my-ripple", "MyRipple"),
        ("vqcore-ripple", "vqcore-ripple", "vqcore_ripple", "ripple", "Ripple"),
        ("vq.ripple.2", "vq-ripple-2", "vq_ripple_2", "ripple-2", "Ripple2"),
        ("vq-3d", "vq-3d", "vq_3d", "vq-3d", "Vq3d"),
        ("vq-my-part", "vq-my-part", "vq_my_part", "my-part", "MyPart"),
    ],
)
def test_one_name_gives_the_others(vq, tmp_path, name, distribution, package, part, cls):
    assert vq("new-plugin", name, "--kind", "manifold").code == 0
    project = tmp_path / distribution
    assert f'name = "{distribution}"' in (project / "pyproject.toml").read_text()
    plugin = (project / "src" / package / "plugin.py").read_text()
    assert f'name="{part}"' in plugin
    assert f'target="{package}.manifold:{cls}"' in plugin


@pytest.mark.parametrize(
    ("name", "kind", "reason"),
    [
        ("3d", "loss", "a letter first"),
        ("a--", "loss", "letters, digits and hyphens"),
        ("here/ripple", "loss", "give the folder after it"),
        ("class", "loss", "class is a word of Python; try my-class"),
        ("vq-none", "loss", "None is a word of Python; try my-none"),
        ("json", "loss", "json is a module of Python; try my-json"),
        ("aux", "loss", "Windows has a device aux, and no folder of that name; try my-aux"),
        ("vq-com1", "hooks", "Windows has a device com1"),
        ("torch", "loss", "a module torch is installed; try my-torch"),
        ("vqcore-ema", "loss", "a package vqcore-ema is installed; try my-ema"),
        ("prior", "loss", "vq-prior has a plugin prior; try my-prior"),
        ("poincare", "manifold", "vqcore-hyperbolic has a manifold poincare; try my-poincare"),
        ("reconstruction", "loss", "a run logs a metric reconstruction"),
        ("perplexity", "regularizer", "a run logs a metric perplexity"),
        ("list-plugins", "command", "there is a command list-plugins; try my-list-plugins"),
        ("compare", "command", "there is a command compare; try my-compare"),
        ("x" * 60, "loss", "a shorter name: a line of code would have"),
        ("manifold", "manifold", "the class Manifold would hide one that it needs"),
    ],
)
def test_a_name_that_cannot_be_used_is_refused(vq, tmp_path, name, kind, reason):
    refused = vq("new-plugin", name, "--kind", kind)
    assert refused.code == 2
    assert f"NAME = '{name}'" in refused.err
    assert reason in refused.err
    assert not list(tmp_path.iterdir())


def test_the_name_of_another_kind_is_free(vq):
    assert vq("new-plugin", "poincare", "--kind", "loss").code == 0


def test_an_unknown_kind_names_all_of_them(vq):
    refused = vq("new-plugin", "ripple", "--kind", "manifolds")
    assert (refused.code, "did you mean 'manifold'" in refused.err) == (2, True)
    for given in ((), ("--kind", "xyz"), ("--kind", "loss", "--kind", "xyz")):
        refused = vq("new-plugin", "ripple", *given)
        assert refused.code == 2
        assert all(kind in refused.err for kind in KINDS)


def test_a_folder_with_something_in_it_stays_as_it_is(vq, tmp_path):
    (tmp_path / "ripple").mkdir()
    assert vq("new-plugin", "ripple", "--kind", "loss").code == 0  # an empty one is fine
    before = {name: path.read_bytes() for name, path in files(tmp_path).items()}
    refused = vq("new-plugin", "ripple", "--kind", "manifold")
    assert refused.code == 2
    assert "FOLDER = 'ripple'" in refused.err
    assert {name: path.read_bytes() for name, path in files(tmp_path).items()} == before
    assert vq("new-plugin", "ripple", "elsewhere/ripple", "--kind", "manifold").code == 0


def test_nothing_is_left_half_written(vq, tmp_path, monkeypatch):
    def fail(path, *_, **__):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_text", fail)
    refused = vq("new-plugin", "ripple", "--kind", "loss")
    assert refused.code == 1
    assert "No space left" in refused.err
    assert not list(tmp_path.iterdir())


def test_it_says_what_to_do_next(vq):
    done = vq("new-plugin", "vq-ripple", "a folder", "--kind", "loss")
    commands = [line.strip() for line in done.out.splitlines()[2:]]
    assert commands == [
        "cd 'a folder'",
        f'{"" if installed("pip") else "uv "}pip install -e ".[test]"',
        "pytest",
        "vq train --loss ripple",
    ]
    done = vq("new-plugin", "ripple", "--kind", "loss", "--kind", "command", "--kind", "loss")
    assert done.out.splitlines()[0].startswith("ripple: a plugin of the kinds loss and command,")
    readme = Path("ripple/README.md").read_text()
    assert "with the loss and command `ripple`: squares" in readme
    assert "see Plugins, losses and commands." in readme
    assert done.out.splitlines()[-2:] == ["  vq train --loss ripple", "  vq ripple RUN"]


def test_torch_still_compiles_after_it(tmp_path):
    """A module pip, merely looked for, makes setuptools unimportable, which the compiler needs."""
    code = (
        "import sys; from vq.cli.app import build_app; from vqcore.plugin.registry import Registry"
    )
    code += "\nbuild_app(Registry())(sys.argv[1:], standalone_mode=False); import setuptools"
    command = ("new-plugin", "ripple", "--kind", "loss")
    subprocess.run([sys.executable, "-c", code, *command], cwd=tmp_path, check=True)
    assert (tmp_path / "ripple").is_dir()
