"""The data set of a run, opened by every process and looked through by the first alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from accelerate import Accelerator

from vq.pipeline.config import Plan
from vq.pipeline.data.source import DataSource, Split
from vq.pipeline.model import build_source
from vq.pipeline.training.processes import from_main
from vqcore.registry import Registry


def open_data(
    plan: Plan, registry: Registry, accelerator: Accelerator, known: Mapping[str, Any]
) -> tuple[DataSource, Split, Split]:
    """The data set, its training and its held-out split. The first process downloads, the others learn what it found.

    Args:
        plan: the resolved config.
        registry: where its components come from.
        accelerator: this process's place among the others.
        known: what an earlier part of the run recorded of the data set.

    Raises:
        SettingError: if its files are not there.
    """

    def opened(described: Mapping[str, Any]) -> tuple[DataSource, Split, Split]:
        source = build_source(plan, registry)
        source.recall(described)
        return source, source.split("train"), source.split("test")

    mine: list[tuple[DataSource, Split, Split]] = []

    def first() -> dict[str, Any]:
        mine.append(opened(known))
        return mine[0][0].describe()

    found = from_main(accelerator, first)
    return mine[0] if mine else opened(found)
