"""vq compare: settings that differ, the best metrics, and runs that are not finished."""

import csv
import io
import json
import shutil

import pytest
from PIL import Image
from rich.console import Console
from rich.text import Text

from vq.cli.tables import fitting_tables
from vq_report.compared_run import settings_by_path
from vq_report.comparison import compare


def copy(run, path, summary=None, status=None, config=None):
    """A copy of a run's folder, some of its files changed."""
    shutil.copytree(run.path, path)
    for name, change in (("summary", summary), ("status", status)):
        file = path / f"{name}.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | (change or {})))
    text = (path / "config.yaml").read_text()
    for old, new in config or ():
        assert old in text
        text = text.replace(old, new, 1)
    (path / "config.yaml").write_text(text)
    return path


@pytest.fixture
def runs(complete_run, tmp_path):
    """Three runs: plain, a better one of another seed and decay, and one that is not finished."""
    better = {"psnr": 40.0, "mse": 1e-4}
    seed = [("seed: 0", "seed: 7"), ("decay: 0.99", "decay: 0.5")]
    return [
        copy(complete_run, tmp_path / "plain"),
        copy(complete_run, tmp_path / "better", better, config=seed),
        copy(
            complete_run, tmp_path / "unfinished", {"psnr": 99.0}, {"status": "running", "step": 5}
        ),
    ]


def test_differing_settings_and_best_metrics(runs):
    found = compare(runs)
    assert found.settings == ["quantizer.decay", "seed"]
    assert [run.settings["seed"] for run in found.runs] == [0, 7, 0]
    assert found.best["psnr"] == found.best["mse"] == ["better"]
    assert "codes_used" not in found.best  # all alike
    assert "codebook_size" not in found.best


def test_an_unfinished_run_shows_its_last_metrics_and_is_never_best(runs, complete_run):
    unfinished = compare(runs).runs[2]
    assert (unfinished.status, unfinished.step) == ("running", 5)
    assert unfinished.metrics["psnr"] == complete_run.metrics[-1]["test_psnr"]
    stopped = {
        "status": "interrupted",
        "step": 5,
        "error": "stopped at once, without saving step 5",
    }
    (runs[2] / "status.json").write_text(json.dumps(stopped))
    found = compare(runs)
    assert (found.runs[2].status, found.best["psnr"]) == ("interrupted", ["better"])
    (runs[2] / "metrics.jsonl").unlink()
    (runs[2] / "status.json").unlink()
    unfinished = compare(runs).runs[2]
    assert (unfinished.status, unfinished.metrics) == ("unknown", {})


def test_no_best_on_different_data(runs, tmp_path, complete_run, vq):
    other = copy(
        complete_run,
        tmp_path / "other",
        {"psnr": 50.0},
        config=[("vq-cli/digits", "vq-cli/photos")],
    )
    found = compare([runs[0], other])
    assert (found.same_data, found.best) == (False, {})
    assert "dataset" in found.settings
    assert (
        "no best is marked: these runs were evaluated on different data"
        in vq("compare", runs[0], other).out
    )


def test_options_of_a_component_that_only_some_chose_follow_from_it(runs, tmp_path, complete_run):
    other = copy(
        complete_run,
        tmp_path / "other",
        config=[("vqcore-ema/ema\n", "vqcore/simvq\n  extra: 1\n")],
    )
    assert compare([runs[0], other]).settings == ["quantizer"]


def test_settings_by_their_key_paths():
    values = {"dim": 8, "quantizer": {"name": "grouped", "inner": {"name": "ema", "decay": 0.9}}}
    found = {
        "dim": 8,
        "quantizer": "grouped",
        "quantizer.inner": "ema",
        "quantizer.inner.decay": 0.9,
    }
    assert settings_by_path(values) == found
    assert settings_by_path({"regularizers": {}}) == {"regularizers": "none"}
    assert settings_by_path({"regularizers": {"a": {"weight": 1}, "b": {}}}) == {
        "regularizers": "a, b",
        "regularizers.a.weight": 1,
    }
    factors = [{"name": "poincare", "gain": 2.0}, {"name": "euclidean"}]
    assert settings_by_path({"manifold": {"name": "product", "factors": factors}}) == {
        "manifold": "product",
        "manifold.factors": "poincare,euclidean",
        "manifold.factors.0.gain": 2.0,
    }


