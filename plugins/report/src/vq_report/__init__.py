"""Reports and comparisons of runs, and the plots that a run leaves in its folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vq_report.comparison import compare
    from vq_report.write import write_report as report

__all__ = ["compare", "report"]


def __getattr__(name: str) -> Any:
    if name == "compare":
        from vq_report.comparison import compare

        return compare
    if name == "report":
        from vq_report.write import write_report

        return write_report
    raise AttributeError(f"module 'vq_report' has no attribute {name!r}")
