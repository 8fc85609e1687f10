"""The site of the documentation builds without a warning, needs no network, and fits a phone."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


def script(name):
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# -- generated pages


def test_the_page_of_commands_is_up_to_date():
    generator = script("generate_reference")
    found = generator.PAGE.read_text(encoding="utf-8")
    assert generator.page() == found, f"docs/commands.md is stale: {generator.COMMAND}"


@pytest.mark.parametrize("path", sorted((DOCS / "plugins").glob("*.md")), ids=lambda p: p.stem)
def test_the_rules_on_a_page_are_those_of_the_kit(path):
    generator, text = script("generate_reference"), path.read_text(encoding="utf-8")
    assert generator.with_rules(text) == text, f"{path} is stale: {generator.COMMAND}"


def test_every_conformance_class_of_components_is_on_a_page():
    from vq import testing as of_runs
    from vqcore import testing as of_components

    pages = "".join(path.read_text(encoding="utf-8") for path in (DOCS / "plugins").glob("*.md"))
    for kit in (of_components, of_runs):
        for name in (name for name in kit.__all__ if name.endswith("Conformance")):
            assert f"<!-- rules {kit.__name__}.{name} -->" in pages


# -- the build


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the built site."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder]
    # Material for MkDocs announces its successor otherwise
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


def test_nothing_is_loaded_from_another_host(site):
    loads = re.compile(
        r"<(?:script|link|img|iframe|source)\b[^>]*(?:src|href)=[\"']?(?:https?:)?//"
    )
    for path in site.rglob("*.html"):
        assert not loads.search(path.read_text(encoding="utf-8")), path
    for path in site.rglob("*.css"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//", text), path


def test_every_public_name_is_on_the_site(site):
    hooks = script("site_hooks")
    text = "".join(path.read_text(encoding="utf-8") for path in (site / "api").glob("*.html"))
    for package in hooks.EXPORTING:
        for name in hooks.exports(package):
            assert f'id="{package}.{name}"' in text, f"{package}.{name}"


@pytest.mark.parametrize(
    "name",
    [
        "index",
        "components",
        "papers",
        "performance",
        "plugins/index",
        "plugins/hooks",
        "api/vqcore",
        "packages/homology",
        "project/changelog",
    ],
)
def test_a_page_is_no_wider_than_a_phone(site, browser, name):
    browser.open(site / f"{name}.html", 390)
    assert browser.evaluate("document.documentElement.scrollWidth") == 390


def test_a_page_that_is_opened_as_a_file_can_be_searched(site, browser):
    browser.open(site / "plugins" / "index.html", 1280)
    found = browser.evaluate(
        """new Promise(done => {
            const results = document.querySelector(".md-search-result__list");
            new MutationObserver(() => done(results.innerText)).observe(results, {childList: true});
            document.querySelector("[data-md-toggle=search]").click();
            const query = document.querySelector("[data-md-component=search-query]");
            query.value = "rotation trick";
            query.dispatchEvent(new Event("keyup"));
        })"""
    )
    assert "householder" in found


# -- what the hooks do


@pytest.mark.parametrize(
    ("place", "written", "shown"),
    [
        ("data.md", "[data](models.md#presets)", "[data](models.md#presets)"),
        ("data.md", "see [models.md](models.md#presets)", "see [Models](models.md#presets)"),
        ("index.md", "[x](../plugins/ema/README.md)", "[x](packages/ema.md)"),
        ("packages/ema.md", "[x](../../docs/models.md)", "[x](../models.md)"),
        ("project/changelog.md", "[x](docs/plugins/index.md#a)", "[x](../plugins/index.md#a)"),
        ("plugins/hooks.md", "![x](../images/a.png)", "![x](../images/a.png)"),
        ("data.md", "[x](https://a.b/c) [y](#z)", "[x](https://a.b/c) [y](#z)"),
    ],
)
def test_links_of_the_repository_become_links_of_the_site(place, written, shown):
    titles = {"models.md": "Models"}
    assert script("site_hooks").with_site_links(written, place, titles) == shown


def test_markdown_becomes_what_mkdocs_reads():
    written = "- one\n  two\n\n  | a |\n\n1. x\n   y\n\n```\n- z\n  w\n```\n| `a\\|b` | c\\|d |"
    shown = "- one\n    two\n\n    | a |\n\n1. x\n    y\n\n```\n- z\n  w\n```\n| `a|b` | c\\|d |"
    assert script("site_hooks").as_mkdocs_reads(written) == shown
