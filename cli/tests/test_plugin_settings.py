"""A plugin's own settings: ``plugins.NAME.option`` wherever settings are given, shown or kept."""

import copy
import json
import pickle
from pathlib import Path

import pytest
import yaml

import vq as api
from vq.config.resolved_config import resolve_config
from vq.runs.folder import RunFolder
from vq.runs.recorded import read_run_config
from vqcore.errors import ComponentError, UsageError
from vqcore.plugin.loader import Loader, Plugin
from vqcore.plugin.plugin_settings import PluginSettings, with_settings
from vqcore.plugin.registry import Registry, default_registry

NOTES = '''
from pathlib import Path
from typing import Annotated, Literal
from vqcore import ActsIf, ComponentConfig, OnDisk, SettingError
from vqcore.plugin.bounds import Steps

class NotesConfig(ComponentConfig):
    """What is noted."""

    form: Literal["long", "short"] = "short"
    """Form of the notes."""
    note_every: Annotated[Steps, ActsIf("form", ("long",))] = 10
    """Steps between notes."""
    file: Annotated[Path | None, OnDisk()] = None
    """Where they are written."""

@hookimpl
def vq_settings():
    return f"{__name__}:NotesConfig"

@hookimpl
def vq_check_config(config):
    if config.plugins[__name__].note_every > 1000:
        raise SettingError(f"plugins.{__name__}.note_every", 1001, "at most 1000")

@hookimpl
def vq_run_end(run, status):
    settings = run.config.plugins[__name__]
    run.folder.append("notes.txt", f"{settings.form} {settings.note_every} {settings.file}\\n")
'''


@pytest.fixture
def notes(plugin_file):
    """The file of a plugin with settings."""
    return plugin_file("notes", NOTES)


@pytest.fixture
def registry(notes):
    """The installed plugins and the one with settings."""
    return Registry(files=[notes])


def config_of(run):
    return yaml.safe_load((run.path / "config.yaml").read_text())


# -- from wherever settings come ------------------------------------------------


def test_settings_on_the_command_line_reach_the_hooks_and_the_folder(
    train, resume, notes, tmp_path
):
    words = ("--plugin-file", notes, "--plugins.notes.form", "long", "--set")
    run = train(*words, "plugins.notes.file=some/where.txt")
    assert config_of(run)["plugins"] == {
        "notes": {"form": "long", "note_every": 10, "file": str(tmp_path / "some" / "where.txt")}
    }
    again = resume(run, "--max-steps", 10, "--plugins.notes.note_every", 3)
    lines = (run.path / "notes.txt").read_text().splitlines()
    file = tmp_path / "some" / "where.txt"
    assert lines == ["long 10 some/where.txt", f"long 3 {file}"]
    assert config_of(again)["plugins"]["notes"]["note_every"] == 3


def test_a_run_without_settings_of_plugins_records_none(train, notes):
    run = train("--plugin-file", notes)
    assert (run.path / "notes.txt").read_text() == "short 10 None\n"
    assert "plugins" not in config_of(run)


def test_they_come_from_a_config_file_a_mapping_and_key_paths(registry, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.yaml").write_text("plugins:\n  notes:\n    form: long\n    note_every: 5\n")
    from vq.composition import base_values, compose, given_values

    given = given_values({"plugins": {"notes": {"note_every": 6}}}, {"plugins.notes.file": "f"})
    config, _ = compose(given, base=base_values(config="c.yaml"), registry=registry)
    assert config.dump()["plugins"] == {"notes": {"form": "long", "note_every": 6, "file": "f"}}


def test_compare_shows_them_of_runs_that_have_them(train, vq, notes):
    words = ("--plugin-file", notes)
    runs = [
        train(*words, *more, run=f"run{len(more)}")
        for more in ((), ("--plugins.notes.form", "long"))
    ]
    paths = [run.path for run in runs]
    shown = vq("compare", *paths).out
    assert "plugins.notes.form" in shown
    assert "long" in shown


def test_a_sweep_takes_them_too(vq, notes):
    words = ("--plugin-file", notes, "--plugins.notes.form", "long,short", "--dry-run")
    assert "form=long\nform=short\n" in vq("sweep", *words).out


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--plugins.note.form", "long"], 3, "plugins.note: no such plugin; did you mean 'notes'?"),
        (["--plugins.grouped.form", "long"], 3, "plugins.grouped: this plugin has no settings"),
        (
            ["--plugins.notes.forms", "long"],
            2,
            "plugins.notes.forms: unknown setting; did you mean 'form'?",
        ),
        (["--plugins.notes.form", "5"], 2, "plugins.notes.form = 5: expected 'long' or 'short'"),
        (["--plugins.notes", "5"], 2, "plugins.notes = 5: expected a valid dictionary"),
        (["--plugins.notes.note_every", "1001"], 2, "plugins.notes.note_every = 1001: expected at"),
        (["--note_every", "3"], 2, "did you mean '--plugins.notes.note_every'"),
    ],
)
def test_a_mistake_is_named_by_its_key_path(vq, notes, monkeypatch, words, code, message):
    registry = Registry(files=[notes])  # the hint for an option is from the installed plugins
    monkeypatch.setattr("vq.config.setting_hints.default_registry", lambda: registry)
    result = vq("train", "--plugin-file", notes, "--dry-run", *words)
    assert (result.code, message in result.err) == (code, True), result.err


