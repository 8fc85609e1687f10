"""RUN/prior-training: what training a prior is resumed from, until it is complete."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vq.checkpoints import manifest
from vq.checkpoints.optimizer_state import check_optimizer_state
from vq.checkpoints.random_state import random_state, restore_random_state
from vq.files import new_folder, read_json, remove, write_flushed
from vq.processes.together import gathered, on_main, rank
from vq.runs.provenance import model_of
from vq.runs.trained_run import TrainedRun
from vq_prior.prior_config import FilledPriorConfig
from vq_prior.transformer import CodePrior
from vqcore.errors import RunError, UsageError, describe_error

STATE = "state.pt"


@dataclass
class Progress:
    """How far training is, between two steps.

    Attributes:
        bits: summed over this process's part of the sequences of this epoch, float64.
        step: steps done.
        epoch, sequences: the number of this epoch, and how many of its sequences are done.
        seconds: training took so far.
        history: an entry for each epoch before, see ``train_prior``.
        best_bits, best_epoch, best_weights: of the epoch with the lowest validation loss.
    """

    bits: Tensor
    step: int = 0
    epoch: int = 0
    sequences: int = 0
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)
    best_bits: float = math.inf
    best_epoch: int = 0
    best_weights: dict[str, Tensor] = field(default_factory=dict)


class SavedTraining:
    """The folder of a training that is under way, of a prior over a run's codes."""

    def __init__(self, run: TrainedRun, config: FilledPriorConfig) -> None:
        self.path = training_folder(run)
        self._about = {"model": model_of(run)["sha256"], "training": config.model_dump()}

    def write(self, prior: CodePrior, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
        """Replace what is there; every process calls it.

        Raises:
            RunError: if it cannot be written.
        """
        states = gathered((random_state(), progress.bits.cpu()))
        state = {
            "weights": prior.state_dict(),
            "optimizer": optimizer.state_dict(),
            "rng": [each for each, _ in states],
            "progress": vars(progress) | {"bits": torch.stack([each for _, each in states]).sum()},
        }
        on_main(lambda: self._write(state))

    def restore(self, prior: CodePrior, optimizer: torch.optim.Optimizer) -> Progress:
        """Load what was saved, in whatever number of processes.

        Raises:
            RunError: if it is damaged.
        """
        file = self.path / STATE
        content = manifest.read_checked(file, manifest.read(self.path) or {})
        try:
            state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
            prior.load_state_dict(state["weights"])
            check_optimizer_state(optimizer, state["optimizer"], type(optimizer).__name__, {})
            optimizer.load_state_dict(state["optimizer"])
            progress = Progress(**state["progress"])
            progress.bits = progress.bits.to(prior.position.device) * (rank() == 0)
            if rank() < len(state["rng"]):  # a process that is new draws as it was seeded
                restore_random_state(state["rng"][rank()])
            return progress
        except Exception as error:  # the content may be anything
            raise _damaged(file, error) from error

    def discard(self) -> None:
        """Remove it, once training is over; every process calls it."""
        on_main(lambda: remove(self.path))

    def _write(self, state: dict[str, Any]) -> None:
        buffer = io.BytesIO()
        torch.save(state, buffer)
        content = buffer.getvalue()
        with new_folder(self.path, replace=True) as folder:
            write_flushed(folder / STATE, content)
            manifest.write(folder, {STATE: manifest.digest(content)}, **self._about)


def training_folder(run: TrainedRun) -> Path:
    """Where the state of a training under way is."""
    return run.folder.path / "prior-training"


def unfinished(run: TrainedRun) -> FilledPriorConfig | None:
    """The config of a training under way on the codes of the run's present weights.

    Raises:
        RunError: if it is damaged.
    """
    file = training_folder(run) / manifest.NAME
    about = read_json(file) or {}
    if about.get("model") != model_of(run)["sha256"]:
        return None
    try:
        return FilledPriorConfig.model_validate(about["training"])
    except Exception as error:
        raise _damaged(file, error) from error


def required(run: TrainedRun) -> FilledPriorConfig:
    """``unfinished``, for ``--resume``.

    Raises:
        UsageError: if there is none.
        RunError: if it is damaged.
    """
    config = unfinished(run)
    if config is None:
        problem = f"{run.folder.path} has no unfinished prior for {run.checkpoint.name}"
        raise UsageError(f"--resume: {problem}; begin one with: vq prior {run.folder.path}")
    return config


def _damaged(file: Path, error: Exception) -> RunError:
    cause = describe_error(error).split(". ")[0][:300]  # the rest advises weights_only=False
    return RunError(f"{file}: damaged: {cause}; --overwrite begins the prior again")
