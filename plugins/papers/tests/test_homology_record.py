"""The experiment ``homology``: its numbers, curves and diagrams, from what runs recorded."""

import json
from types import SimpleNamespace

import pytest

from vq_papers import homology_record
from vq_papers.experiment import Setup
from vq_papers.experiments.homology import BOTH, EXPERIMENT, FORMS, OFF, PAPER
from vq_papers.results import Results, RowResult, RunResult


@pytest.fixture
def results(tmp_path):
    """Two forms with two seeds each, whose perplexity is 10 + seed."""
    cloud = {"h0": [0.1, 0.2], "h1": [[0.2, 0.3]], "entropy": 0.6}
    rows = []
    for form in (OFF, PAPER):
        runs = [RunResult(seed, f"runs/{form}{seed}", {}, 1.0) for seed in (0, 1)]
        rows.append(RowResult(f"digits: {form}", {}, {}, runs))
        for run in runs:
            folder = tmp_path / run.folder
            folder.mkdir(parents=True)
            for step in (5, 10):
                with (folder / "metrics.jsonl").open("a") as file:
                    file.write(json.dumps({"step": step, "perplexity": 10 + run.seed}) + "\n")
                with (folder / "homology.jsonl").open("a") as file:
                    line = {"step": step, "codebook": cloud, "latents": {**cloud, "h1": []}}
                    file.write(json.dumps(line) + "\n")
    return Results("homology", "quick", "", {}, rows)


def test_a_curve_has_the_values_of_all_seeds_at_each_step(results, tmp_path):
    row = results.rows[0]
    over = homology_record._over_training(row, tmp_path, "perplexity")
    assert over == {5: [10, 11], 10: [10, 11]}
    assert homology_record._over_training(row, tmp_path, "homology_strength") == {}


def test_the_figures_are_drawn(results, tmp_path):
    homology_record.curves(results, tmp_path)
    homology_record.diagrams(results, tmp_path)
    assert (tmp_path / "homology-curves.png").stat().st_size > 10_000
    assert (tmp_path / "homology-diagrams-digits.png").stat().st_size > 10_000


def test_measured_are_the_held_out_numbers_and_the_last_line():
    lines = [{"codebook_h0": 1.0, "perplexity": 1.0}, {"codebook_h0": 2.0, "perplexity": 3.0}]
    run = SimpleNamespace(history=lines, metrics={"perplexity": 4.0, "psnr": 20.0})
    measured = homology_record.measured(run)
    assert measured == {"codebook_h0": 2.0, "perplexity": 4.0, "psnr": 20.0}


def test_every_form_differs_and_the_papers_settings_are_the_presets():
    rows = EXPERIMENT.rows(Setup(scale="full"))
    assert len({json.dumps(row.settings, sort_keys=True) for row in rows}) == len(FORMS)
    (ours,) = [row for row in rows if row.label.endswith("entropy of usage")]
    assert set(ours.settings) == {"dataset", "log_every"}
    (both,) = [row for row in rows if row.label.endswith(BOTH)]
    assert both.settings["regularizers.entropy.weight"] > 0
