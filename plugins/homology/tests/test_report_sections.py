"""The section of a report: diagrams, barcodes and curves, as data."""

import pytest

from vq_homology import plugin, report_sections
from vqcore.plugin.report_section import Frames

CLOUD = {"h0": [0.5, 0.25], "h1": [[0.5, 0.75], [0.25, 1.0]], "entropy": 0.6}
LINES = [{"step": step, "latents": CLOUD, "codebook": CLOUD} for step in range(50, 1001, 50)]
METRICS = [
    {"step": line["step"], "perplexity": 10.0, "latents_h0": 0.3, "codebook_h0": 0.4}
    for line in LINES
]


def test_each_cloud_has_diagrams_bars_and_curves():
    (section,) = report_sections.sections(LINES, METRICS)
    assert [block.title for block in section.blocks] == [
        f"{cloud}: {what}"
        for cloud in ("Codebook", "Latents")
        for what in (
            "persistence diagram after step",
            "H0 bars at the end",
            "H1 bars at the end",
            "mean H0 death",
        )
    ]
    frames, h0, h1, curve = section.blocks[:4]
    assert len(frames.frames) == report_sections.MOMENTS
    assert [label for label, _ in frames.frames][:: report_sections.MOMENTS - 1] == ["50", "1,000"]
    assert len({(chart.x_range, chart.y_range) for _, chart in frames.frames}) == 1
    classes, loops = frames.frames[0][1].series
    assert classes.points == [(0.0, 0.5), (0.0, 0.25)]
    assert loops.points == CLOUD["h1"]
    assert h0.series[0].points == [(0.0, 0.25), (0.0, 0.5)]
    assert h1.series[0].points == [[0.25, 1.0], [0.5, 0.75]]
    assert curve.series[0].points[0] == (50, 0.4)
    assert curve.series[1].right


def test_a_barcode_keeps_the_longest():
    cloud = {**CLOUD, "h1": [[0.0, 0.01 * (1 + bar)] for bar in range(100)]}
    (section,) = report_sections.sections([{"step": 1, "latents": cloud}], [])
    frames, _, bars = section.blocks
    assert isinstance(frames, Frames)
    assert len(frames.frames) == 1
    assert len(bars.series[0].points) == report_sections.BARS
    assert min(end for _, end in bars.series[0].points) == pytest.approx(0.61)
    assert bars.note == "The longest 40 of 100."


@pytest.mark.parametrize("lines", [[], [{"step": 4}]])
def test_a_run_without_a_record_has_no_section(lines):
    assert report_sections.sections(lines, METRICS) == []


def test_collapsed_clouds_are_shown():
    empty = {"h0": [], "h1": [], "entropy": 0.0}
    (section,) = report_sections.sections([{"step": 4, "latents": empty}], [])
    assert section.blocks[0].frames[0][1].x_range == (-0.02, 1.0)


def test_vq_report_shows_a_run_with_the_regularizer(tmp_path, monkeypatch, capsys):
    app = pytest.importorskip("vq.cli.app")
    monkeypatch.chdir(tmp_path)
    small = "--backbone.hidden 8 --codebook-size 16 --set log_every=4 --max-steps 8"
    for arguments in (f"train {small} --regularizer homology --run-dir run", "report run"):
        monkeypatch.setattr("sys.argv", ["vq", *arguments.split()])
        with pytest.raises(SystemExit) as ended:
            app.main()
        assert not ended.value.code, capsys.readouterr().err
    page = (tmp_path / "run" / "report.html").read_text()
    part = page.partition("<h2>Persistent homology</h2>")[2].partition("<h2>")[0]
    assert "Latents: persistence diagram after step" in part
    assert part.count('class="guide"') == 4  # two clouds at two steps
    assert "Codebook: total H1 life" in part


def test_a_run_without_the_regularizer_has_no_section():
    class Run:
        class config:
            regularizers = {}

    assert plugin.vq_report(Run()) == []
