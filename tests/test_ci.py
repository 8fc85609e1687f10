"""CI tests both ends of the versions of torch and Python that are allowed, and reads all types."""

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent


def project(package):
    return tomllib.loads((ROOT / package / "pyproject.toml").read_text())["project"]


def floor(package, name):
    (text,) = (each for each in project(package)["dependencies"] if re.match(rf"{name}\W", each))
    return re.search(r">=([\d.]+)", text)[1]


def jobs():
    """Python and torch of each job of the matrix, where a torch of None is the newest."""
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    matrix = workflow["jobs"]["test"]["strategy"]["matrix"]
    plain = [{"python": python} for python in matrix["python"]]
    return [
        (job["python"], job.get("torch"), job.get("torchvision"))
        for job in plain + matrix["include"]
    ]


def test_the_oldest_and_the_newest_torch_are_tested_on_the_oldest_python():
    oldest = project("vqcore")["requires-python"].removeprefix(">=")
    assert (oldest, None, None) in jobs()
    assert (oldest, floor("vqcore", "torch"), floor("cli", "torchvision")) in jobs()


def test_every_job_runs_all_tests_without_bringing_another_torch_back():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    steps = [step.get("run") for step in workflow["jobs"]["test"]["steps"]]
    assert steps[-1] == "uv run --no-sync pytest"
    paths = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    assert {"vqcore/tests", "plugins"} <= set(paths["testpaths"])


def test_a_bug_report_asks_for_what_there_is():
    form = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / "bug.yml").read_text())
    assert {"name", "description", "body"} <= form.keys()
    labels = [part["attributes"].get("label") for part in form["body"]]
    assert labels[-2:] == ["vq doctor --json", "config.yaml"]
    assert "## Reporting a fault" in (ROOT / "docs" / "security.md").read_text()


def test_mypy_reads_every_example_as_strictly_as_an_author_may():
    examples = ROOT / "examples"
    modules = [*examples.glob("*.py"), *examples.glob("loops/*.py"), *examples.glob("*/src/*")]
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]
    strict = next(each for each in settings["overrides"] if each.get("disallow_any_generics"))
    assert {each.stem for each in modules} <= set(settings["packages"])
    assert {each.stem for each in modules} <= {each.removesuffix(".*") for each in strict["module"]}
