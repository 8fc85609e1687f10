"""curves.png: loss terms, held-out quality and codebook usage during training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vq.files import write_bytes
from vq_report.charts.png import charts_png
from vq_report.sections.curves import curve_charts

#: The first charts of the report's section: loss terms, PSNR, perplexity and codes used.
CHARTS = 4


def save_curves(path: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    """Draw the lines of metrics.jsonl; a model without codes has no charts of them."""
    write_bytes(path, charts_png(curve_charts({"": lines})[:CHARTS], columns=2))
