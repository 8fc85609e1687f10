"""Writes the tables of papers.md from docs/results: ``python docs/generate_papers.py``.

A table stands between ``<!-- table NAME-SCALE -->`` and ``<!-- end -->``.
"""

from __future__ import annotations

import re
from pathlib import Path

from vq_papers.experiments import EXPERIMENTS
from vq_papers.results import Results
from vq_papers.tables import markdown

DOCS = Path(__file__).parent
PAGE = DOCS / "papers.md"
TABLE = re.compile(r"(<!-- table (\S+) -->\n).*?(<!-- end -->)", re.S)


def page() -> str:
    """The page with today's tables."""
    columns = {each.name: each.columns for each in EXPERIMENTS}

    def filled(found: re.Match[str]) -> str:
        results = Results.load(DOCS / "results" / f"{found[2]}.json")
        return f"{found[1]}\n{markdown(results, columns[results.name])}\n\n{found[3]}"

    return TABLE.sub(filled, PAGE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
