"""vq report: the content of each section, with and without its data, on a self-contained page."""

import json
import re
import shutil
from collections import Counter
from html.parser import HTMLParser

import pytest
import torch

from vq.runs import history
from vq_report.comparison import compare
from vq_report.encoded_split import manifold_of
from vq_report.reported_run import ReportedRun
from vq_report.sections import patches
from vq_report.write import MARK

VOID = {"meta", "link", "img", "input", "br", "path", "circle", "rect"}


class Page(HTMLParser):
    """A parsed report: its tags, and the text of each section by its heading."""

    def __init__(self, path):
        super().__init__()
        self.html = path.read_text(encoding="utf-8")
        self.tags, self.sections, self.stack, self.heading = [], {}, [], ""
        self.feed(self.html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)
        if tag == "h2":
            self.heading = ""

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.stack.pop() == tag

    def handle_data(self, data):
        if self.stack and self.stack[-1] == "h2":
            self.heading += data
        elif self.heading:
            self.sections[self.heading] = (
                f"{self.sections.get(self.heading, '')} {data.strip()}".strip()
            )

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    def part(self, heading):
        """The markup of one section."""
        return self.html.partition(f"<h2>{heading}</h2>")[2].partition("<h2>")[0]


@pytest.fixture
def report(vq):
    """``vq report`` of runs, with exit code 0: the page."""

    def write(*runs, out=None):
        result = vq(
            "report", *(getattr(run, "path", run) for run in runs), *(("-o", out) if out else ())
        )
        assert result.code == 0, result
        assert result.out.endswith(" MB)\n")
        return Page(out or getattr(runs[0], "path", runs[0]) / "report.html")

    return write


@pytest.fixture(scope="session")
def page(complete_run, tmp_path_factory):
    """The report of ``complete_run``, for tests that only read."""
    from vq_report.write import write_report

    run = shutil.copytree(complete_run.path, tmp_path_factory.mktemp("report") / "run")
    return Page(write_report(run))


def reported(path):
    return ReportedRun(compare(path).runs[0], "cpu")


# -- the page ---------------------------------------------------------------


def test_the_page_is_self_contained(page):
    assert not page.stack
    assert "default-src 'none'" in page.all("meta")[1]["content"]
    plain = re.sub(r'"data:image/\w+;base64,[\w+/=]+"', '""', page.html)
    assert not re.search(
        r"https?:|//[a-z]|@import|url\(|<script|<iframe|javascript:| on[a-z]+=", plain
    )
    assert not page.all("script")
    assert all(
        picture["src"].startswith("data:image/") and picture["alt"] for picture in page.all("img")
    )
    assert [link["href"] for link in page.all("link")] == ["data:,"]
    assert len(page.html) < 3_000_000


def test_everything_on_the_page_has_a_name(page):
    assert page.all("html")[0]["lang"] == "en"
    ids = Counter(attributes["id"] for _, attributes in page.tags if "id" in attributes)
    assert set(ids.values()) == {1}
    charts = [attributes for attributes in page.all("svg") if "aria-hidden" not in attributes]
    assert len(charts) > 8
    for chart in charts:
        assert chart["role"] == "img"
        assert all(name in ids for name in chart["aria-labelledby"].split())
    labels = {attributes["for"] for attributes in page.all("label")}
    assert labels == {attributes["id"] for attributes in page.all("input")}
    assert {attributes["href"] for attributes in page.all("a")} == {
        f"#s{n + 1}" for n in range(len(page.sections))
    }
    assert all(
        attributes["tabindex"] == "0"
        for _, attributes in page.tags
        if attributes.get("class") == "scroll"
    )


def test_it_has_every_section(page):
    assert list(page.sections) == [
        "Held-out metrics",
        "Settings",
        "Curves",
        "Reconstructions over training",
        "Codebook usage",
        "The codebook over training",
        "Codes and latents",
        "What the codes stand for",
        "Samples of the prior",
        "Status, environment, plugins",
    ]


# -- the sections -----------------------------------------------------------


def test_metrics_are_those_of_the_summary(page, complete_run):
    metrics = complete_run.json("summary")
    text = page.sections["Held-out metrics"]
    assert f"PSNR {metrics['psnr']:.2f} dB" in text
    assert f"Perplexity {metrics['perplexity']:.1f} of 16" in text
    assert "Steps 12" in text


