"""The command on runs with and without codes."""

import json

import pytest
from vq.testing import run_command, tiny_run
from vqcore.testing import PluginConformance


class TestPlugin(PluginConformance):
    package = "vq-code-usage"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with two codebooks."""
    settings = {"quantizer": "grouped", "quantizer.groups": 2}
    return tiny_run(tmp_path_factory.mktemp("usage") / "run", settings)


def test_counts_are_those_of_the_split(run):
    done = run_command("code-usage", run.folder.path, "--json")
    found = json.loads(done.stdout)
    tokens = len(run.source.split("test"))
    assert [sum(each["counts"]) for each in found] == [tokens, tokens]
    assert all(each["used"] == sum(count > 0 for count in each["counts"]) for each in found)


def test_the_table_has_the_most_used_codes(run):
    done = run_command("code-usage", run.folder.path, "--top", 3, "--split", "train")
    assert done.stdout.count("%") == 2 * 3
    assert done.stdout.count("of 16 codes used") == 2


def test_a_model_without_codes_is_named(tmp_path):
    tiny_run(tmp_path / "run", {"bottleneck": "none"})
    done = run_command("code-usage", tmp_path / "run")
    assert done.exit_code == 2
    assert "has no codes" in str(done.exception)


def test_a_folder_that_is_no_run_is_named(tmp_path):
    done = run_command("code-usage", tmp_path)
    assert done.exit_code == 2
    assert "expected a run folder" in str(done.exception)