def test_a_setting_that_cannot_act_is_a_warning(vq, notes):
    result = vq("train", "--plugin-file", notes, "--dry-run", "--plugins.notes.note_every", 3)
    assert "plugins.notes.note_every = 3: has no effect with form = 'short'" in result.err


# -- a folder whose plugin is not there ------------------------------------------


def test_a_run_whose_plugin_is_missing_is_evaluated_and_reported_but_not_trained(
    train, resume, vq, notes
):
    words = ("--plugin-file", notes, "--plugins.notes.form", "long")
    run = train(*words)
    notes.unlink()
    kept = yaml.safe_load((run.path / "config.yaml").read_text())
    (run.path / "config.yaml").write_text(yaml.safe_dump(kept | {"plugin_files": []}))
    (run.path / "signature").unlink()
    assert vq("evaluate", run.path).code == 0
    trusted = api.load_run(run.path, trust_plugins=True)
    assert trusted.config.dump()["plugins"] == kept["plugins"]
    published = json.loads(Path(api.push(run.path, to_folder="public"), "config.json").read_text())
    assert "plugins" not in published["config"], "what a plugin was told is published"
    assert vq("report", run.path, "--output", "r.html").code == 0
    assert "plugins.notes.form" in (run.path.parent / "r.html").read_text()
    answer = vq("train", "--resume", run.path, "--max-steps", 9, "--trust-plugins")
    assert answer.code == 3
    assert "plugins.notes: no such plugin; plugins with settings: " in answer.err
    assert f"this run was made with the plugin file {notes}, which is not loaded" in answer.err


def test_a_received_folder_does_not_tell_plugins_what_to_do(train, resume, notes):
    run = train("--plugin-file", notes, "--plugins.notes.form", "long")
    own, _ = read_run_config(RunFolder(run.path), training=False)
    assert own["plugins"]["notes"]["form"] == "long"
    (run.path / "signature").unlink()
    read, registry = read_run_config(RunFolder(run.path), training=False)
    assert not read["plugins"], "vq_report reads settings of a run that nobody trusts"
    assert "plugins.notes.form = long" in registry.record.note
    again = resume(run, "--max-steps", 10, "--plugin-file", notes)
    assert "plugins.notes.form = long" in again.result.err
    assert (run.path / "notes.txt").read_text().splitlines()[-1] == "short 10 None"


# -- what is declared -------------------------------------------------------------


def test_show_lists_the_settings_components_and_hooks_of_a_plugin(vq, notes):
    about = json.loads(vq("show", "plugin", "notes", "--plugin-file", notes, "--json").out)
    assert about["hooks"] == ["vq_check_config", "vq_run_end", "vq_settings"]
    assert [row["key"] for row in about["settings"]] == [
        "plugins.notes.form", "plugins.notes.note_every", "plugins.notes.file",
    ]  # fmt: skip
    shown = vq("show", "plugin", "notes", "--plugin-file", notes).out
    for text in ("Form of the notes.", "acts with form = long", "--plugins.notes.form VALUE"):
        assert text in shown
    for plugin in default_registry().plugins:
        assert plugin.plugin in vq("show", "plugins").out
    hyperbolic = vq("show", "plugin", "hyperbolic").out
    assert "poincare" in hyperbolic
    assert "vq_manifolds" in hyperbolic
    assert "did you mean 'hyperbolic'?" in vq("show", "plugin", "hyperbol").err


def test_settings_that_nobody_set_are_read_on_demand(registry):
    config = resolve_config({}, registry)
    assert with_settings(registry) == list(config.plugins) == ["notes"]
    assert config.plugins["notes"].form == "short"
    assert "other" not in config.plugins
    with pytest.raises(KeyError):
        config.plugins["other"]


@pytest.mark.parametrize(
    ("location", "name", "cause"),
    [
        ("3", "mine", "vq_settings returns 3: expected the location of a model"),
        ("'mine'", "mine", "vq_settings returns 'mine': expected the location of a model"),
        ("1 / 0", "mine", "vq_settings: ZeroDivisionError"),
        ("'a:B'", "my.own", "a plugin with settings is called 'my.own': expected letters"),
    ],
)
def test_a_declaration_that_is_none_is_refused(location, name, cause):
    record = loaded(f"lambda: {location}", name).plugins[-1]
    assert record.status == "error"
    assert cause in record.error


