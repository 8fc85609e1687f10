"""How a run ends: its summary and status, and what becomes of one that fails."""

from __future__ import annotations

import contextlib
import shutil
from typing import Any

from vq.checkpoints.step_names import step_name
from vq.files import write_json
from vq.processes.peers import PeerLostError
from vq.processes.together import on_main
from vq.runs.folder import RunFolder
from vq.training.callbacks.evaluate import held_out_metrics
from vq.training.log_file import LOG
from vq.training.loop import Status
from vq.training.skipped import report_skipped
from vq.training.trainer import Trainer
from vqcore.errors import SettingError, UsageError
from vqcore.plugin.hook_caller import HookCaller


def sum_up(run: Trainer) -> dict[str, Any]:
    """Evaluate the final weights and write summary.json; every process calls it."""
    metrics = held_out_metrics(run)
    metrics["weights"] = "averaged" if run.average else "trained"
    metrics |= {"steps": run.step, "seconds": run.seconds} | report_skipped(run)
    speed = run.accumulator.total_samples / max(run.accumulator.total_seconds, 1e-9)
    metrics["images_per_second"] = speed
    on_main(lambda: write_json(run.folder.summary, metrics))
    return metrics


def end(run: Trainer, hooks: HookCaller, status: Status) -> None:
    """Tell the hooks that the run is over, then its status.json."""
    hooks.call("vq_run_end", run=run, status=status)
    run.folder.set_status(status, run.step)


def fail(
    run: Trainer, hooks: HookCaller, error: BaseException, again: str, *, removes_if_refused: bool
) -> None:
    """Record what ended a run early. Every process calls it; none waits for another.

    Args:
        run: as far as it is.
        hooks: to be told.
        error: that ended it.
        again: how the run is continued, in words.
        removes_if_refused: remove the folder if the error is about the settings of the run.
    """
    status, why = "failed", f"{type(error).__name__}: {error}"
    if isinstance(error, KeyboardInterrupt):
        saved = (run.folder.checkpoints / step_name(run.step)).is_dir()
        what = "after" if saved else "without"
        status, why = "interrupted", f"stopped at once, {what} saving step {run.step}"
        LOG.info(f"{why}; {again}")
    with contextlib.suppress(Exception):  # what made the run fail may make this fail too
        hooks.call("vq_run_end", run=run, status="failed")
    if run.main and removes_if_refused and isinstance(error, SettingError | UsageError):
        shutil.rmtree(run.folder.path, ignore_errors=True)
    elif run.main or (isinstance(error, PeerLostError) and _has_no_end(run.folder)):
        with contextlib.suppress(Exception):
            run.folder.set_status(status, run.step, error=why)


def _has_no_end(folder: RunFolder) -> bool:
    """Whether the main process, which may be the one that was lost, has recorded no end."""
    return folder.read_status().get("status") == "running"
