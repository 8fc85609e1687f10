"""Registers the regularizer ``homology``; records, plots and reports what its runs measure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from vqcore.plugin.component import ComponentSpec
from vqcore.plugin.hooks import hookimpl

if TYPE_CHECKING:
    from torch import Tensor

    from vqcore.plugin.protocols import ReportedRun, ResolvedConfig, TrainingRun
    from vqcore.plugin.report_section import Section

VQ_API = 1
TARGET = "vq_homology.regularizer:Homology"


@hookimpl
def vq_regularizers() -> list[ComponentSpec]:
    """The regularizer ``homology``."""
    return [
        ComponentSpec(
            name="homology",
            target=TARGET,
            config="vq_homology.homology_config:HomologyConfig",
            summary="pulls H0 and H1 statistics of latents or codes towards targets",
        )
    ]


@hookimpl
def vq_run_start(run: TrainingRun) -> None:
    """Drop what a resumed run recorded after its checkpoint."""
    if _uses_homology(run.config):
        from vq_homology import diagram_record

        diagram_record.truncate(diagram_record.place(run.folder), run.step)


@hookimpl
def vq_metrics(run: TrainingRun, batch: Tensor) -> Mapping[str, float] | None:
    """On log steps, append the diagrams to homology.jsonl; return their metrics and the strength's.

    The strength's are those of the first level where a model has several.
    """
    if not _uses_homology(run.config):
        return None
    from vq_homology import diagram_record
    from vq_homology.entropy_ratio import EntropyRatio

    line = diagram_record.record_line(run, batch)
    diagram_record.append(diagram_record.place(run.folder), line)
    ratios = [each for each in run.model.modules() if isinstance(each, EntropyRatio)]
    return diagram_record.metrics(line) | (ratios[0].metrics() if ratios else {})


@hookimpl
def vq_run_end(run: TrainingRun, status: str) -> None:
    """Plot the run's homology as homology-codebook.png and homology-latents.png."""
    if not _uses_homology(run.config):
        return
    from vq_homology import diagram_record

    folder = diagram_record.place(run.folder)
    lines = diagram_record.read(folder.path)
    if not lines:
        return
    from vq_homology import plots

    metrics = diagram_record.read(run.folder.path, "metrics.jsonl")
    for cloud in diagram_record.CLOUDS:
        if cloud in lines[-1]:
            plots.save(folder, lines, metrics, cloud)


@hookimpl
def vq_report(run: ReportedRun) -> list[Section]:
    """The report section of a run that used the regularizer."""
    if not _uses_homology(run.config):
        return []
    from vq_homology import diagram_record, report_sections

    lines = diagram_record.read(diagram_record.place(run.folder).path)
    return report_sections.sections(lines, run.metrics)


def _uses_homology(config: ResolvedConfig | None) -> bool:
    """Whether the run has the regularizer, whatever name the config gives it."""
    chosen = config.regularizers.values() if config is not None else ()
    return any(component.spec.target == TARGET for component in chosen)
