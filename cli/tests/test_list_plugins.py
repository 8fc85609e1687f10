"""``vq list-plugins`` and ``vq show``; a broken plugin stops only commands that use it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from vq.cli.commands.list_plugins import _print_tables
from vq.cli.completion.shells import answer
from vq.cli.component_check import notes
from vq.config.resolved_config import resolve_config
from vqcore.plugin.component import INTERFACES, KINDS
from vqcore.plugin.registry import Registry, default_registry

RECORDED = ["plugin", "package", "version", "api", "status", "error", "provides"]
KEYS = [*RECORDED, "requires", "extras", "unmet"]
OURS = {"vqcore", "vq-cli", "vqcore-ema", "vqcore-grouped", "vqcore-homology", "vqcore-hyperbolic"}
SPEC = "ComponentSpec(name={name!r}, target={target!r}, summary='a test [of] its own')"
PLUGIN = """
from vqcore import ComponentSpec, hookimpl
VQ_API = 1
@hookimpl
def {hook}():
    return [{spec}]
"""
DOUBLED = '''from vqcore import ComponentSpec, Manifold, hookimpl
VQ_API = 1
class Doubled(Manifold):
    """Flat space in which every distance counts twice."""
    def expmap0(self, u): return u
    def logmap0(self, x): return x
    def squared_dist(self, x, y): return 4 * (x - y).square().sum(-1)
    def dist(self, x, y): return 2 * (x - y).norm(dim=-1)
    def project(self, x): return x
    def check_points(self, x): return None
    def search_query(self, x, centre): return x
    def search_keys(self, codes, centre): return -2 * codes, codes.square().sum(-1)
@hookimpl
def vq_manifolds():
    return [ComponentSpec(name="doubled", target="doubled:Doubled", summary="flat, twice")]
'''


def plugin(name, target="json:JSONDecoder", kind="manifold"):
    """The source of a plugin that provides one component."""
    return PLUGIN.format(hook=KINDS[kind], spec=SPEC.format(name=name, target=target))


def seeing(folder):
    """The environment of a process that finds modules in a folder too."""
    paths = [str(folder), os.environ.get("PYTHONPATH")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}


@pytest.fixture
def install(distribution):
    """A function that makes this process see a fake distribution with a plugin, fancy."""

    def put(package, source):
        module = package.replace("-", "_")
        return distribution(package, {module: source}, {"fancy": module})

    return put


@pytest.fixture
def vq(vq_afresh):
    return vq_afresh


def rows_by_package(text):
    rows = json.loads(text)
    return {row["package"]: row for row in rows}


# -- the list ---------------------------------------------------------------


def test_json_has_exactly_the_promised_shape(vq):
    code, out, err = vq("list-plugins", "--json")
    assert (code, err) == (0, "")
    rows = json.loads(out)
    assert isinstance(rows, list)
    for row in rows:
        assert list(row) == KEYS
        assert [type(row[key]) for key in KEYS[:5]] == [str, str, str, int, str]
        assert (row["status"], row["error"]) == ("ok", None)
        for item in row["provides"]:
            assert list(item) == ["kind", "name", "summary"]
            assert item["kind"] in KINDS
            assert all(type(value) is str and value for value in item.values())
    assert {row["package"] for row in rows} >= OURS
    found = {(item["kind"], item["name"]) for row in rows for item in row["provides"]}
    assert found >= {("manifold", "poincare"), ("regularizer", "homology"), ("backbone", "conv")}


def test_the_tables_name_every_component_and_every_plugin(vq):
    rows = json.loads(vq("list-plugins", "--json")[1])
    code, out, _ = vq("list-plugins")
    assert code == 0
    lines = [" ".join(line.split()) for line in out.splitlines()]
    for row in rows:
        assert f"{row['plugin']} {row['package']} {row['version']} ok" in lines
        for item in row["provides"]:
            assert f"{item['kind']} {item['name']} {row['package']} {item['summary']}" in lines


def test_kind_leaves_only_that_kind(vq):
    whole = rows_by_package(vq("list-plugins", "--json")[1])
    code, out, _ = vq("list-plugins", "--json", "--kind", "manifold")
    assert code == 0
    for package, row in rows_by_package(out).items():
        assert row["provides"] == [
            item for item in whole[package]["provides"] if item["kind"] == "manifold"
        ]
    assert "euclidean" in vq("list-plugins", "--kind", "manifold")[1]
    assert "codebook" not in vq("list-plugins", "--kind", "manifold")[1]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("list-plugins", "--kind", "manifolds"), "'manifolds': did you mean 'manifold'?"),
        (
            ("show", "manifol", "euclidean"),
            "manifol: no kind of component; did you mean 'manifold'?",
        ),
    ],
)
def test_a_wrong_kind_is_a_usage_error(command, message, vq):
    code, out, err = vq(*command)
    assert (code, out) == (2, "")
    assert message in err


# -- one component ----------------------------------------------------------


def test_show_prints_a_components_options_as_json(vq):
    code, out, _ = vq("show", "quantizer", "grouped", "--json")
    about = json.loads(out)
    assert code == 0
    assert list(about) == ["kind", "name", "summary", "plugin", "package", "target", "options"]
    assert (about["name"], about["package"]) == ("grouped", "vqcore-grouped")
    for option in about["options"]:
        keys = ["name", "type", "default", "required", "description", "acts_with"]
        assert list(option) == keys
    by_name = {option["name"]: option for option in about["options"]}
    assert (by_name["groups"]["type"], by_name["groups"]["default"]) == ("integer > 0, <= 1024", 2)
    assert by_name["groups"]["description"].startswith("Number of groups")
    assert json.loads(vq("show", "quantizer", "vqcore-grouped/grouped", "--json")[1]) == about


def test_show_prints_every_option_of_every_component(vq):
    for row in json.loads(vq("list-plugins", "--json")[1]):
        for item in row["provides"]:
            chosen = ("show", item["kind"], f"{row['package']}/{item['name']}")
            code, out, err = vq(*chosen)
            assert (code, err) == (0, ""), chosen
            assert f"{item['kind']} {item['name']}: {item['summary']}" in out
            lines = [f"{' '.join(line.split())} " for line in out.splitlines()]
            for option in default_registry().options(*chosen[1:]):
                assert option["description"], (chosen, option)
                (line,) = [
                    each for each in lines if each.startswith(f"{option['name']} {option['type']} ")
                ]
                assert line.endswith(f" {' '.join(option['description'].split())} "), (
                    chosen,
                    option,
                )


def test_show_refuses_an_unknown_name(vq):
    code, out, err = vq("show", "manifold", "poincar")
    assert (code, out) == (3, "")
    assert "did you mean 'poincare'?" in err


# -- a broken plugin among them ---------------------------------------------


def test_a_broken_plugin_is_listed_with_its_cause(vq, install):
    install("broken-pkg", plugin("fancy") + "import nobody_has_this\n")
    code, out, _ = vq("list-plugins", "--json")
    rows = rows_by_package(out)
    assert code == 0
    broken = rows.pop("broken-pkg")
    assert list(broken) == KEYS
    assert broken == {
        "plugin": "fancy",
        "package": "broken-pkg",
        "version": "1.0",
        "api": None,
        "status": "error",
        "error": "ModuleNotFoundError: No module named 'nobody_has_this' (broken_pkg:7)",
        "provides": [],
        "requires": [],
        "extras": [],
        "unmet": [],
    }
    assert {row["status"] for row in rows.values()} == {"ok"}
    code, out, _ = vq("list-plugins")
    assert code == 0
    assert re.search(
        r"fancy +broken-pkg +1.0 +error +ModuleNotFoundError: No module named 'nobody_has_this'",
        out,
    )


@pytest.mark.parametrize("columns", [None, "60"])
def test_no_text_is_cut(columns, monkeypatch, capsys):
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns:
        monkeypatch.setenv("COLUMNS", columns)
    row = dict.fromkeys(("plugin", "package", "version"), "some-plugin")
    why = f"SyntaxError: '(' was never closed ({'/a-long-path' * 12}.py, line 3)"
    row |= {"status": "error", "error": why, "unmet": [], "provides": []}
    _print_tables([row], verbose=False)
    out = capsys.readouterr().out
    assert why in out if columns is None else "…" not in out


def test_a_broken_plugin_stops_only_commands_that_use_it(vq, install):
    install("broken-pkg", plugin("fancy") + "raise RuntimeError('[b]no[/b]')\n")
    assert vq("train", "--dry-run")[:2] == (0, "config is valid: digits-euclidean-codebook\n")
    assert vq("show", "manifold", "euclidean")[0] == 0
    for name in ("fancy", "broken-pkg/fancy"):
        for command in (("train", "--dry-run", "--manifold", name), ("show", "manifold", name)):
            code, out, err = vq(*command)
            assert (code, out) == (3, ""), command
            assert (
                "plugin fancy of broken-pkg is not loaded (error): RuntimeError: [b]no[/b]" in err
            )


@pytest.mark.parametrize("action", ["1 / 0", "exit(5)"])
def test_a_plugin_whose_commands_fail_removes_no_command(action, vq, install):
    install("broken-pkg", plugin("fancy") + f"@hookimpl\ndef vq_commands(app):\n    {action}\n")
    code, out, _ = vq("list-plugins", "--json")
    broken = rows_by_package(out)["broken-pkg"]
    assert (code, broken["status"], broken["provides"]) == (0, "error", [])
    assert broken["error"].startswith("vq_commands: ")
    assert vq("train", "--dry-run", "--manifold", "fancy")[0] == 3


def test_a_broken_target_stops_only_commands_that_build_it(vq, install):
    install("broken-pkg", plugin("fancy", "nobody_has_this:Fancy"))
    assert vq("train", "--dry-run", "--manifold", "fancy")[0] == 0
    code, _, err = vq("train", "--manifold", "fancy")
    assert code == 3
    assert "manifold 'fancy' is broken: nobody_has_this:Fancy cannot be imported" in err
    assert not Path("runs").exists()


def test_a_name_that_two_packages_provide_leaves_the_defaults_alone(vq, install):
    for kind, name in (("manifold", "euclidean"), ("quantizer", "codebook"), ("dataset", "digits")):
        install(f"rival-{kind}", plugin(name, kind=kind))
    chosen = resolve_config({}, Registry()).components
    assert {kind: chosen[kind].package for kind in ("manifold", "quantizer", "dataset")} == {
        "manifold": "vqcore",
        "quantizer": "vqcore",
        "dataset": "vq-cli",
    }
    assert chosen["manifold"].dump()["name"] == "vqcore/euclidean"
    assert vq("train", "--dry-run")[0] == 0
    rows = rows_by_package(vq("list-plugins", "--json")[1])
    assert {package for package, row in rows.items() if row["status"] == "clash"} == {
        *("vqcore", "vq-cli", "rival-manifold", "rival-quantizer", "rival-dataset")
    }
    code, _, err = vq("train", "--dry-run", "--manifold", "euclidean")
    assert code == 3
    assert "vqcore/euclidean" in err
    assert "rival-manifold/euclidean" in err
    assert vq("train", "--dry-run", "--manifold", "rival-manifold/euclidean")[0] == 0


def test_a_disabled_plugin_is_listed_with_the_reason(vq, monkeypatch):
    monkeypatch.setenv("VQ_DISABLE_PLUGINS", "hyperbolic, vqcore-ema")
    code, _, err = vq("train", "--dry-run", "--manifold", "poincare")
    assert code == 3
    assert "named in VQ_DISABLE_PLUGINS" in err


def test_from_outside_a_broken_plugin_ends_with_its_cause_and_no_traceback(install):
    folder = install("broken-pkg", plugin("fancy") + "import sys\nsys.exit(0)\n")
    command = [
        sys.executable,
        "-c",
        "from vq.cli.app import main; main()",
        "train",
        "--dry-run",
        "--manifold",
        "fancy",
    ]
    done = subprocess.run(command, capture_output=True, text=True, env=seeing(folder), check=False)
    assert (done.returncode, done.stdout) == (3, "")
    assert "plugin fancy of broken-pkg is not loaded (error): SystemExit: 0" in done.stderr
    assert "Traceback" not in done.stderr


# -- --check ----------------------------------------------------------------


def test_check_builds_every_component(vq, monkeypatch):
    built, build = set(), Registry.build

    def recording(registry, component, **injected):
        made = build(registry, component, **injected)
        built.add((component.kind, component.package, component.spec.name))
        return made

    monkeypatch.setattr(Registry, "build", recording)
    code, out, err = vq("list-plugins", "--check", "--json")
    assert (code, err) == (0, "")
    rows = json.loads(out)
    provided = {
        (item["kind"], row["package"], item["name"]) for row in rows for item in row["provides"]
    }
    # of other data sets, which have to be named, and with weights from a file
    incomplete = {("dataset", "vq-cli", "mixture"), ("loss", "vq-perceptual", "perceptual")}
    assert provided - incomplete <= built
    built.clear()
    assert vq("list-plugins", "--check", "--kind", "estimator")[0] == 0
    assert "optimizer" not in {kind for kind, _, _ in built}


def test_check_fails_where_a_plugin_did_not_load(vq, install):
    install("broken-pkg", plugin("fancy") + "1 / 0\n")
    code, out, _ = vq("list-plugins", "--check", "--kind", "estimator", "--json")
    assert code == 1
    error = rows_by_package(out)["broken-pkg"]["error"]
    assert error == "ZeroDivisionError: division by zero (broken_pkg:7)"


def test_check_fails_where_a_component_cannot_be_built(vq, install):
    install("broken-pkg", plugin("fancy", "nobody_has_this:Fancy", kind="estimator"))
    assert vq("list-plugins")[0] == 0
    code, out, err = vq("list-plugins", "--check", "--kind", "estimator", "--json")
    assert code == 1
    assert rows_by_package(out)["broken-pkg"]["status"] == "ok"
    assert err.startswith(
        "broken: estimator 'fancy' is broken: nobody_has_this:Fancy cannot be imported"
    )
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_check_names_a_target_of_the_wrong_kind(kind, vq, install):
    source = plugin("fancy", "wrong_pkg:make", kind=kind) + "def make(**given): return 5\n"
    install("wrong-pkg", source)
    code, _, err = vq("list-plugins", "--check", "--kind", kind, "--json")
    expected = INTERFACES[kind].replace(":", ".")
    text = f"wrong_pkg:make makes a int: expected a {expected}"
    assert code == 1
    assert f"broken: {kind} 'fancy' of wrong-pkg is broken: {text}" in err


VECTORS = """
from vqcore import Backbone
class Vectors(Backbone):
    latent_shape = (1,)
    def __init__(self, *, shape, dim):
        super().__init__()
        (self.size,) = shape
    def encode(self, x): return x
    def decode(self, z): return z