def test_the_table(runs, vq):
    result = vq("compare", *runs)
    assert result.code == 0, result
    lines = {line.split()[0]: line for line in result.out.splitlines() if line.strip()}
    assert "40 *" in lines["psnr"]
    assert lines["status"].split()[1:] == [
        "done,",
        "step",
        "12",
        "done,",
        "step",
        "12",
        "running,",
        "step",
        "5",
    ]


def test_many_runs_are_rows(runs, tmp_path, vq):
    more = [shutil.copytree(runs[0], tmp_path / f"run{i}") for i in range(5)]
    lines = vq("compare", runs[1], *more).out.splitlines()
    assert [line.split()[0] for line in lines[3:9]] == [
        "better",
        "run0",
        "run1",
        "run2",
        "run3",
        "run4",
    ]
    assert "psnr" in lines[1]
    assert "codebook_size" not in lines[1]  # alike


@pytest.mark.parametrize(("width", "parts"), [(80, 1), (37, 1), (36, 2), (23, 2), (21, 3)])
def test_a_table_wider_than_the_terminal_is_split(width, parts):
    """Rich would squeeze the columns, of many all to nothing."""
    rows = [["run", "optimizer.lr", "psnr", "seed"], ["long", "1", Text("40 *", "bold"), "[x]"]]
    tables = fitting_tables(rows, width)
    assert len(tables) == parts
    console = Console(width=width, file=io.StringIO())
    console.print(*tables)
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert sum("long" in line for line in lines) == parts
    for shown in ("psnr", "40 *", "seed", "[x]"):
        assert sum(shown in line for line in lines) == 1, shown


def test_many_runs_of_many_differences(runs, tmp_path, complete_run, vq):
    """One row a run in each of several tables."""
    names = [f"{'x' * 90}{number}" for number in range(6)]
    many = [
        copy(complete_run, tmp_path / name, config=[("vqcore-ema/ema\n  ", "vqcore/simvq\n  ")])
        for name in names
    ]
    words = vq("compare", *many, runs[1]).out.split()
    assert {*names, "better", "quantizer", "simvq", "psnr", "mse", "40", "0.0001"} <= {*words}
    assert words.count(names[0]) > 1


def test_many_runs_that_are_alike(complete_run, vq):
    result = vq("compare", *[complete_run.path] * 6)
    assert result.code == 0, result
    assert result.out.count("run") == 6


def test_json_and_csv(runs, vq):
    values = json.loads(vq("compare", *runs, "--json").out)
    assert [run["run"] for run in values["runs"]] == ["plain", "better", "unfinished"]
    assert values["runs"][1]["settings"] == {"quantizer.decay": 0.5, "seed": 7}
    assert values["best"]["psnr"] == ["better"]
    rows = list(csv.DictReader(io.StringIO(vq("compare", *runs, "--csv").out)))
    assert [row["psnr"] for row in rows] == [str(run["figures"]["psnr"]) for run in values["runs"]]
    assert rows[2]["status"] == "running"


def test_runs_of_the_same_name_are_named_by_their_paths(complete_run, tmp_path):
    first, second = (copy(complete_run, tmp_path / name / "run") for name in ("a", "b"))
    assert [run.name for run in compare([first, second]).runs] == [str(first), str(second)]


def test_curves_in_one_plot(runs, vq):
    result = vq("compare", *runs, "-o", "curves.png")
    assert result.code == 0, result
    assert Image.open("curves.png").width > 1000
    again = vq("compare", *runs, "-o", "curves.png")
    assert (again.code, "expected a path where nothing exists yet" in again.err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nothing",), "run = 'nothing': expected a run folder with a config.yaml in it"),
        (("nothing", "--json", "--csv"), "--json and --csv: choose one"),
        (("nothing", "-o", "a.pdf"), "--output = 'a.pdf': expected a name that ends in .png"),
    ],
)
def test_wrong_input(vq, arguments, message):
    result = vq("compare", *arguments)
    assert (result.code, message in result.err) == (2, True), result
