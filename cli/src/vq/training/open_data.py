"""The data set of a run, opened by every process and scanned by the main one alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vq.config.resolved_config import ResolvedConfig
from vq.models.autoencoder import build_source
from vq.processes.together import on_main
from vq.progress import working
from vqcore.interfaces.dataset import DataSource, Split
from vqcore.plugin.registry import Registry

OpenData = tuple[DataSource, Split, Split]


def open_data(config: ResolvedConfig, registry: Registry, recorded: Mapping[str, Any]) -> OpenData:
    """The data set, its training and its held-out split.

    The main process downloads and scans it; the others receive what it found. ``recorded`` is the
    metadata that an earlier part of the run recorded.

    Raises:
        SettingError: if the files are not there.
    """
    opened: list[OpenData] = []

    def open_here(metadata: Mapping[str, Any]) -> dict[str, Any]:
        source = build_source(config, registry)
        source.restore(metadata)
        opened.append((source, source.split("train"), source.split("test")))
        return source.describe()

    with working("reading the data"):
        found = on_main(lambda: open_here(recorded))
        if not opened:
            open_here(found)
    return opened[0]
