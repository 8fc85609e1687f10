"""``vq show``: settings of a run, components by kind or by name, and hints from other names."""

import io
import json

import pytest

from vq.cli.show_tables import settings
from vq.config.resolved_config import resolve_config
from vq.config.run_config import RunConfig
from vq.config.run_settings import GROUPS, SHORTCUTS, setting_rows
from vq.terminal import Terminal
from vqcore.plugin.component import KINDS, PLURALS
from vqcore.plugin.component_config import ActsIf
from vqcore.plugin.registry import default_registry

DEFAULTS = resolve_config({}, default_registry()).dump()


def test_every_setting_of_a_run_is_shown_with_all_about_it(vq):
    rows = {row["name"]: row for row in json.loads(vq("show", "run", "--json").out)}
    shortcuts = {f"{kind}.{option}" for kind, options in SHORTCUTS.items() for option in options}
    assert rows.keys() == RunConfig.model_fields.keys() | shortcuts
    assert [row["group"] for row in rows.values()] == sorted(
        (row["group"] for row in rows.values()), key=list(GROUPS.values()).index
    )
    for name, row in rows.items():
        assert all(row[key] for key in ("description", "type", "option", "group")), name
        if name in KINDS:
            assert row["type"] == name
        elif name in RunConfig.model_fields:
            assert row["default"] == DEFAULTS.get(name, {}), "plugins, where none is set"
            marks = RunConfig.model_fields[name].metadata
            assert row["acts_with"] == [str(each) for each in marks if isinstance(each, ActsIf)]
    assert rows["optimizer.lr"]["default"] == DEFAULTS["optimizer"]["lr"]
    assert rows["dataset.strict"]["acts_with"] == ["dataset = image-folder"]
    assert rows["kl_weight"]["acts_with"] == ["bottleneck = gaussian"]
    assert rows["plugin_files"]["option"] == "--plugin-file"


@pytest.mark.parametrize("width", [60, 80, 140])
def test_the_table_of_settings_cuts_no_name_and_no_word(width):
    rows = setting_rows(default_registry())
    console = Terminal(width=width, file=io.StringIO())
    console.print(settings(rows))
    out = console.file.getvalue()
    for row in rows:
        assert f"  {row['name']} " in out
        assert set(row["description"].split()) <= set(out.split())


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_lists_its_components_with_a_line_each(vq, kind):
    rows = json.loads(vq("show", kind, "--json").out)
    assert [row["name"] for row in rows] == default_registry().names(kind)
    table = vq("show", PLURALS[kind]).out
    for row in rows:
        assert row["name"] in table
        assert row["summary"] in table
        assert row["name"] in vq("show").out


@pytest.mark.parametrize(
    ("words", "same"),
    [
        (("ema",), ("quantizer", "ema")),
        (("vqcore-ema/ema",), ("quantizer", "ema")),
        (("quantizers", "ema"), ("quantizer", "ema")),
        (("schedule",), ("run", "schedule")),
        (("run", "lr"), ("run", "optimizer.lr")),
        (("run", "grad-clip"), ("run", "grad_clip")),
    ],
)
def test_shorter_words_show_the_same(vq, words, same):
    assert vq("show", *words, "--json") == vq("show", *same, "--json")
    assert vq("show", *words).code == 0


@pytest.mark.parametrize("word", ["lr_scale", "lr-scale", "quantizer.lr_scale"])
def test_an_option_is_shown_of_all_components_that_have_it(vq, word):
    rows = json.loads(vq("show", word, "--json").out)
    assert [row["component"] for row in rows] == ["quantizer codebook", "quantizer simvq"]
    assert {row["key"] for row in rows} == {"quantizer.lr_scale"}
    table = vq("show", word).out
    assert all(row["component"] in table for row in rows)
    assert "--quantizer.lr_scale" in table
    assert "--regularizers.homology.weight" in vq("show", "weight").out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("poincar",), "poincar: no kind, component, preset or setting; did you mean 'poincare'?"),
        (("quantizer_",), "no kind, component, preset or setting; did you mean 'quantizer'?"),
        (("beta",), "beta: no kind, component, preset or setting; did you mean"),
        (("xyzw",), "xyzw: no kind, component, preset or setting; vq show lists what there is"),
        (("run", "lr_scheduler"), "lr_scheduler: unknown setting; did you mean 'schedule'?"),
        (("quantiser", "ema"), "quantiser: no kind of component; did you mean 'quantizer'?"),
    ],
)
def test_an_unknown_name_is_answered_with_a_hint(vq, words, message):
    result = vq("show", *words)
    assert (result.code, result.out) == (2, "")
    assert message in result.err


def test_a_name_of_two_kinds_is_ambiguous(vq, tmp_path):
    plugin = tmp_path / "both.py"
    plugin.write_text(
        "from vqcore import ComponentSpec, hookimpl\nVQ_API = 1\n"
        "SPECS = [ComponentSpec(name='both', target='both:Both', summary='both')]\n"
        "@hookimpl\ndef vq_manifolds():\n    return SPECS\n"
        "@hookimpl\ndef vq_estimators():\n    return SPECS\n"
    )
    result = vq("show", "both", "--plugin-file", plugin)
    assert result.code == 2
    assert "both: a name of manifold and estimator; use vq show manifold both or" in result.err