"""


def test_check_accepts_a_backbone_that_is_not_for_pictures(vq, install):
    install("vector-pkg", plugin("vectors", "vector_pkg:Vectors", kind="backbone") + VECTORS)
    assert vq("list-plugins", "--check", "--kind", "backbone")[::2] == (0, "")


def test_check_notes_an_unmet_requirement(vq, install):
    folder = install("later-pkg", plugin("fancy"))
    with (folder / "later_pkg-1.0.dist-info" / "METADATA").open("a") as metadata:
        metadata.write("Requires-Dist: vqcore>=9\nRequires-Dist: nobody-has-this; extra == 'x'\n")
    code, _, err = vq("list-plugins", "--check", "--kind", "estimator")
    assert code == 0
    assert err.startswith("warning: plugin fancy of later-pkg requires vqcore>=9, and ")
    assert len(err.splitlines()) == 1


def test_what_a_plugin_wants_is_listed_and_what_is_not_met_is_in_the_table(vq, install):
    spec = SPEC.format(name="fancy", target="json:JSONDecoder")[:-1] + ", needs=('no_such',))"
    folder = install("later-pkg", PLUGIN.format(hook="vq_manifolds", spec=spec))
    with (folder / "later_pkg-1.0.dist-info" / "METADATA").open("a") as metadata:
        metadata.write("Requires-Dist: vqcore<10,>=9\nRequires-Dist: numpy\nProvides-Extra: more\n")
    row = rows_by_package(vq("list-plugins", "--json")[1])["later-pkg"]
    assert (row["api"], row["requires"], row["extras"]) == (1, ["vqcore<10,>=9"], ["more"])
    version, module = row["unmet"]
    assert version.startswith("requires vqcore<10,>=9, and ")
    assert module == "manifold fancy needs no_such, which is not installed"
    table = " ".join(vq("list-plugins")[1].split())
    assert "requires vqcore<10,>=9, and" in table
    assert "extras" not in table
    assert "fancy 1 vqcore<10,>=9 more" in " ".join(vq("list-plugins", "--verbose")[1].split())
    about = vq("show", "plugin", "fancy")[1]
    assert "requires vqcore<10,>=9; extras: more" in about
    assert module in about


def test_check_notes_options_that_import_torch(install, monkeypatch, tmp_path):
    spec = SPEC.format(name="fancy", target="slow_pkg:Fancy")[:-1] + ", config='slow_config:Fancy')"
    folder = install("slow-pkg", PLUGIN.format(hook="vq_estimators", spec=spec))
    (folder / "slow_config.py").write_text(
        "import sys\nsys.modules['torch'] = sys\nfrom vqcore import ComponentConfig as Fancy\n"
    )
    registry = Registry()
    monkeypatch.delitem(sys.modules, "torch")
    (note,) = notes(registry, "estimator")
    assert note.startswith(
        "estimator 'fancy' of slow-pkg: importing slow_config:Fancy imports torch"
    )


LOUD = "print('hello')\n@hookimpl\ndef vq_commands(app):\n    print('commands')\n"


def test_a_plugin_that_prints_leaves_json_and_completion_alone(vq, install, monkeypatch, capsys):
    install("loud-pkg", plugin("fancy") + LOUD)
    code, out, err = vq("list-plugins", "--json", "--check", "--kind", "estimator")
    assert (code, json.loads(out)[0]["status"]) == (0, "ok")
    assert "warning: plugin fancy of loud-pkg prints when it is loaded: 'hello" in err
    monkeypatch.setenv("_VQ_COMPLETE", "complete_bash")
    monkeypatch.setenv("_VQ_LINE", "vq tra")
    default_registry.cache_clear()
    answer()
    assert capsys.readouterr().out == "train\n"


# -- --plugin-file ----------------------------------------------------------


def test_a_plugin_file_is_listed_and_shown(vq, tmp_path):
    file = tmp_path / "doubled.py"
    file.write_text(DOUBLED)
    code, out, _ = vq("list-plugins", "--json", "--plugin-file", "doubled.py")
    row = rows_by_package(out)[str(file)]
    assert code == 0
    assert (row["plugin"], row["version"], row["api"], row["status"]) == (
        "doubled",
        "file",
        1,
        "ok",
    )
    assert row["provides"] == [{"kind": "manifold", "name": "doubled", "summary": "flat, twice"}]
    code, out, _ = vq("show", "manifold", "doubled", "--plugin-file", "doubled.py")
    assert code == 0
    assert "manifold doubled: flat, twice" in out
    assert vq("show", "manifold", "doubled")[0] == 3


@pytest.mark.parametrize(
    ("source", "cause"), [(None, "no such plugin file"), ("1 / 0", "ZeroDivisionError")]
)
def test_a_plugin_file_that_does_not_load_is_listed_or_refused(source, cause, vq, tmp_path):
    file = tmp_path / "mine.py"
    if source:
        file.write_text(source)
    code, out, _ = vq("list-plugins", "--json", "--plugin-file", file)
    assert code == 0
    assert cause in rows_by_package(out)[str(file)]["error"]
    assert vq("list-plugins", "--check", "--kind", "estimator", "--plugin-file", file)[0] == 1
    for command in (("train", "--dry-run"), ("show", "manifold", "euclidean")):
        code, out, err = vq(*command, "--plugin-file", file)
        assert (code, out) == (3, "")
        assert f"--plugin-file {file} is not loaded (error)" in err
        assert cause in err


def test_a_manifold_of_15_lines_trains_beside_a_broken_plugin(vq, install, without_plots, tmp_path):
    assert len(DOUBLED.splitlines()) == 15
    (tmp_path / "doubled.py").write_text(DOUBLED)
    install("broken-pkg", plugin("fancy") + "1 / 0\n")
    words = ("--max-steps", 2, "--plugin-file", "doubled.py", "--manifold", "doubled")
    code, _, err = vq("train", *words, "--run-dir", "run")
    assert code == 0, err
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["steps"] == 2
    assert str(tmp_path / "doubled.py") in (tmp_path / "run" / "config.yaml").read_text()
    recorded = rows_by_package((tmp_path / "run" / "plugins.json").read_text())
    assert recorded["broken-pkg"]["status"] == "error"
