"""New samples, drawn from the prior over codes, where ``vq sample`` left some in the run folder."""

from __future__ import annotations

from collections.abc import Sequence

from vq.pipeline.report.run import Absent, ReportedRun, each_run
from vq.pipeline.report.sections.reconstructions import read
from vqcore.report import Block, Section

#: Pictures shown of a run, the newest.
SHOWN = 4


def samples(runs: Sequence[ReportedRun]) -> Section:
    """The pictures that are no reconstructions."""
    return Section("Samples of the prior", each_run(runs, _of_one))


def _of_one(run: ReportedRun) -> list[Block]:
    folder = run.folder.path
    found = [path for path in run.folder.samples.glob("*.png") if not path.name.startswith("step-")]
    found += (folder / "prior").rglob("*.png")
    newest = sorted(found, key=lambda path: path.stat().st_mtime)[-SHOWN:]
    pictures = [picture for path in newest if (picture := read(path, f"samples of the prior, {path.stem}"))]
    if not pictures:
        raise Absent("No samples were drawn from a prior: vq prior trains one, and vq sample draws from it.")
    return pictures
