"""The section of a report: the prior's metrics and curves, and the images drawn from it."""

import os
import shutil

import pytest

TITLE = "Samples of the prior"


@pytest.fixture
def prior_run(copied_run):
    """A run with the folder of a prior, without its weights: the report does not read them."""
    folder = copied_run.path / "prior"
    folder.mkdir()
    (folder / "config.json").write_text(
        '{"figures": {"bits_per_token": 3.25, "uniform_bits_per_token": 4.0}}'
    )
    (folder / "metrics.jsonl").write_text(
        '{"step": 9, "train_bits": 3.5, "aside_bits": 3.75}\n{"st'
    )
    return copied_run


def part(vq, *runs, output):
    """The markup of the section in the report of runs."""
    result = vq("report", *runs, "-o", output)
    assert (result.code, result.err) == (0, "")
    html = output.read_text(encoding="utf-8")
    return html.partition(f"<h2>{TITLE}</h2>")[2].partition("<h2>")[0]


def test_a_prior_is_shown_with_its_newest_images(prior_run, vq, tmp_path):
    (sample, *_) = (prior_run.path / "samples").iterdir()
    for number in range(6):
        path = prior_run.path / "prior" / f"drawn-{number}.png"
        shutil.copy(sample, path)
        os.utime(path, (number, number))
    path.write_bytes(path.read_bytes()[:100])
    drawn = part(vq, prior_run.path, output=tmp_path / "report.html")
    assert "<dt>Prior, held out</dt><dd>3.25 <small>bits/token</small></dd>" in drawn
    assert "<dt>Uniform</dt><dd>4.00" in drawn
    assert "Code frequencies" not in drawn
    assert "<title>validation, step 9: 3.75</title>" in drawn
    assert "<title>training, step 9: 3.5</title>" in drawn
    assert drawn.count("<img") == 3, "the fourth is damaged"
    assert all(f"<figcaption>Drawn-{number}</figcaption>" in drawn for number in (2, 3, 4))


def test_each_run_has_its_own_prior_or_the_way_to_train_one(prior_run, complete_run, vq, tmp_path):
    shown = part(vq, prior_run.path, complete_run.path, output=tmp_path / "both.html")
    with_prior, without = shown.split(f"<h3>{complete_run.path.name}</h3>")
    assert f"<h3>{prior_run.path.name}</h3>" in with_prior
    assert "Prior, held out" in with_prior
    assert "has no prior over its codes: vq prior trains one" in without


def test_a_run_whose_plugin_is_missing_shows_its_prior(prior_run, vq, tmp_path):
    config = prior_run.path / "config.yaml"
    config.write_text(config.read_text().replace("/poincare", "/poincar"))
    assert "Prior, held out" in part(vq, prior_run.path, output=tmp_path / "report.html")