def test_settings_highlight_changes_from_the_defaults(page):
    told, _, folded = page.part("Settings").partition("<details>")
    marked = dict(re.findall(r'<th scope="row">([\w.]+)</th><td><strong>(.*?)</strong></td>', told))
    expected = {
        "manifold": "poincare",
        "quantizer": "ema",
        "regularizers": "entropy",
        "backbone.hidden": "8",
    }
    assert expected.items() <= marked.items()
    assert "dataset" not in marked
    assert not {"quantizer.decay", "manifold.curvature", "regularizers.entropy.weight"} & set(
        marked
    )
    assert {"quantizer.decay", "seed", "dataset"} <= set(
        re.findall(r'<th scope="row">([\w.]+)</th>', folded)
    )


def test_curves_show_every_line_of_the_metrics(page, complete_run):
    drawn = page.part("Curves")
    for line in complete_run.metrics:
        assert (
            f"<title>Held-out PSNR, step {line['step']}: " not in drawn
        )  # a series has its own name
        assert f"<title>held out, step {line['step']}: {line['test_psnr']:.4g}</title>" in drawn
        assert (
            f"<title>reconstruction, step {line['step']}: {line['reconstruction']:.4g}</title>"
            in drawn
        )
    for name in ("commitment", "entropy"):
        assert f"{name}: 3 points from" in page.sections["Curves"]


def test_there_is_a_frame_per_snapshot(page):
    labels = re.findall(
        r"<label [^>]*>([\d,]+)</label>", page.part("Reconstructions over training")
    )
    assert labels == ["4", "8", "12"]
    assert (
        re.findall(r"<label [^>]*>([\d,]+)</label>", page.part("The codebook over training"))
        == labels
    )
    assert page.part("The codebook over training").count("<title>code ") == 3 * 16


def test_usage_counts_the_held_out_tokens(page, complete_run):
    encoded = reported(complete_run.path).encoded
    (stats,) = encoded.codebooks
    assert int(stats.counts.sum()) == 359 * 16
    text = page.sections["Codebook usage"]
    used = complete_run.json("summary")["codes_used"]
    assert f"{int(used)} of 16 codes used" in text
    unused = [str(code) for code in range(16) if stats.counts[code] == 0]
    assert ("dead codes" in text.lower()) == bool(unused)
    assert ", ".join(unused) in text


def test_codes_lie_on_the_disk_among_latents(page):
    drawn = page.part("Codes and latents")
    assert '<circle class="edge"' in drawn
    places = re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)" r="[\d.]+"><title>code', drawn)
    assert len(places) == 16
    radius = float(re.search(r'class="edge"[^>]* r="([\d.]+)"', drawn)[1])
    assert all(((float(x) - 180) ** 2 + (float(y) - 180) ** 2) ** 0.5 < radius for x, y in places)
    assert len(re.findall(r"h0", drawn)) > 1000


def test_codes_are_shown_with_their_patches(page, complete_run):
    encoded = reported(complete_run.path).encoded
    used = int((torch.bincount(encoded.codebooks[0].indices.flatten(), minlength=16) > 0).sum())
    assert (
        len(re.findall(r"code \d+, [\d.e-]+ %", page.sections["What the codes stand for"])) == used
    )
    assert page.part("What the codes stand for").count("data:image/png") == used


def test_patches_are_what_a_position_covers():
    images = torch.arange(2 * 3 * 4 * 6).view(2, 3, 4, 6).float()
    cut = patches.cut(images, (2, 3))
    assert cut.shape == (2, 6, 3, 2, 2)
    assert torch.equal(cut[1, 4], images[1, :, 2:4, 2:4])
    assert torch.equal(patches.cut(images, ())[:, 0], images)
    assert patches.cut(images, (3, 3)) is None
    assert patches.cut(images, (6,)) is None


@pytest.mark.parametrize(
    ("choices", "codebooks"),
    [
        ((), 1),
        (("--quantizer", "residual", "--set", "quantizer.stages=2"), 2),
        (("--quantizer", "grouped", "--set", "quantizer.shared=true"), 1),
        (("--backbone", "hierarchical"), 2),
    ],
)
def test_a_code_is_decoded_alone(train, choices, codebooks):
    run = reported(train(*choices, "--max-steps", 2).path)
    encoded, model = run.encoded, run.trained.model
    assert len(encoded.codebooks) == codebooks
    last = encoded.codebooks[-1]
    both = patches.decode_alone(run, encoded, last, [3, 5])
    alone = patches.decode_alone(run, encoded, last, [5])
    assert torch.allclose(both[1:], alone, atol=1e-6)
    indices = torch.full((1, *model.index_shape), -1)
    if codebooks == 1:
        indices.fill_(5)
    elif len(model.latent_shapes) == 1:
        indices[..., 1] = 5
    else:
        indices[:, -(model.latent_shapes[1][0] * model.latent_shapes[1][1]) :] = 5
    with torch.no_grad():
        assert torch.allclose(alone, model.decode(indices), atol=1e-6)


