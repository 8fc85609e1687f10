"""The tree experiment: exact answers of few codes, and the figure."""

from __future__ import annotations

import numpy as np
import pytest

from vq_papers.results import Results, RowResult, RunResult
from vq_papers.tree_nodes import OWN, exact_answer, figure


@pytest.mark.parametrize(("codes", "score"), [(3, 0.620), (15, 0.818), (255, 1.0)])
def test_exact_answers_of_few_codes_score_high(codes, score):
    found = exact_answer({"codebook_size": codes})
    assert found["tree_correlation"] == pytest.approx(score, abs=5e-4)
    assert found["tree_codes"] == codes


def test_the_figure_has_a_tree_for_each_space_and_training(tmp_path):
    rows = []
    for number, label in enumerate(
        f"{space}, {trained}"
        for trained in ("noise", "clean, isometry")
        for space in ("Euclid", "Poincare")
    ):
        folder = tmp_path / str(number) / OWN
        folder.mkdir(parents=True)
        places = np.random.default_rng(number).uniform(-0.7, 0.7, (255, 2))
        np.savez(folder / "nodes.npz", places=places, flat=np.array(number % 2 == 0))
        rows.append(RowResult(label, {}, {}, [RunResult(0, str(number), {}, 1.0)]))
    results = Results("trees", "quick", "vq reproduce trees", {}, rows)
    figure(results, tmp_path)
    assert (tmp_path / "trees.png").stat().st_size > 10_000
    (tmp_path / "trees.png").unlink()
    figure(Results("trees", "quick", "", {}, rows[:1]), tmp_path)
    assert not (tmp_path / "trees.png").exists()
