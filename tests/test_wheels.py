"""Every distribution builds, holds what it should, and installs alone, then beside a plugin."""

import ast
import configparser
import email
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECTS = [
    ROOT,
    ROOT / "vqcore",
    ROOT / "cli",
    *sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml")),
]
SETTINGS = {
    project: tomllib.loads((project / "pyproject.toml").read_text()) for project in PROJECTS
}
FOLDERS = {settings["project"]["name"]: project for project, settings in SETTINGS.items()}
MEMBERS = sorted(set(FOLDERS) - {"vq-all"})
UV = os.environ.get("UV") or shutil.which("uv")
#: Distributions that are called otherwise than what they install.
CALLED = {"gph": "giotto-ph", "sklearn": "scikit-learn", "PIL": "pillow", "yaml": "pyyaml"}

pytestmark = pytest.mark.skipif(UV is None, reason="uv is not on PATH: nothing here can be built")


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def package_of(name):
    """The import package of a distribution of ours: its folder below src."""
    (package,) = [
        path for path in (FOLDERS[name] / "src").iterdir() if (path / "__init__.py").exists()
    ]
    return package


OURS = {package_of(name).name: name for name in MEMBERS}


def uv(*arguments):
    done = subprocess.run(
        [UV, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


class Wheel:
    """What a wheel holds."""

    def __init__(self, path):
        self.path = path
        with zipfile.ZipFile(path) as archive:
            self.files = set(archive.namelist())
            self.texts = {
                name.rpartition("/")[2]: archive.read(name).decode() for name in self._about()
            }
        self.metadata = email.message_from_string(self.texts["METADATA"])

    def _about(self):
        return {name for name in self.files if name.split("/")[0].endswith(".dist-info")}

    def modules(self):
        return self.files - self._about()

    def entry_points(self):
        parser = configparser.ConfigParser(delimiters=("=",))
        parser.optionxform = str
        parser.read_string(self.texts.get("entry_points.txt", ""))
        return {section: dict(parser[section]) for section in parser.sections()}

    def requires(self, *, extras):
        """Names of the distributions it depends on, with or without those of its extras."""
        lines = self.metadata.get_all("Requires-Dist") or []
        return {
            normal(re.match(r"[\w.-]+", line)[0])
            for line in lines
            if extras or "extra ==" not in line
        }


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    """Every distribution of the workspace, built: name -> wheel."""
    folder = tmp_path_factory.mktemp("wheels")
    uv(
        "build",
        "--quiet",
        "--all-packages",
        "--wheel",
        "--python",
        sys.executable,
        "--out-dir",
        folder,
    )
    built = [Wheel(path) for path in folder.glob("*.whl")]
    return {wheel.metadata["Name"]: wheel for wheel in built}


# -- what the wheels hold ---------------------------------------------------


def test_every_distribution_of_the_workspace_builds(wheels):
    assert set(wheels) == set(FOLDERS)


@pytest.mark.parametrize("name", MEMBERS)
def test_a_wheel_holds_its_package_and_nothing_else(name, wheels):
    package = package_of(name)
    files = [
        path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    ]
    assert wheels[name].modules() == {path.relative_to(package.parent).as_posix() for path in files}


@pytest.mark.parametrize("name", MEMBERS)
def test_a_wheel_declares_its_plugin_and_commands(name, wheels):
    project = SETTINGS[FOLDERS[name]]["project"]
    expected = dict(project["entry-points"])
    if "scripts" in project:
        expected["console_scripts"] = project["scripts"]
    assert wheels[name].entry_points() == expected
    for module in expected["vqcore"].values():
        assert f"{module.replace('.', '/')}.py" in wheels[name].modules()


def test_the_whole_is_its_members_and_no_files(wheels):
    assert wheels["vq-all"].modules() == set()
    assert wheels["vq-all"].requires(extras=False) == set(MEMBERS)


@pytest.mark.parametrize("name", sorted(FOLDERS))
def test_every_wheel_says_which_python_it_runs_on(name, wheels):
    assert wheels[name].metadata["Requires-Python"] == ">=3.11"


@pytest.mark.parametrize("name", sorted(FOLDERS))
def test_every_wheel_carries_the_license(name, wheels):
    assert wheels[name].metadata["License-Expression"] == "MIT"
    assert wheels[name].texts["LICENSE"] == (ROOT / "LICENSE").read_text()


# -- dependencies -----------------------------------------------------------


def imported(name):
    """The distributions whose modules a package imports, inside functions too."""
    tops = set()
    for path in package_of(name).rglob("*.py"):
        if "new_plugin/template/" in path.as_posix():  # data: what ``vq new-plugin`` writes
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                tops |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                tops.add(node.module.partition(".")[0])
    tops -= set(sys.stdlib_module_names) | {package_of(name).name}
    return {CALLED.get(top) or OURS.get(top) or normal(top) for top in tops}


#: What a distribution imports only where it is there: ``vq.testing`` then has a fixture.
WHERE_PRESENT = {"vq-cli": {"pytest"}}


@pytest.mark.parametrize("name", MEMBERS)
def test_a_wheel_depends_on_what_its_code_imports(name, wheels):
    declared = wheels[name].requires(extras=True)
    granted = wheels["vqcore"].requires(extras=False) if "vqcore" in declared else set()
    if "torch" in declared | granted:
        granted |= {"triton"}  # where torch has it
    granted |= WHERE_PRESENT.get(name, set())
    assert imported(name) - declared - granted == set(), "imported and not declared"


#: What a distribution uses by the names of components and commands alone.
COMPONENTS = {
    "vq-papers": {
        "vq-prior", "vqcore-ema", "vqcore-grouped", "vqcore-homology",
        "vqcore-householder-rotation", "vqcore-hyperbolic",
    }
}  # fmt: skip


@pytest.mark.parametrize("name", MEMBERS)
def test_a_wheel_depends_on_nothing_that_its_code_does_not_import(name, wheels):
    used = imported(name) | COMPONENTS.get(name, set())
    assert wheels[name].requires(extras=False) - used == set(), "declared and not imported"


@pytest.mark.parametrize("name", MEMBERS)
def test_every_dependency_has_a_floor_and_a_cap(name, wheels):
    for line in wheels[name].metadata.get_all("Requires-Dist"):
        assert ">=" in line, line
        assert "<" in line, line


# -- installed alone --------------------------------------------------------

RUN = """
import json, sys
given = json.loads(sys.argv[1])
sys.path[:0] = given["paths"]
import importlib.util
from vqcore.plugin.registry import Registry
from vqcore.plugin.component import KINDS
registry = Registry()
report = {
    "seen": [name for name in given["ours"] if importlib.util.find_spec(name)],
    "at": __import__("vqcore").__file__,
    "status": {plugin.package: plugin.status for plugin in registry.plugins},
    "names": {kind: registry.names(kind) for kind in KINDS},
}
"""
LAYER = """
import torch
from vqcore import VectorQuantizer
from vqcore.errors import ComponentError
for manifold in ("euclidean", "poincare"):
    try:
        layer = VectorQuantizer(dim=4, codebook_size=8, manifold=manifold)
        out = layer(torch.randn(6, 4, generator=torch.Generator().manual_seed(0)))
        fits = torch.allclose(layer.eval().decode(out.indices), out.quantized, atol=1e-5)
        valid = bool(torch.isfinite(out.loss)) and fits
        report[manifold] = [type(layer.manifold).__module__, valid]
    except ComponentError as error:
        report[manifold] = [type(error).__name__, str(error)]
"""
COMMAND = """
sys.argv = ["vq", "train", "--dry-run"]
from vq.cli.app import main
try:
    main()
except SystemExit as end:
    report["code"] = end.code or 0
"""
TELL = "\nprint(json.dumps(report))\n"


@pytest.fixture(scope="module")
def third_party(tmp_path_factory):
    """A folder of links to the packages of this environment, without this repository's."""
    folder = tmp_path_factory.mktemp("third_party")
    for site in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for path in Path(site).iterdir():
            name = normal(path.name.partition("-")[0])
            ours = path.name in OURS or (path.suffix == ".dist-info" and name in FOLDERS)
            if not ours and path.suffix != ".pth" and not path.name.startswith(("_editable", "__")):
                (folder / path.name).symlink_to(path)
    return folder


@pytest.fixture(scope="module")
def installed(wheels, tmp_path_factory):
    """A function that installs one wheel into a folder of its own, once, and returns the folder."""
    done = {}

    def install(name):
        if name not in done:
            done[name] = tmp_path_factory.mktemp(name)
            options = ("--quiet", "--no-deps", "--no-index", "--python", sys.executable)
            uv("pip", "install", *options, "--target", done[name], wheels[name].path)
        return done[name]

    return install


@pytest.fixture(scope="module")
def alone(installed, third_party):
    """A function that runs a script with only the named distributions of ours; its report."""

    def run(names, script, folder=None):
        paths = [str(installed(name)) for name in names] + [str(third_party)]
        given = json.dumps({"paths": paths, "ours": sorted(OURS)})
        command = [sys.executable, "-I", "-S", "-c", RUN + script + TELL, given]
        variables = {key: value for key, value in os.environ.items() if not key.startswith("VQ_")}
        done = subprocess.run(
            command, capture_output=True, text=True, env=variables, cwd=folder, check=False
        )
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout.splitlines()[-1])
        assert report["at"].startswith(paths[0])
        assert report["seen"] == sorted(package_of(name).name for name in names)
        assert report["status"] == dict.fromkeys(names, "ok")
        return report

    return run


def test_the_links_lead_to_no_distribution_of_ours(third_party):
    assert (third_party / "torch").exists()
    names = {normal(path.name.partition("-")[0]) for path in third_party.iterdir()}
    assert not names & {*FOLDERS, *map(normal, OURS)}


def test_vqcore_alone_has_euclidean_and_no_poincare_until_hyperbolic_is_installed(alone):
    core = alone(["vqcore"], LAYER)
    assert core["names"]["manifold"] == ["euclidean", "product", "sphere"]
    assert core["euclidean"] == ["vqcore.builtin.manifolds.euclidean", True]
    code, text = core["poincare"]
    assert code == "ComponentError"
    assert text.startswith("manifold = 'poincare': no plugin provides it")
    both = alone(["vqcore", "vqcore-hyperbolic"], LAYER)
    assert both["names"]["manifold"] == ["euclidean", "lorentz", "poincare", "product", "sphere"]
    assert both["euclidean"] == core["euclidean"]
    assert both["poincare"] == ["vq_hyperbolic.poincare", True]


@pytest.mark.parametrize(
    ("name", "provided"),
    [
        ("vqcore-ema", {("quantizer", "ema")}),
        ("vqcore-grouped", {("quantizer", "grouped"), ("quantizer", "residual")}),
        ("vqcore-homology", {("regularizer", "homology")}),
        ("vqcore-householder-rotation", {("estimator", "rotation")}),
        ("vqcore-diveq", {("estimator", "diveq")}),
        ("vqcore-index-backpropagation", {("estimator", "index-backpropagation")}),
        ("vqcore-lookup-free", {("quantizer", "fsq"), ("quantizer", "lfq"), ("quantizer", "bsq")}),
    ],
)
def test_a_plugin_installed_beside_vqcore_adds_its_own(name, provided, alone):
    without, beside = alone(["vqcore"], "")["names"], alone(["vqcore", name], "")["names"]
    assert {
        (kind, each) for kind in beside for each in set(beside[kind]) - set(without[kind])
    } == provided


def test_the_command_line_needs_no_plugin(alone, tmp_path):
    report = alone(["vqcore", "vq-cli"], COMMAND, tmp_path)
    assert report["code"] == 0
    assert report["names"]["backbone"] == [
        "classifier",
        "conv",
        "distance",
        "hierarchical",
        "mlp",
        "patches",
        "resnet",
        "vit",
    ]
