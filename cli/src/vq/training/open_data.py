"""The data set of a run, opened by every process and looked through by the first alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from accelerate import Accelerator

from vq.config.run_config import ResolvedConfig
from vq.models.autoencoder import build_source
from vq.training.distributed import run_on_main
from vqcore.interfaces.dataset import DataSource, Split
from vqcore.plugin.registry import Registry


def open_data(
    config: ResolvedConfig, registry: Registry, accelerator: Accelerator, known: Mapping[str, Any]
) -> tuple[DataSource, Split, Split]:
    """The data set, its training and its held-out split. The first process downloads, the others learn what it found.

    Args:
        config: the resolved config.
        registry: where its components come from.
        accelerator: this process's place among the others.
        known: what an earlier part of the run recorded of the data set.

    Raises:
        SettingError: if its files are not there.
    """

    def opened(described: Mapping[str, Any]) -> tuple[DataSource, Split, Split]:
        source = build_source(config, registry)
        source.restore(described)
        return source, source.split("train"), source.split("test")

    mine: list[tuple[DataSource, Split, Split]] = []

    def first() -> dict[str, Any]:
        mine.append(opened(known))
        return mine[0][0].describe()

    found = run_on_main(accelerator, first)
    return mine[0] if mine else opened(found)
