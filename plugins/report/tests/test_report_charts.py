"""Charts: round ticks, every point at its position, and a text description."""

import base64
import io
import math
import re

import numpy as np
import PIL.Image
import pytest

from vq_report.charts import svg
from vq_report.charts.palette import COLORS
from vq_report.charts.png import GAP, TITLE, charts_png
from vq_report.charts.scale import Scale, fit, short
from vq_report.embedding import embed
from vq_report.page import render as page
from vq_report.page.render import Page
from vqcore.plugin.report_section import Chart, Image, Section, Series, Strong, Table


@pytest.mark.parametrize(
    ("low", "high", "log", "expected"),
    [
        (0, 1, False, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (17.8, 24.3, False, [18, 20, 22, 24]),
        (-1, 1, False, [-1, -0.5, 0, 0.5, 1]),
        (50, 1840, False, [500, 1000, 1500]),
        (1e-4, 1, True, [1e-4, 1e-3, 1e-2, 1e-1, 1]),
        (0.02, 2, True, [0.03, 0.1, 0.3, 1]),
        (0.0061, 0.0088, True, [0.007, 0.008]),
        (1e-12, 1, True, [1e-12, 1e-10, 1e-8, 1e-6, 1e-4, 1e-2, 1]),
    ],
)
def test_ticks_are_round(low, high, log, expected):
    assert Scale(low, high, 0, 100, log).ticks() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.05, "0.05"),
        (24.2177, "24.22"),
        (1840, "1840"),
        (10_000, "10k"),
        (12_500_000, "12.5M"),
        (3e-5, "3e−5"),
        (-0.5, "−0.5"),
    ],
)
def test_numbers_are_short(value, text):
    assert short(value) == text


@pytest.mark.parametrize(
    "values",
    [
        [],
        [math.nan],
        [3.0],
        [0.0, 0.0],
        [5e-324],
        [10**17, 10**17 + 1],
        [1.0, 2.0, math.inf],
        [-5.0, 5.0],
    ],
)
@pytest.mark.parametrize("options", [{}, {"zero": True}, {"log": True}])
def test_an_axis_holds_every_value_it_can_show(values, options):
    scale = fit(values, 10, 90, **options)
    for value in values:
        if scale.shows(value):
            assert 10 <= scale(value) <= 90
    assert scale.low < scale.high
    assert scale.ticks() or not any(map(scale.shows, values))


def drawn(*series, **options):
    return svg.draw(Chart("A chart", series, **options), "x")


def test_a_line_joins_its_points_and_stops_at_a_gap():
    line = drawn(
        Series("s", [(0, 1.0), (1, 2.0), (2, math.nan), (3, 1.0), (4, math.inf), (5, 2.0)]),
        x="step",
    )
    (path,) = re.findall(r'<g class="line c0"><path d="(.*?)"', line)
    assert [piece.count("L") for piece in path.split("M")[1:]] == [1, 0, 0]
    points = re.findall(r"[\d.]+ [\d.]+", path)
    assert len(points) == 4
    assert [float(point.split()[0]) for point in points] == pytest.approx(
        [44, 104.8, 226.4, 348], abs=0.1
    )
    assert points[0].split()[1] == points[2].split()[1]
    assert line.count('r="2.5"') == 2  # points between two gaps
    assert "<title>s, step 3: 1</title>" in line


def test_a_logarithmic_axis_leaves_out_values_that_are_not_positive():
    path = re.search(
        r'class="line c0"><path d="(.*?)"',
        drawn(Series("", [(0, 1), (1, 0), (2, -1), (3, 10)]), log=True),
    )
    assert path[1].count("M") == 2


def test_series_keep_their_colors_and_kinds():
    some = [Series("a", [], color=-1), Series("b", []), Series("c", [], color=9), Series("d", [])]
    assert svg.color_classes(some) == ["grey", "c0", "c1", "c1"]
    assert svg.kind_classes(Series("", [], "dots", hollow=True)) == "dots hollow"


