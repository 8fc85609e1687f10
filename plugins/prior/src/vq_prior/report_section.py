"""The section of ``vq report``: the quality of a run's prior, and its samples."""

from __future__ import annotations

from pathlib import Path

from vq.files import read_image, read_json, read_json_lines
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
    metrics = (read_json(folder / CONFIG) or {}).get("figures") or {}
    facts = [
        (title, f"{metrics[name]:.2f}", "bits/token")
        for name, title in BITS.items()
        if name in metrics
    ]
    return [Facts(facts)] if facts else []


def _curves(folder: Path) -> list[Block]:
    lines = read_json_lines(folder / METRICS)
    if not lines:
        return []
    series = [
        Series(title, [(line["step"], line[name]) for line in lines], dashed=title == "training")
        for title, name in CURVES.items()
    ]
    return [Chart("Bits per token of the prior", series, x="step", y="bits")]


def _images(folder: Path) -> list[Block]:
    newest = sorted(folder.glob("*.png"), key=lambda path: path.stat().st_mtime)[-MAX_IMAGES:]
    return [
        Image(path.stem.capitalize(), data, f"samples of the prior, {path.stem}")
        for path in newest
        if (data := read_image(path))
    ]
