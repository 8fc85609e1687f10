"""Samples that could not be read during training: counted in each line, named at the end."""

from __future__ import annotations

from typing import Any

import torch

from vq.data.skipping import log_stand_ins, unreadable
from vq.files import read_json, write_json
from vq.processes.together import gathered, on_main
from vq.training.trainer import Trainer
from vqcore.distributed import sum_over_ranks

#: Its key in data.json, a mapping from names to reasons.
KEY = "unreadable"


class SkippedSamples:
    """How many training samples could not be read since the last line. Every process calls it."""

    def __init__(self) -> None:
        self._counted = 0

    def since_last(self, run: Trainer) -> dict[str, int]:
        """``skipped_samples`` over all processes; empty where such a sample ends the run."""
        split = run.train_split
        if split.skipped is None:
            return {}
        count = torch.tensor(split.replaced - self._counted, device=run.device)
        self._counted = split.replaced
        sum_over_ranks(count)
        return {"skipped_samples": int(count)}


def described(run: Trainer) -> dict[str, Any]:
    """What data.json records: the data set, and what an earlier part of the run could not read.

    The likelihood is that of the losses, so that the model can be loaded without them.
    """
    likelihood = {"likelihood": run.objective.likelihood}
    earlier = (read_json(run.folder.data) or {}).get(KEY)
    return (
        run.source.describe() | likelihood | ({KEY: earlier} if isinstance(earlier, dict) else {})
    )


def report_skipped(run: Trainer) -> dict[str, int]:
    """Log what could not be read and record it in data.json; every process calls it.

    Returns:
        ``skipped_samples`` of this run, where there are any.
    """
    splits = (run.train_split, run.test_split)
    if all(split.skipped is None for split in splits):
        return {}
    own = unreadable(run.train_split) | unreadable(run.test_split)
    found = {name: why for part in gathered(own) for name, why in part.items()}
    if not found:
        return {}
    on_main(lambda: _record(run, found))
    return {"skipped_samples": len(found)}


def _record(run: Trainer, found: dict[str, str]) -> None:
    log_stand_ins(found, len(run.train_split) + len(run.test_split))
    values = described(run)
    write_json(run.folder.data, values | {KEY: values.get(KEY, {}) | found})
