"""TensorBoard, W&B and the other trackers that Accelerate supports, beside metrics.jsonl."""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker, get_available_trackers
from PIL import Image

from vq.checkpoints.step_names import step_and_epoch
from vq.config.merging import flatten, shown_names
from vq.files import write_text, writing
from vq.training.trainer import Trainer
from vqcore.errors import ComponentError, SettingError, did_you_mean

#: Extras of ``vq-cli`` that install a tracker's package.
EXTRAS = ("tensorboard", "wandb")


class Trackers:
    """Sends each line of metrics.jsonl to the trackers that the config names, and the pictures in
    ``samples/`` that are new since the line before.
    """

    def __init__(self) -> None:
        self._trackers: list[GeneralTracker] = []
        self._sent = -1  # pictures up to this step

    def vq_run_start(self, run: Trainer) -> None:
        """Open the trackers. TensorBoard writes to ``tensorboard/`` in the run folder."""
        self._trackers = [_start(name, run) for name in run.settings.trackers]
        self._sent = run.step or -1  # before the first step there may be one, too

    def vq_log(self, run: Trainer, metrics: Mapping[str, Any]) -> None:
        """Send the finite numbers of a line, and the pictures.

        Raises:
            RunError: if a tracker cannot write.
        """
        pictures = _pictures(run.folder.samples, self._sent, run.step) if self._trackers else {}
        self._sent = run.step
        for tracker in self._trackers:
            with writing(run.folder.path):
                for step, picture in pictures.items():  # first: W&B takes no step before its last
                    _send(tracker, picture, step)
                tracker.log(_scalars(metrics), step=run.step)

    def vq_run_end(self) -> None:
        """Close the trackers."""
        with ExitStack() as stack:  # one that fails leaves none of the others open
            for tracker in self._trackers:
                stack.callback(tracker.finish)


def check_trackers(names: Sequence[str]) -> None:
    """Refuse a tracker that is not available, before a run starts.

    Raises:
        SettingError: for a name that Accelerate does not know.
        ComponentError: for one whose package is not installed.
    """
    available = {str(name.value) for name in get_available_trackers()}
    for name in names:
        if name not in LOGGER_TYPE_TO_CLASS:
            known = f"any of {', '.join(sorted(LOGGER_TYPE_TO_CLASS))}"
            raise SettingError("trackers", name, did_you_mean(name, LOGGER_TYPE_TO_CLASS) or known)
        if name not in available:
            package = f"vq-cli[{name}]" if name in EXTRAS else name
            raise ComponentError(f"trackers: {name!r} is not installed; pip install '{package}'")


def _start(name: str, run: Trainer) -> GeneralTracker:
    make = LOGGER_TYPE_TO_CLASS[name]
    folder = run.folder.path
    if name == "tensorboard":
        # a resumed run repeats the steps after its checkpoint: drop what was logged of them
        purge = run.step + 1 if run.step else None
        tracker = make("tensorboard", logging_dir=folder, purge_step=purge)
    elif name == "wandb":
        tracker = make("vq", name=folder.name, dir=str(folder), id=_kept_id(folder), resume="allow")
    elif make.requires_logging_directory:
        tracker = make(folder.name, folder)
    else:
        tracker = make(folder.name)
    tracker.start()
    if name != "tensorboard":  # there the config would show as a second run
        settings = flatten(shown_names(run.config.dump()))
        tracker.store_init_configuration({key: _storable(settings[key]) for key in settings})
    return tracker


def _pictures(folder: Path, after: int, last: int) -> dict[int, np.ndarray]:
    """The grids (H, W, 3) that were drawn after a step and up to the last one, by their steps."""
    times = ((step_and_epoch(path.stem), path) for path in folder.glob("step-*.png"))
    found = {time[0]: path for time, path in times if time}
    steps = sorted(step for step in found if after < step <= last)
    return {step: np.asarray(Image.open(found[step]).convert("RGB")) for step in steps}


def _send(tracker: GeneralTracker, picture: np.ndarray, step: int) -> None:
    """Send a picture to a tracker that shows some."""
    if tracker.name == "tensorboard":
        tracker.log_images({"samples": picture[None]}, step=step, dataformats="NHWC")
    elif tracker.name == "wandb":
        tracker.log_images({"samples": [picture]}, step=step)


def _kept_id(folder: Path) -> str:
    """The id by which W&B knows this run: drawn once, kept in the folder for resuming."""
    path = folder / "wandb-id"
    if not path.exists():
        write_text(path, f"{folder.name}-{secrets.token_hex(4)}\n")
    return path.read_text(encoding="utf-8").strip()


def _storable(value: Any) -> Any:
    """A setting as every tracker can store it: lists as text."""
    return value if isinstance(value, bool | int | float | str) else str(value)


def _scalars(line: Mapping[str, Any]) -> dict[str, float]:
    """The metrics of a line that a tracker can plot."""
    return {
        name: value
        for name, value in line.items()
        if isinstance(value, int | float) and name != "step" and math.isfinite(value)
    }