def test_a_chart_is_described_in_words():
    line = Series("loss", [(50, 0.5), (100, 0.1), (150, 0.2)])
    assert svg.describe(Chart("", [line], x="step")) == (
        "loss: 3 points from 0.5 at step 50 to 0.2 at 150, lowest 0.1, highest 0.5."
    )
    assert svg.describe(Chart("", [Series("codes", [(0, 0)] * 7, "dots")])) == "codes: 7 points."
    assert svg.describe(Chart("", [])) == "Nothing was recorded."
    assert svg.describe(Chart("", [Series("loss", [(0, math.nan)])])) == "loss: nothing."


KINDS = ("line", "paths", "dots", "points", "bars", "intervals")


def test_every_kind_of_series_is_drawn_in_a_png_file():
    points = [(1, 2), (math.nan, 3), (3, 4)]
    options = ({}, {"square": True}, {"square": True, "disk": True}, {"log": True, "x": "step"})
    series = [Series(kind, each, kind) for kind in KINDS for each in (points, [])]
    charts = [Chart("A chart", series, **each) for each in options]
    charts += [Chart("", [Series("right", [(0, 1), (2, 5)], right=True)], diagonal=True)]
    alone, several = (PIL.Image.open(io.BytesIO(charts_png(charts[:n], 2))) for n in (1, 5))
    assert np.ptp(np.asarray(alone.convert("L"))) > 100
    assert several.height > 2 * alone.height


def pixels(*series, **options):
    file = io.BytesIO(charts_png([Chart("", series, **options)], 1))
    return np.asarray(PIL.Image.open(file).convert("RGB")).astype(int)


def test_a_png_file_shows_each_point_where_the_page_does():
    dots = Series("", [(0, 0), (4, 1), (1e300, 1)], "dots", color=0, sizes=[4, 4])
    blue = pixels(dots, x_range=(0, 4), y_range=(0, 1))
    blue = blue[..., 2] - blue[..., 0] > 60
    columns = np.flatnonzero(blue.any(0)) * 3 / 5 - GAP
    rows = np.flatnonzero(blue.any(1)) * 3 / 5 - GAP - TITLE
    svg_dots = re.findall(
        r'cx="([\d.]+)" cy="([\d.]+)"', drawn(dots, x_range=(0, 4), y_range=(0, 1))
    )
    (x0, y0), (x1, y1) = [map(float, place) for place in svg_dots[:2]]
    assert (columns.min(), columns.max()) == pytest.approx((x0 - 4, x1 + 4), abs=1.5)
    assert (rows.min(), rows.max()) == pytest.approx((y1 - 4, y0 + 4), abs=1.5)


def test_a_dashed_line_has_gaps():
    edges = []
    for dashed in (False, True):
        line = pixels(Series("", [(0, 0.5), (1, 0.5)], color=0, dashed=dashed), y_range=(0, 1))
        blue = (line[..., 2] - line[..., 0] > 60).any(0)
        edges.append(np.count_nonzero(np.diff(blue.astype(int))))
    assert edges[0] == 2
    assert edges[1] > 50


def test_names_in_any_alphabet_and_many_of_them_are_drawn():
    names = ["Привет", "漢字", "a\nb", "\udcff", *map(str, range(70))]
    charts = [Chart("é", [Series(name, [(0, 1)]) for name in names])] * 2
    shared, own = (PIL.Image.open(io.BytesIO(charts_png(charts[:n], 2))) for n in (2, 1))
    assert own.height < shared.height
    bottom = np.asarray(shared.convert("L"))[-50:-20, :200]
    assert bottom.min() < 200


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("points", [[], [(1, 2)], [(1, 2), (math.nan, 3), (3, 4)]])
@pytest.mark.parametrize(
    "options",
    [{}, {"square": True}, {"square": True, "disk": True}, {"log": True}, {"diagonal": True}],
)
def test_every_kind_of_series_is_drawn_on_every_kind_of_axes(kind, points, options):
    right = Series("right", [(0, 1), (2, 5)], right=True)
    text = drawn(Series("<s>", points, kind, notes=["<n>"] * len(points)), right, **options)
    assert "nan" not in text
    assert "<s>" not in text
    assert "<n>" not in text


