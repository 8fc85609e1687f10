"""``vq reproduce``: runs in processes, results over seeds, and going on where it stopped."""

import json
import os
import signal
import threading
import time
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from vq.cli.app import build_app
from vq.composition import base_values, compose, given_values
from vq_papers.execute import Request, execute
from vq_papers.experiment import Column, Experiment, Row, Setup
from vq_papers.experiments import EXPERIMENTS
from vq_papers.results import FILE, Results, RowResult, RunResult
from vq_papers.tables import markdown, table
from vqcore.errors import SettingError
from vqcore.plugin.registry import default_registry

BASE = {
    "dataset": "digits", "backbone": "mlp", "backbone.hidden": 8, "codebook_size": 8, "dim": 2,
    "eval_every": 10_000,
}  # fmt: skip
COLUMNS = (Column(key="psnr", heading="PSNR", best="high"), Column(key="absent", heading="?"))


def request(folder, steps=4, jobs=2, seeds=2, **more):
    def rows(setup):
        sizes = {"wide": 3, "narrow": 2}
        return [
            Row(
                label=label,
                settings={**BASE, "dim": dim, "max_steps": steps, **more},
                published={"psnr": "20.1"} if label == "wide" else {},
            )
            for label, dim in sizes.items()
        ]

    experiment = Experiment(
        name="sizes", paper="C", place="nowhere", title="two", rows=rows, columns=COLUMNS
    )
    return Request(experiment, Setup(), seeds, folder, jobs, "cpu", "vq reproduce sizes")


def test_every_row_is_trained_with_every_seed_and_measured_once(tmp_path):
    said = []
    results, stopped, failed = execute(request(tmp_path), said.append)
    assert (stopped, failed) == (None, 0)
    assert [[run.seed for run in row.runs] for row in results.rows] == [[0, 1], [0, 1]]
    assert len(said) == 4
    assert said[-1].startswith("[4/4]")
    wide = results.row("wide")
    assert len(set(wide.values("psnr"))) == 2
    assert (tmp_path / wide.runs[0].folder / "config.yaml").is_file()
    assert Results.load(tmp_path / FILE) == results

    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("metrics.jsonl")}
    again, _, _ = execute(request(tmp_path), said.append)
    assert again == results
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("metrics.jsonl")} == stamps
    with pytest.raises(SettingError, match="choose another, or remove it"):
        execute(request(tmp_path, steps=5), said.append)


def test_a_baseline_is_computed_once_and_trains_nothing(tmp_path):
    asked = request(tmp_path, jobs=1)
    row = Row(label="square", settings={"dim": 3}, baseline="builtins:dict")
    experiment = replace(asked.experiment, rows=lambda setup: [row])
    results, _, failed = execute(replace(asked, experiment=experiment), lambda line: None)
    assert failed == 0
    assert results.row("square").runs == [RunResult(0, "", {"dim": 3}, 0.0)]
    assert not (tmp_path / "runs").exists()


def test_a_signal_stops_it_and_the_same_request_goes_on(tmp_path):
    def stop():
        while not list(tmp_path.rglob("metrics.jsonl")):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    long = {"steps": 400, "jobs": 1, "seeds": 1, "log_every": 5}
    thread = threading.Thread(target=stop)
    thread.start()
    results, stopped, failed = execute(request(tmp_path, **long), lambda line: None)
    thread.join()
    assert (stopped, failed) == (signal.SIGINT, 0)
    assert sum(len(row.runs) for row in results.rows) < 2
    first = tmp_path / "runs" / "wide-seed0"
    before = json.loads((first / "status.json").read_text())
    assert before["status"] == "interrupted"
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["wide-seed0"]
    results, stopped, _ = execute(request(tmp_path, **long), lambda line: None)
    assert stopped is None
    assert all(len(row.runs) == 1 for row in results.rows)
    assert (first / "log.txt").read_text().count("step 5/400") == 1


def test_a_run_that_fails_or_whose_process_dies_leaves_the_others(tmp_path):
    said = []
    asked = request(tmp_path, seeds=1, jobs=1)
    wide, _ = asked.experiment.rows(asked.setup)
    dying = Row(label="dying", settings=wide.settings, callbacks="os:abort")
    broken = Row(label="broken", settings=wide.settings, measure="math:sin")
    experiment = replace(asked.experiment, rows=lambda setup: [dying, broken, wide])
    results, _, failed = execute(replace(asked, experiment=experiment), said.append)
    assert failed == 2
    assert "dying, seed 0: failed: its process was killed" in said[0]
    assert "broken, seed 0: failed" in said[1]
    assert [len(row.runs) for row in results.rows] == [0, 0, 1]


def test_a_table_has_mean_spread_and_the_papers_value():
    runs = [RunResult(n, "runs/a", {"psnr": value}, 1.0) for n, value in enumerate((20.0, 22.0))]
    rows = [
        RowResult("a", {}, {"psnr": "21"}, runs),
        RowResult("b", {}, {}, runs[:1]),
        RowResult("c", {}, {}, ()),
        RowResult("baseline", {}, {}, [RunResult(0, "", {"psnr": 30.0}, 0.0)]),
    ]
    results = Results("x", "quick", "vq reproduce x", {"device_name": "some CPU", "cpus": 2}, rows)
    assert table(results, COLUMNS, bold="**") == [
        ["", "PSNR", "PSNR (paper)"],
        ["a", "**21.00** ± 1.41", "21"],
        ["b", "20.00", ""],
        ["c", "", ""],
        ["baseline", "30.00", ""],
    ]
    text = markdown(results, COLUMNS)
    assert "| a | **21.00** ± 1.41 | 21 |" in text
    assert "1 to 2 seeds" in text


CASES = [
    pytest.param(each, scale, id=f"{each.name}-{scale}")
    for each in EXPERIMENTS
    for scale in ("quick", "medium", "full")
]


@pytest.mark.parametrize(("experiment", "scale"), CASES)
@pytest.mark.parametrize("data", [False, True], ids=["offline", "data"])
def test_every_row_is_a_valid_config_with_a_label_of_its_own(experiment, scale, data, tmp_path):
    for folder in ("MNIST", "FashionMNIST", "cifar10/train"):
        (tmp_path / folder).mkdir(parents=True)
    rows = experiment.rows(Setup(scale=scale, data=tmp_path if data else None))
    assert len({row.label for row in rows}) == len(rows) > 1
    assert experiment.seeds[scale] >= 1
    keys = {column.key for column in experiment.columns}
    for row in rows:
        assert row.published.keys() <= keys
        given = given_values({}, row.settings)
        compose(given, base=base_values(row.preset), registry=default_registry())


def call(*words):
    return CliRunner().invoke(build_app(default_registry(), "reproduce"), ["reproduce", *words])


def test_the_list_has_every_experiment():
    done = call("--list")
    assert done.exit_code == 0
    assert all(each.name in done.output for each in EXPERIMENTS)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "expected names of experiments, or all"),
        (["tree"], "'tree': no experiment; did you mean 'trees'?"),
        (["trees", "--data", "nowhere"], "--data = 'nowhere': expected a folder"),
        (["all", "--quick", "--full"], "choose one"),
    ],
)
def test_wrong_use_is_explained(words, expected):
    done = call(*words)
    assert done.exit_code != 0
    assert expected in f"{done.output}{done.exception}"
