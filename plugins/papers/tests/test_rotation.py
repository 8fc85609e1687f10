"""What is measured and drawn of the runs of paper D."""

import pytest
from PIL import Image

import vq
from vq_papers import rotation_figures, rotation_measures
from vq_papers.experiment import Setup
from vq_papers.experiments import rotation
from vq_papers.results import Results, RowResult, RunResult

SHORT = {"max_steps": 8, "sample_every": 2, "eval_every": 2, "codebook_size": 16, "log_every": 4}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The first row of the experiment with pictures, and its folder, as of an experiment."""
    folder = tmp_path_factory.mktemp("rotation-epochs-quick")
    row = rotation.epoch_rows(Setup())[0]
    settings = {**row.settings, **SHORT, "device": "cpu"}
    run = vq.train(preset=row.preset, settings=settings, run_dir=folder / "runs" / "a")
    return run, folder


def test_losses_are_those_of_the_paper(trained):
    run, _ = trained
    found = rotation_measures.both_splits(run)
    assert found["test_reconstruction"] == pytest.approx(4 * run.metrics["mse"])
    for split in ("train", "test"):
        total = found[f"{split}_reconstruction"] + 1.25 * found[f"{split}_codebook"]
        assert found[f"{split}_total"] == pytest.approx(total)
    last = run.history[-1]
    assert found["train_reconstruction"] == last["reconstruction"]
    # what was trained on weighs the quantization error by beta alone: averaged codes learn nothing
    total = found["train_reconstruction"] + 0.25 * found["train_codebook"]
    assert last["loss"] == pytest.approx(total, rel=1e-4)
    assert rotation_measures.trained(run)["parameters"] == run.model.parameter_count / 1e6


def test_figures_show_every_moment(trained):
    run, folder = trained
    names = [title for title, _ in rotation_figures._pictures(run.folder.samples)]
    assert names == ["epoch 0", "step 2", "step 4", "step 6", "step 8"]
    row = RowResult("rotation", {}, {}, [RunResult(0, "runs/a", {}, 1.0)])
    results = Results("rotation-epochs", "quick", "vq reproduce", {}, [row, row])
    rotation_figures.reconstructions(results, folder)
    rotation_figures.codebooks(results, folder)
    for name in ("reconstructions", "codebooks"):
        with Image.open(folder / f"{name}.png") as picture:
            assert min(picture.size) > 200
