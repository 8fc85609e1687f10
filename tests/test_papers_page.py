"""The tables of docs/papers.md are those of docs/results, and hold no path of a machine."""

import importlib.util
import json
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"
RESULTS = sorted((DOCS / "results").glob("*.json"))


def test_the_page_is_up_to_date():
    spec = importlib.util.spec_from_file_location("generate_papers", DOCS / "generate_papers.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.PAGE.read_text(encoding="utf-8") == script.page()


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_results_are_on_the_page_and_free_of_paths(path):
    text = path.read_text(encoding="utf-8")
    assert f"<!-- table {path.stem} -->" in (DOCS / "papers.md").read_text(encoding="utf-8")
    assert not any(f'"{root}' in text for root in ("/", "~"))
    assert json.loads(text)["command"].startswith("vq reproduce")
