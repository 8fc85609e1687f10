"""Run folders that are damaged or come from anyone: what is left is shown, and nothing acts."""

import html
import io
import json
import re
import shutil

import numpy as np
import PIL.Image
import pytest
import yaml

from vq.runs import history
from vq_report import write
from vq_report.charts.png import charts_png
from vq_report.sections import machine
from vq_report.sections.codebook import alike
from vqcore.plugin.report_section import Chart, Series

MARKUP = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7*7 }}$x_{$"
HOSTILE = f"{MARKUP}\x1b[2J\u202e\ud800"
RECONSTRUCTIONS, LAST = "Reconstructions over training", "Status, environment, plugins"


def hostile(value):
    """The value with every text replaced, and a hostile key beside each."""
    if isinstance(value, dict):
        changed = {key: hostile(each) for key, each in value.items()}
        return changed | {f"{key}{HOSTILE}": each for key, each in changed.items()}
    if isinstance(value, list):
        return [hostile(each) for each in value]
    return HOSTILE if isinstance(value, str) else value


def picture(kind, size=(4, 4)):
    buffer = io.BytesIO()
    PIL.Image.new("1", size).save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture
def run(copied_run):
    """Without what takes long: a model to evaluate, and a codebook over training."""
    for name in ("checkpoints", "history"):
        shutil.rmtree(copied_run.path / name)
    return copied_run


@pytest.fixture
def report(vq):
    """``vq report`` of a run, with exit code 0: the page and what stderr says."""

    def show(run):
        result = vq("report", run.path)
        assert result.code == 0, result
        assert "\x1b" not in result.out + result.err
        return (run.path / "report.html").read_text(encoding="utf-8"), result.err

    return show


def section(page, title):
    return page.partition(f"<h2>{title}</h2>")[2].partition("<h2>")[0]


def test_no_text_of_a_run_folder_is_markup(run, report):
    path = run.path
    for name in ("status", "summary", "env", "data", "plugins"):
        file = path / f"{name}.json"
        file.write_text(json.dumps(hostile(json.loads(file.read_text()))))
    lines = (path / "metrics.jsonl").read_text().splitlines()
    changed = [json.dumps({**json.loads(line), f"loss{MARKUP}": 1.0}) for line in lines]
    (path / "metrics.jsonl").write_text("\n".join(changed) + "\n")
    config = yaml.safe_load((path / "config.yaml").read_text())
    config["optimizer"][MARKUP], config["dataset"]["root"] = 1, MARKUP
    (path / "config.yaml").write_text(yaml.safe_dump(config))
    run.path = path.rename(path.with_name("<img onerror=alert(2)>\x1b$_"))
    page, _ = report(run)
    assert "<script" not in page
    assert not re.search(r"<img[^>]*onerror", page)
    assert "<img src=x onerror=alert(2)>" in html.unescape(page)
    assert "{{ 7*7 }}" in page
    assert not set("\x1b\u202e\ud800") & set(page)


@pytest.mark.parametrize("content", [picture("GIF"), picture("PNG", (9000, 9000)), b"", b"\x89PNG"])
def test_an_image_that_is_none_is_left_out(run, report, content):
    (run.path / "samples" / "step-00000004.png").write_bytes(content)
    page, said = report(run)
    assert section(page, RECONSTRUCTIONS).count("<img") == 2
    assert said == ""


def test_only_samples_of_steps_are_frames(run, report):
    others = ["step-1x", "step-\N{SUPERSCRIPT TWO}0000000", "step-00000004-best"]
    others += ["step-00000004-epoch-", "step-00000004-epoch-01", "step-00000004-epoch-1-best"]
    for name in (*others, "step-00000004-epoch-1234"):
        (run.path / "samples" / f"{name}.png").write_bytes(picture("PNG"))
    page, said = report(run)
    assert section(page, RECONSTRUCTIONS).count("<img") == 4
    assert "4 (epoch 1,234)" in section(page, RECONSTRUCTIONS)
    assert said == ""


@pytest.mark.parametrize("content", [b"[]", b"3", b"\xff\xfe", b"[" * 10**5, b'{"step": {}}'])
def test_files_that_are_no_mappings_count_as_missing(run, report, content):
    for name in ("status", "summary", "env", "plugins", "data"):
        (run.path / f"{name}.json").write_bytes(content)
    page, said = report(run)
    assert said == ""
    assert "unknown at step" in section(page, LAST)


def test_metrics_that_are_none_are_left_out(run, report):
    file = run.path / "metrics.jsonl"
    odd = [b"[]", b"3", b'"a"', b"\xff", b'{"step": "x"}', b'{"step": 3, "loss": "1"}']
    odd += [b'{"step": 1e400}', b'{"step": %d}' % 10**400]
    file.write_bytes(b"\n".join([*odd, file.read_bytes()]))
    page, said = report(run)
    assert "Loss terms" in section(page, "Curves")
    assert "damaged lines left out" in said


@pytest.mark.parametrize(
    "change", [{"codes0": np.nan}, {"chosen0": -1}, {"chosen0": 10**6}, {"counts0": None}]
)
def test_an_odd_snapshot_is_left_out(copied_run, change):
    assert [each.step for each in alike(history.read(copied_run.path))] == [4, 8, 12]
    file = sorted((copied_run.path / "history").glob("*.npz"))[-1]
    arrays = dict(np.load(file))
    for name, value in change.items():
        arrays[name] = arrays[name][:-1] if value is None else np.full_like(arrays[name], value)
    np.savez(file, **arrays)
    assert [each.step for each in alike(history.read(copied_run.path))] == [4, 8]


def test_a_long_error_is_shortened(run, report):
    status = run.json("status") | {"error": "x" * 10**6}
    (run.path / "status.json").write_text(json.dumps(status))
    page, _ = report(run)
    assert "x" * machine.LONGEST in page
    assert "x" * (machine.LONGEST + 1) not in page


# -- a part that fails --------------------------------------------------------


def test_a_section_that_fails_leaves_the_others(run, report, monkeypatch):
    def fail(run):
        raise KeyError("x\x1b")

    monkeypatch.setattr(write, "LAST", ("Last", "", fail))
    page, said = report(run)
    assert said == "warning: section 'Last' of copied cannot be shown: KeyError: 'x\\x1b'\n"
    shown = html.unescape(section(page, "Last"))
    assert r"Section 'Last' of copied cannot be shown: KeyError: 'x\x1b'." in shown
    assert section(page, "Curves")


def test_a_section_that_cannot_be_drawn_leaves_the_others(run, report, monkeypatch):
    def odd(run):
        return [Chart("odd", [Series("", [(0, "text")])])]

    monkeypatch.setattr(write, "LAST", ("Last", "", odd))
    page, said = report(run)
    assert "warning: section 'Last' cannot be shown: TypeError" in said
    assert "cannot be shown: TypeError" in section(page, "Last")
    assert section(page, "Curves")


def test_a_plugin_that_fails_is_named_on_the_page(train, report, plugin_file):
    path = plugin_file("fails_here", "@hookimpl\ndef vq_report(run):\n    raise OSError('mine')\n")
    page, said = report(train("--plugin-file", path, "--max-steps", 1))
    assert "OSError: mine" in section(page, "Plugins that failed")
    assert "OSError: mine" in said


# -- compare ------------------------------------------------------------------


def test_runs_of_any_name_are_compared(run, vq, tmp_path):
    path = run.path.rename(tmp_path / "_$x_{$[x]\x1b")
    result = vq("compare", path, path, "-o", tmp_path / "curves.png")
    assert result.code == 0, result
    assert "$x_{$[x]\\x1b" in result.out.replace("\n", "").replace(" ", "")
    for words in (("--json",), ("--csv",)):
        assert "\x1b" not in vq("compare", path, path, *words).out


def test_a_dollar_begins_no_formula():
    assert charts_png([Chart("$x_{", [Series("$\\frac", [(0, 1)])], x="$", y="$")], columns=1)
