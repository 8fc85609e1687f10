"""Kills a training run at random moments, again and again, and resumes it each time.

    python cli/tests/kill_and_resume.py --kills 50

In the end it must equal the run that was never killed: weights to the bit, and each step once in
metrics.jsonl.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import geoopt  # noqa: F401 - like those below: imported before the fork, so that runs start at once
import matplotlib.figure  # noqa: F401
import sklearn.datasets  # noqa: F401
import torch

import vq.training.launch  # noqa: F401
import vq_homology.regularizer  # noqa: F401
import vq_hyperbolic.poincare  # noqa: F401
from vq.checkpoints import checkpoint
from vq.cli.app import main as run_vq

#: Frequent saving, evaluation and plots, so that many kills fall into them.
OFTEN = [
    part
    for name in ("log", "eval", "sample", "checkpoint")
    for part in ("--set", f"{name}_every={4}")
]
COMMON = (
    "--set",
    "backbone.hidden=8",
    "--codebook-size",
    "16",
    "--quantizer",
    "ema",
    "--manifold",
    "poincare",
)
CHOICES = (*COMMON, "--regularizer", "homology", "--set", "quantizer.init=kmeans", *OFTEN)
KILLED = -signal.SIGKILL


def command(*arguments: object) -> None:
    """``vq`` in a forked process that has imported torch already; silent."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    torch.set_num_threads(1)
    sys.argv = ["vq", *map(str, arguments)]
    run_vq()


def start(*arguments: object) -> multiprocessing.Process:
    """A process that runs ``vq`` with these arguments."""
    process = multiprocessing.get_context("fork").Process(target=command, args=arguments)
    process.start()
    return process


def check_readable(run: Path) -> int:
    """The step of the newest checkpoint, which must be whole; 0 where there is none yet."""
    if not checkpoint.exists(run / "checkpoints"):
        return 0
    path = checkpoint.latest(run / "checkpoints")
    assert (path / checkpoint.WEIGHTS).stat().st_size > 0
    return checkpoint.load_trainer(path)["step"]


def kill_and_resume(
    folder: Path, kills: int, steps: int, longest: float = 2.0, seed: int = 0
) -> dict[str, int]:
    """Do it in this folder.

    Args:
        folder: an empty one.
        kills: how often.
        steps: of the run, which must last longer than the kills.
        longest: seconds until a kill, at most.
        seed: of the moments.

    Returns:
        ``kills`` done, ``saved``: those after which there was a new checkpoint, and ``steps``.

    Raises:
        AssertionError: if a run does not resume, a checkpoint cannot be read, or the end differs.
    """
    moments, whole, run = random.Random(seed), folder / "whole", folder / "killed"
    process = start("train", *CHOICES, "--max-steps", steps, "--run-dir", whole)
    process.join()
    assert process.exitcode == 0
    done, saved, before = 0, 0, 0
    while done < kills:
        process = start("train", *_how(run, steps))
        time.sleep(moments.uniform(0.1, longest))
        process.kill()
        process.join()
        assert process.exitcode in (KILLED, 0), (
            f"kill {done}: resuming ended with {process.exitcode}"
        )
        if process.exitcode == 0:
            break
        reached = check_readable(run)
        done, saved, before = done + 1, saved + (reached > before), reached
    process = start("train", *_how(run, steps))
    process.join()
    assert process.exitcode == 0
    steps_logged = [
        json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()
    ]
    assert steps_logged == sorted(set(steps_logged)) == list(range(4, steps + 1, 4))
    one, other = (
        checkpoint.latest(path / "checkpoints") / checkpoint.WEIGHTS for path in (run, whole)
    )
    assert one.read_bytes() == other.read_bytes()
    assert not list((run / "checkpoints").glob(".*"))
    return {"kills": done, "saved": saved, "steps": steps}


def _how(run: Path, steps: int) -> tuple[object, ...]:
    """The arguments that start the run, or resume it once there is a config."""
    begun = (run / "config.yaml").exists()
    return ("--resume", run) if begun else (*CHOICES, "--max-steps", steps, "--run-dir", run)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--longest", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        print(kill_and_resume(Path(place), given.kills, given.steps, given.longest, given.seed))
