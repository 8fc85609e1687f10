"""Samples that are broken: how they are logged, and splits in which none may stand in for them."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from vq.data.mixture import MixedSplit
from vqcore.data.dataset_split import DatasetSplit
from vqcore.errors import printable
from vqcore.interfaces.dataset import Split

#: Broken samples that are logged with their reason.
_LOGGED = 20
_log = logging.getLogger(__name__)


def without_skipping(split: Split) -> Split:
    """The split with an error for each broken sample: what stands in for it is not what it is."""
    if isinstance(split, DatasetSplit):
        split.end_at_unreadable()
    elif isinstance(split, MixedSplit):
        for part in split.parts:
            without_skipping(part)
    return split


def log_skipped(where: str, skipped: Mapping[str, str]) -> None:
    """Log what is left out from the start, and why; data.json lists all."""
    if skipped:
        _log.warning("%s are skipped:\n%s", where, listed(skipped))


def unreadable(split: Split) -> dict[str, str]:
    """The reason for each sample that a split could not read so far, by name."""
    names, skipped = split.names or range(len(split)), split.skipped or {}
    return {str(names[row]): _brief(str(names[row]), why) for row, why in skipped.items()}


def log_stand_ins(found: Mapping[str, str], total: int) -> None:
    """Log which of so many samples could not be read, and why."""
    if found:
        count = f"{len(found)} of {total} samples cannot be read"
        _log.warning("%s; the next ones stood in:\n%s", count, listed(dict(sorted(found.items()))))


def _brief(name: str, reason: str) -> str:
    """A reason without the path of the sample's file, which belongs to this machine."""
    place, words, why = reason.rpartition(" cannot be read: ")
    file = place.rpartition("/")[2]
    return why if name.endswith(file) else f"{file}{words}{why}"


def listed(reasons: Mapping[str, str]) -> str:
    """A line for each of the first names with its reason."""
    lines = [f"  {printable(name)}: {reason}" for name, reason in reasons.items()]
    more = [f"  and {len(lines) - _LOGGED} more"] if len(lines) > _LOGGED else []
    return "\n".join([*lines[:_LOGGED], *more])
