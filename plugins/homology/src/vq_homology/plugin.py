"""Registers the regularizer ``homology``, and records and shows what it did to a run that uses it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vqcore.plugin.component import ComponentSpec
from vqcore.plugin.hooks import hookimpl

if TYPE_CHECKING:
    from vqcore.plugin.report_section import Section

VQ_API = 1


@hookimpl
def vq_regularizers() -> list[ComponentSpec]:
    """Persistent homology of the codebook."""
    return [
        ComponentSpec(
            name="homology",
            target="vq_homology.regularizer:Homology",
            config="vq_homology.homology_config:HomologyConfig",
            summary="keeps codes apart (H0) and sets how many loops they form (H1)",
        )
    ]


@hookimpl
def vq_run_start(run: Any) -> None:
    """A resumed run goes on with the record up to its checkpoint."""
    if _takes_part(run):
        from vq_homology import record

        record.rewind(run.folder.path, run.step)


@hookimpl
def vq_metrics(run: Any, batch: Any) -> Mapping[str, float] | None:
    """On log steps: the diagrams of codes and latents into homology.jsonl, their figures into metrics.jsonl."""
    if not _takes_part(run):
        return None
    from vq_homology import record

    line = record.observe(run, batch)
    record.append(run.folder.path, line)
    return record.figures(line)


@hookimpl
def vq_run_end(run: Any, status: str) -> None:
    """The picture of the whole run: homology-codebook.png, and homology-latents.png."""
    if not _takes_part(run):
        return
    from vq_homology import record

    lines = record.read(run.folder.path)
    if not lines:
        return
    from vq_homology import plots

    metrics = plots.read_metrics(run.folder.path)
    for cloud in [name for name in ("codebook", "latents") if name in lines[-1]]:
        plots.save(run.folder.path / f"homology-{cloud}.png", lines, metrics, cloud)


@hookimpl
def vq_report(run: Any) -> list[Section]:
    """What the record shows, where there is one."""
    if not _takes_part(run):
        return []
    from vq_homology import record, report_sections

    return report_sections.sections(record.read(run.folder.path), run.metrics)


def _takes_part(run: Any) -> bool:
    """Whether the run has the regularizer, under whatever name it was asked for."""
    return any(
        chosen.spec.target == "vq_homology.regularizer:Homology"
        for chosen in run.config.regularizers.values()
    )