def test_bars_stand_on_the_axis_and_intervals_below_each_other():
    bars = drawn(Series("", [(0, 3), (1, 1)], "bars"), x_range=(-0.5, 1.5))
    heights = [float(height) for height in re.findall(r'<rect [^>]*height="([\d.]+)"', bars)]
    assert heights[0] == pytest.approx(3 * heights[1], rel=0.01)
    intervals = drawn(Series("", [(0, 3), (1, 2)], "intervals"))
    (a, b), (c, d) = re.findall(
        r"M[\d.]+ ([\d.]+)H([\d.]+)", re.search(r'"intervals c0"><path d="(.*?)"', intervals)[1]
    )
    assert float(a) < float(c)
    assert float(b) > float(d)


def test_pages_and_png_files_have_the_same_colors():
    style = (page.HERE / "style.css").read_text()
    light = style.partition("@media")[0]
    assert re.findall(r"--p\d: (#\w+)", light) == list(COLORS)


def test_a_map_has_the_same_units_on_both_axes():
    text = drawn(Series("", [(0, 0), (4, 1)], "dots"), square=True)
    (x0, y0), (x1, y1) = [
        map(float, place) for place in re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', text)
    ]
    assert (x1 - x0) / (y0 - y1) == pytest.approx(4, rel=0.01)
    disk = drawn(Series("", [(0, 0), (0, 1)], "dots"), square=True, disk=True)
    radius = float(re.search(r'class="edge"[^>]* r="([\d.]+)"', disk)[1])
    (_, middle), (_, top) = re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', disk)[1:]
    assert float(middle) - float(top) == pytest.approx(radius, abs=0.2)


def rendered(block):
    """The page of one section with this block."""
    written = Page()
    written.add(Section("s", [block]))
    return written.html(title="t", subtitle="", runs=[], footer="f")


def test_highlighted_cells_are_escaped():
    html = rendered(Table(["<h>"], [[Strong("<b>")]]))
    assert "<strong>&lt;b&gt;</strong>" in html
    assert "&lt;h&gt;" in html


@pytest.mark.parametrize(("width", "kept"), [(page.MAX_WIDTH, True), (page.MAX_WIDTH + 1, False)])
def test_a_wide_image_is_compressed(width, kept):
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (width, 4)).save(buffer, "PNG")
    image = Image("An image", buffer.getvalue(), "black")
    text = rendered(image)
    kind, data = re.search(r'src="data:image/(\w+);base64,([^"]+)"', text).groups()
    assert kind == ("png" if kept else "webp")
    shown = base64.b64decode(data)
    assert (shown == image.data) == kept
    assert PIL.Image.open(io.BytesIO(shown)).width == page.MAX_WIDTH


def test_tsne_keeps_neighbours_and_frames_together():
    random = np.random.default_rng(0)
    centres = 10 * random.normal(size=(3, 8))
    first = np.repeat(centres, 6, 0) + 0.1 * random.normal(size=(18, 8))
    places = embed([first, first + 0.01])
    assert [frame.shape for frame in places] == [(18, 2), (18, 2)]
    assert np.concatenate(places).min() >= 0
    assert np.concatenate(places).max() <= 1
    before, after = (frame.reshape(3, 6, 2).mean(1) for frame in places)
    apart = np.linalg.norm(before[:, None] - after[None], axis=-1)
    assert apart.argmin(1).tolist() == [0, 1, 2]
    assert np.diag(apart).max() < 0.5 * apart[~np.eye(3, dtype=bool)].min()
    for degenerate in (np.zeros((5, 3)), np.ones((1, 3)), np.eye(3)[:2]):
        assert np.isfinite(np.concatenate(embed([degenerate, degenerate]))).all()