def test_each_level_uses_its_own_curvature(train):
    curved = ("--manifold", "poincare", "--set", "manifold.learn_curvature=true")
    run = reported(train("--backbone", "hierarchical", *curved, "--max-steps", 1).path)
    level = run.trained.model.bottleneck.levels[1]
    with torch.no_grad():
        level.manifold.curve.theta += 1
        assert torch.equal(run.encoded.codebooks[1].codes, level.manifold.logmap0(level.codebook))
    curvatures = [manifold_of(run.trained.model, number, 2).curve.theta.item() for number in (0, 1)]
    assert curvatures[1] > curvatures[0] + 0.5


# -- several runs -----------------------------------------------------------


def test_runs_are_shown_side_by_side(vq, report, train, tmp_path, monkeypatch):
    first = train("--manifold", "poincare", "--max-steps", 4, run="one")
    second = train("--lr", "1e-4", "--max-steps", 4, run="two")
    page = report(first, second, out=tmp_path / "both.html")
    assert page.html.count("<h3>one</h3>") == page.html.count("<h3>two</h3>") > 5
    told = page.part("Settings").partition("<details>")[0]
    assert re.findall(r'<th scope="row">([\w.]+)</th><td>(.*?)</td><td>(.*?)</td>', told) == [
        ("manifold", "poincare", "euclidean"),
        ("optimizer.lr", "0.004", "0.0001"),
    ]
    best = re.search(r"PSNR, dB</th>(.*)</tr>", page.part("Held-out metrics"))[1]
    psnr = [run.json("summary")["psnr"] for run in (first, second)]
    assert f"<strong>{max(psnr):.2f}</strong>" in best
    assert f"<td>{min(psnr):.2f}</td>" in best
    names = re.findall(r"<title>(one|two), step 4: ", page.part("Curves"))
    assert {"one", "two"} == set(names)
    monkeypatch.chdir(tmp_path)
    assert vq("report", first.path, second.path).out.startswith("report.html (")


# -- missing data -----------------------------------------------------------


def without(*names):
    def remove(folder):
        for name in names:
            path = folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return remove


def damage(folder):
    for path in folder.rglob("*"):
        if path.is_file() and path.name not in ("config.yaml", "data.json", "latest"):
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def rename_manifold(folder):
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("/poincare", "/poincar"))


def move_data(folder):
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("/digits", "/image-folder"))


MISSING = {
    "everything": (
        lambda folder: [
            p.unlink() for p in folder.rglob("*") if p.is_file() and p.name != "config.yaml"
        ],
        {
            "Held-out metrics": "Nothing has been evaluated yet.",
            "Curves": "Nothing has been logged yet.",
            "Reconstructions over training": "No image of reconstructions was saved.",
            "Codebook usage": "The model cannot be loaded",
            "The codebook over training": "No codebook was recorded",
        },
    ),
    "the end": (
        without("summary.json", "status.json"),
        {"Held-out metrics": "The run is not finished", "Status": "unknown at step 12"},
    ),
    "a checkpoint": (without("checkpoints"), {"Codes and latents": "no checkpoint"}),
    "a plugin": (
        rename_manifold,
        {"Settings": "did you mean 'poincare'?", "What the codes stand for": "poincar"},
    ),
    "the data": (move_data, {"Codebook usage": "The held-out samples cannot be read"}),
    "half of each file": (
        damage,
        {"Reconstructions over training": "No image", "Codebook usage": "damaged"},
    ),
}


@pytest.mark.parametrize("missing", MISSING)
def test_a_section_names_the_missing_data(copied_run, report, missing):
    remove, told = MISSING[missing]
    remove(copied_run.path)
    page = report(copied_run)
    for heading, text in told.items():
        section = next(
            content for name, content in page.sections.items() if name.startswith(heading)
        )
        assert text in section


@pytest.mark.parametrize(
    ("choices", "told"),
    [
        (
            ("--set", "bottleneck=none"),
            {"Codebook usage": "has no codes", "Codes and latents": "has no codes"},
        ),
        (("--quantizer", "fsq"), {"The codebook over training": "there is no table of codes"}),
        (
            ("--dataset", "trees", "--backbone", "mlp", "--dim", 2, "--set", "dataset.depth=4"),
            {
                "What the codes stand for": "not images",
                "The codebook over training": "Positions after step 4",
            },
        ),
        (
            ("--backbone", "mlp", "--backbone.tokens", 3),
            {"What the codes stand for": "no position in the image"},
        ),
    ],
)
def test_every_kind_of_model_has_a_report(train, report, choices, told):
    page = report(train(*choices, "--max-steps", 4))
    for heading, text in told.items():
        assert text in page.sections[heading]


