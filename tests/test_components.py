"""docs/components.md is what its generator makes of the code as it is now."""

import importlib.util
import re
from pathlib import Path

import pytest

from vqcore.plugin.component import ComponentSpec
from vqcore.plugin.registry import default_registry

SCRIPT = Path(__file__).parent.parent / "docs" / "generate_components.py"
REGISTRY = default_registry()


@pytest.fixture(scope="module")
def generator():
    spec = importlib.util.spec_from_file_location("generate_components", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_up_to_date(generator):
    page, found = generator.page(), generator.PAGE.read_text(encoding="utf-8")
    assert page == found, f"docs/components.md is stale: {generator.COMMAND}"


def test_the_page_of_settings_is_up_to_date(generator):
    found = generator.SETTINGS_PAGE.read_text(encoding="utf-8")
    assert generator.settings_page() == found, f"docs/settings.md is stale: {generator.COMMAND}"


def test_every_component_of_the_repository_has_a_section_with_all_its_options(generator):
    page = generator.PAGE.read_text(encoding="utf-8")
    sections = dict(zip(*[iter(re.split(r"^### (.+)\n", page, flags=re.M)[1:])] * 2, strict=True))
    packages = generator.our_packages()
    assert {"vqcore", "vq-cli", "vqcore-ema"} <= packages
    for plugin in (each for each in REGISTRY.plugins if each.package in packages):
        for kind, specs in plugin.provides.items():
            for spec in specs:
                text = sections[spec.name]
                assert f"From `{plugin.package}`: {spec.summary}." in text
                for option in REGISTRY.options(kind, f"{plugin.package}/{spec.name}"):
                    assert f"| `{option['name']}` |" in text
                    assert option["description"]
                if kind in generator.DESCRIBED:
                    assert re.search(r"^Cost: .{10}", text, re.M)


def test_a_class_that_does_not_state_its_cost_is_refused(generator):
    spec = ComponentSpec(
        name="free", target="vqcore.plugin.component:ComponentSpec", summary="no cost"
    )
    with pytest.raises(
        SystemExit,
        match=r"vqcore.plugin.component:ComponentSpec: expected one paragraph 'Cost: ...'",
    ):
        generator.description(spec)


def test_papers_are_links(generator):
    spec = ComponentSpec(
        name="codebook", target="vqcore.builtin.quantizers.codebook:GradientCodebook", summary="one"
    )
    assert "[arXiv:1711.00937](https://arxiv.org/abs/1711.00937)" in generator.source_of(spec)
