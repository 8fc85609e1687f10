"""New samples, drawn from the prior over codes that ``vq prior`` left in the run folder, and how good that prior is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vq.runs.files import read_json, read_json_lines
from vq_report.reported_run import Absent, ReportedRun, each_run
from vq_report.sections.reconstructions import read
from vqcore.plugin.report_section import Block, Chart, Facts, Section, Series

#: Pictures shown of a run, the newest.
SHOWN = 4
#: What config.json of a prior says in bits per token.
BITS = {
    "bits_per_token": "Prior, held out",
    "unigram_bits_per_token": "By frequency, held out",
    "uniform_bits_per_token": "All codes alike",
}


def samples(runs: Sequence[ReportedRun]) -> Section:
    """The prior's figures, how it learnt, and the pictures drawn from it."""
    return Section("Samples of the prior", each_run(runs, _of_one))


def _of_one(run: ReportedRun) -> list[Block]:
    folder = run.folder.path / "prior"
    found = sorted(folder.glob("*.png"), key=lambda path: path.stat().st_mtime)[-SHOWN:]
    pictures = [
        picture for path in found if (picture := read(path, f"samples of the prior, {path.stem}"))
    ]
    blocks = [*_learnt(folder), *pictures]
    if not blocks:
        raise Absent(
            "This run has no prior over its codes: vq prior trains one, and vq sample draws from it."
        )
    return blocks


def _learnt(folder: Path) -> list[Block]:
    figures = (read_json(folder / "config.json") or {}).get("figures") or {}
    facts = [
        (title, f"{figures[name]:.2f}", "bits/token")
        for name, title in BITS.items()
        if name in figures
    ]
    lines = read_json_lines(folder / "metrics.jsonl")
    names = {"aside_bits": "set aside", "train_bits": "training"}
    series = [
        Series(
            called,
            [(line["step"], line[name]) for line in lines if name in line],
            dashed=name == "train_bits",
        )
        for name, called in names.items()
    ]
    chart = Chart("Bits per token of the prior", series, x="step", y="bits")
    return [*([Facts(facts)] if facts else []), *([chart] if lines else [])]
