"""The settings, without torch."""

from __future__ import annotations

from vqcore import ComponentConfig


class SqliteLogConfig(ComponentConfig):
    """The settings ``plugins.sqlite-log``."""

    names: tuple[str, ...] | None = None
    """Metrics that are written, such as [loss, test_psnr]; null writes all."""
