"""A log of the losses with the time of day, in plugins/my-part/ of the run folder."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from vqcore import hookimpl
from vqcore.plugin.protocols import TrainingRun


@hookimpl
def vq_run_start(run: TrainingRun) -> None:
    """Drop the lines of steps that a resumed run repeats."""
    folder = run.folder.plugin("my-part")
    log = folder.path / "losses.jsonl"
    lines = log.read_bytes().splitlines(keepends=True) if log.exists() else []
    kept = [line for line in lines if json.loads(line)["step"] <= run.step]
    folder.write("losses.jsonl", b"".join(kept))


@hookimpl
def vq_step_end(run: TrainingRun, step: int, losses: Mapping[str, Any]) -> None:
    """Add a line on every n-th step; reading a loss waits for the device."""
    if not run.is_due(run.config.plugins["my-part"].every):
        return
    values = {name: float(value) for name, value in losses.items()}
    line = {"step": step, "time": datetime.now(UTC).isoformat(), **values}
    run.folder.plugin("my-part").append("losses.jsonl", json.dumps(line) + "\n")
