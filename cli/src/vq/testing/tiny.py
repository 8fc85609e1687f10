"""A run that trains in a fraction of a second."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from vq.api import train
from vq.runs.trained_run import RunLike, TrainedRun
from vqcore.plugin.registry import Registry
from vqcore.testing.loaded import registry_with

#: Handwritten digits of 8x8 and a network of 8 units, on a CPU.
TINY: dict[str, Any] = {
    "dataset": "digits",
    "backbone": {"name": "mlp", "hidden": 8},
    "dim": 4,
    "codebook_size": 16,
    "batch_size": 32,
    "log_every": 2,
    "device": "cpu",
}
#: Draws pictures, which takes longer than the run.
SLOW = ("report",)


def tiny_run(
    folder: str | Path,
    settings: Mapping[str, Any] | None = None,
    *,
    plugins: Iterable[ModuleType | str] = (),
    steps: int = 4,
    resume: RunLike | None = None,
    callbacks: Sequence[object] = (),
    without: Sequence[str] = SLOW,
    registry: Registry | None = None,
) -> TrainedRun:
    """Train a tiny run on the CPU, with the hooks of all plugins, and return it.

    Args:
        folder: the run folder, new or empty.
        settings: of the run, by key path. They override those that make it tiny: 16 codes, a
            line of metrics.jsonl every second step.
        plugins: modules of plugins, or their names, in addition to the installed ones.
        steps: of the whole run.
        resume: instead of a new run in ``folder``, continue this one up to ``steps``; then no
            settings are given.
        callbacks: see ``vq.train``.
        without: installed plugins that are left out; ``report`` by default, which draws pictures.
        registry: instead of ``plugins`` and ``without``, where everything comes from.

    Returns:
        The run: ``folder.path``, ``metrics`` (of summary.json), ``history`` (of metrics.jsonl),
        ``model``, ``status``.

    Raises:
        VQError: see ``vq.train``.
    """
    if registry is None:
        registry, _ = registry_with(plugins, disabled=without)
    common: dict[str, Any] = {"registry": registry, "callbacks": callbacks, "max_steps": steps}
    if resume is not None:
        return train(resume=resume, settings=settings, **common)
    return train(**TINY, settings=settings, run_dir=folder, **common)