def test_only_run_folders_can_be_reported(vq, tmp_path):
    result = vq("report", tmp_path / "nowhere")
    assert (result.code, result.out) == (2, "")
    assert "expected a run folder with a config.yaml in it" in result.err


def test_a_file_that_is_not_a_report_is_kept(vq, complete_run, copied_run, tmp_path, monkeypatch):
    mine = tmp_path / "mine.html"
    mine.write_text("<p>mine")
    result = vq("report", copied_run.path, "-o", mine)
    assert result.code == 2
    assert "expected a new file or an earlier report" in result.err
    assert mine.read_text() == "<p>mine"
    mine.write_text(f"<!doctype html>{MARK}")
    assert vq("report", copied_run.path, "-o", mine).code == 0
    assert vq("report", copied_run.path, "-o", tmp_path / "none" / "x.html").code == 2
    assert vq("report", copied_run.path, "-o", tmp_path).code == 2


def test_names_are_escaped(copied_run, report, tmp_path):
    strange = copied_run.path.rename(tmp_path / "<script>alert(1)<")
    status = json.loads((strange / "status.json").read_text()) | {
        "error": "<img src=x onerror=alert(2)>"
    }
    (strange / "status.json").write_text(json.dumps(status))
    page = report(strange)
    assert not page.all("script")
    assert all("onerror" not in attributes for attributes in page.all("img"))
    assert "<script>alert(1)<" in page.sections["Status, environment, plugins"]


# -- sections of plugins ----------------------------------------------------

SHOWS = """
from vqcore.plugin.report_section import Chart, Section, Series, Text
@hookimpl
def vq_report(run):
    steps = [line["step"] for line in run.metrics]
    chart = Chart("A chart of mine", [Series("steps", [(step, run.step) for step in steps])])
    text = Text(f"<b>{run.folder.path.name}</b>, {run.config.settings.dim} dimensions")
    yield Section("A section of mine", [text, chart])
"""


def test_hook_vq_report(train, report, plugin_file, tmp_path):
    path = plugin_file("a_shower", SHOWS)
    one, two = (train("--plugin-file", path, "--max-steps", 4, run=name) for name in ("one", "two"))
    page = report(one)
    assert "<b>one</b>, 8 dimensions" in page.sections["A section of mine"]
    assert "A chart of mine" in page.sections["A section of mine"]
    assert "<b>" not in page.html
    headings = list(page.sections)
    assert headings.index("A section of mine") == len(headings) - 2
    both = report(one, two, out=tmp_path / "both.html")
    assert re.findall(r"<h3>(\w+)</h3>", both.part("A section of mine")) == ["one", "two"]


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        ("raise RuntimeError('my mistake')", "RuntimeError: my mistake"),
        (
            "return ['<p>text</p>']",
            "TypeError: expected sections of vqcore.plugin.report_section, found str",
        ),
        ("return [Section('x', ['text'])]", "TypeError: a report cannot show a str"),
        (
            "return [Section('x', [Image('p', b'GIF89a', 'a')])]",
            "ValueError: image 'p': expected a PNG",
        ),
        (
            "return [Section('x', [Frames('f', [])])]",
            "ValueError: frames 'f': expected 1 to 12 frames, found 0",
        ),
    ],
)
def test_a_plugin_that_fails_loses_only_its_own_section(train, vq, plugin_file, body, cause):
    blocks = "from vqcore.plugin.report_section import Frames, Image, Section\n"
    source = f"{blocks}@hookimpl\ndef vq_report(run):\n    {body}\n"
    path = plugin_file(f"a_failure_{abs(hash(body))}", source)
    run = train("--plugin-file", path, "--max-steps", 1)
    result = vq("report", run.path)
    assert result.code == 0
    assert f"failed in vq_report and is not called again in this run: {cause}" in result.err
    assert "Status, environment, plugins" in Page(run.path / "report.html").sections


# -- the history that training keeps ----------------------------------------


def test_training_records_its_codebook_and_a_resumed_run_continues(train, resume):
    run = train("--max-steps", 8, "--set", "eval_every=4", "--set", "checkpoint_every=4")
    assert [snapshot.step for snapshot in history.read(run.path)] == [4, 8]
    resume(run, "--max-steps", 10)
    assert [snapshot.step for snapshot in history.read(run.path)] == [4, 8, 10]
