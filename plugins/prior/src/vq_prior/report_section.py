"""The section of ``vq report``: the quality of a run's prior, and its samples."""

from __future__ import annotations

from pathlib import Path

from vq.files import read_image, read_json
from vq.runs.metric_lines import read_metric_lines
from vq_prior.prior_folder import CONFIG, METRICS, prior_folder
from vqcore.plugin.protocols import ReportedRun
from vqcore.plugin.report_section import Block, Chart, Facts, Image, Section, Series, Text

#: Images shown of a run, the newest.
MAX_IMAGES = 4
#: Metrics in the prior's config.json, in bits per token.
BITS = {
    "bits_per_token": "Prior, held out",
    "unigram_bits_per_token": "Code frequencies, held out",
    "uniform_bits_per_token": "Uniform",
}
#: Curves, and their names in the prior's metrics.jsonl.
CURVES = {"validation": "aside_bits", "training": "train_bits"}
MISSING = "This run has no prior over its codes: vq prior trains one, vq sample draws from it."


def report_section(run: ReportedRun) -> Section:
    """The prior's metrics, its training curves, and the images that ``vq sample`` left beside it.

    A run without a prior has a sentence in their place.
    """
    folder = prior_folder(run)
    blocks = [*_facts(folder), *_curves(folder), *_images(folder)]
    return Section("Samples of the prior", blocks or [Text(MISSING)])


def _facts(folder: Path) -> list[Block]:
    metrics = (read_json(folder / CONFIG) or {}).get("figures")
    facts = [
        (title, f"{metrics[name]:.2f}", "bits/token")
        for name, title in BITS.items()
        if isinstance(metrics, dict) and type(metrics.get(name)) is float
    ]
    return [Facts(facts)] if facts else []


def _curves(folder: Path) -> list[Block]:
    lines = read_metric_lines(folder / METRICS).lines
    series = []
    for title, name in CURVES.items():
        points = [(line["step"], line[name]) for line in lines if type(line.get(name)) is float]
        if points:
            series.append(Series(title, points, dashed=title == "training"))
    return [Chart("Bits per token of the prior", series, x="step", y="bits")] if series else []


def _images(folder: Path) -> list[Block]:
    found = [path for path in folder.glob("*.png") if path.is_file()]
    newest = sorted(found, key=lambda path: path.stat().st_mtime)[-MAX_IMAGES:]
    return [
        Image(path.stem.capitalize(), data, f"samples of the prior, {path.stem}")
        for path in newest
        if (data := read_image(path))
    ]