def test_settings_of_a_plugin_that_is_turned_off_are_kept_without_effect():
    def made(disabled=()):
        loader = loaded("lambda: 'vqcore:LossConfig'", "mine", disabled=disabled)
        return Registry(loader=loader)

    given = {"plugins": {"mine": {"start": 5}}}
    assert resolve_config(given, made()).dump()["plugins"]["mine"]["start"] == 5
    off = resolve_config(given, made(["mine"]))
    assert off.dump()["plugins"] == given["plugins"]
    said = "plugins.mine: kept, without effect: this plugin is turned off"
    assert said in list(off.located().idle_settings())
    cause = r"plugins.mine: this plugin is not loaded\n  mine of one \(disabled\): named in VQ"
    with pytest.raises(ComponentError, match=cause):
        off.plugins["mine"]


def test_a_run_is_resumed_with_its_plugin_turned_off(train, resume, notes, monkeypatch):
    run = train("--plugin-file", notes, "--plugins.notes.form", "long")
    recorded = config_of(run)["plugins"]
    monkeypatch.setenv("VQ_DISABLE_PLUGINS", "notes")
    again = resume(run, "--max-steps", 10)
    assert "plugins.notes: kept, without effect" in again.result.err
    assert config_of(again)["plugins"] == recorded
    assert (run.path / "notes.txt").read_text().splitlines() == ["long 10 None"]


def test_null_drops_the_settings_of_a_plugin_that_may_be_missing(registry, train, resume, notes):
    with pytest.raises(
        ComponentError, match=r"no such plugin(.|\n)*\n  plugins.gone = null leaves"
    ):
        resolve_config({"plugins": {"gone": {"a": 1}}}, registry)
    for plugins in (None, {"gone": None}, {"notes": None}):
        assert "plugins" not in resolve_config({"plugins": plugins}, registry).dump()
    run = train("--plugin-file", notes, "--plugins.notes.form", "long")
    again = resume(run, "--max-steps", 10, "--plugins.notes", "null")
    assert (run.path / "notes.txt").read_text().splitlines()[-1] == "short 10 None"
    assert "plugins" not in config_of(again)


def test_what_cannot_be_read_is_left_out_of_iteration(registry):
    values = {"notes": {"form": "long"}, "gone": {"a": 1}}
    read = resolve_config({"plugins": values}, registry, read=True)
    assert {name: each.form for name, each in read.plugins.items()} == {"notes": "long"}
    assert ("gone" in read.plugins, len(read.plugins)) == (False, 1)
    assert read.dump()["plugins"]["gone"] == {"a": 1}
    with pytest.raises(ComponentError, match=r"plugins.gone: no such plugin"):
        read.plugins["gone"]
    broken = Registry(loader=loaded("lambda: 'no_such:Model'", "mine"))
    assert not dict(resolve_config({}, broken).plugins)


@pytest.mark.parametrize("given", [{}, {"mine": {"start": 5}}])
def test_a_config_is_copied_and_pickled(given):
    registry = Registry(loader=loaded("lambda: 'vqcore:LossConfig'", "mine"))
    config = resolve_config({"plugins": given}, registry)
    for copied in (copy.deepcopy(config), pickle.loads(pickle.dumps(config))):
        assert copied == config
        assert copied.dump() == config.dump()
        assert copied.plugins["mine"].start == given.get("mine", {}).get("start", 0)


def test_defaults_are_validated_once(registry):
    plugins = resolve_config({}, registry).plugins
    assert plugins["notes"] is plugins["notes"]


def test_settings_of_two_plugins_of_one_name_or_broken_ones_stop_only_who_asks():
    twice = Registry(loader=loaded("lambda: 'a:B'", "mine", "mine"))
    config = resolve_config({}, twice)
    with pytest.raises(ComponentError, match="one and two each have a plugin of this name"):
        config.plugins["mine"]
    broken = resolve_config({}, Registry(loader=loaded("lambda: 'no_such:Model'", "mine")))
    with pytest.raises(ComponentError, match="plugin 'mine' is broken: no_such:Model cannot be"):
        broken.plugins["mine"]
    with pytest.raises(ComponentError):
        PluginSettings(twice, {"mine": {}})
    with pytest.raises(UsageError):
        resolve_config({"plugins": 3}, twice)


def loaded(function, *names, disabled=()):
    """A loader with plugins that declare settings by this function."""
    from types import ModuleType

    from vqcore import hookimpl

    loader = Loader(discover=True, disabled=disabled)
    for name, package in zip(names, ("one", "two"), strict=False):
        module = ModuleType(name)
        module.VQ_API = 1
        module.vq_settings = hookimpl(eval(function))
        loader.load(Plugin(name, package, "0"), lambda module=module: module)
    return loader
