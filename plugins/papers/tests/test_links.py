"""The experiment ``links``: its figures show what was measured."""

import numpy as np

import vq
from vq_papers.embeddings import PLACES, discs, measured, precision_by_bits
from vq_papers.experiment import Setup
from vq_papers.experiments.links import EXPERIMENT
from vq_papers.one_run import OWN
from vq_papers.results import Results, RowResult, RunResult


def test_figures_show_what_was_measured(tmp_path):
    rows = list(EXPERIMENT.rows(Setup(scale="full")))
    chosen = [row for row in rows if "binary tree, d = 2, 128 codes" in row.label][:2]
    found = []
    for number, row in enumerate(chosen):
        short = {"dataset": {"name": "tree-links", "depth": 4}, "max_steps": 4, "device": "cpu"}
        settings = {**row.settings, **short}
        run = vq.train(preset=row.preset, settings=settings, run_dir=tmp_path / str(number))
        numbers = measured(run)
        assert 0 < numbers["tree_map"] <= 1
        places = np.load(run.folder.path / OWN / PLACES)
        assert places["nodes"].shape == places["codes"].shape == (15, 2)
        label = row.label if number else row.label.replace("d = 2", "d = 3")
        found.append(RowResult(label, {}, {}, [RunResult(0, str(number), numbers, 1.0)]))
    results = Results("links", "full", "vq reproduce links", rows=found)
    discs(results, tmp_path)
    precision_by_bits(results, tmp_path)
    assert (tmp_path / "discs.png").stat().st_size > 2000
    assert (tmp_path / "precision.png").stat().st_size > 2000
