"""For every rule for hooks there is a plugin that breaks it; ours, and the fixture, keep them."""

import importlib
import sys
from types import SimpleNamespace

import pytest

from vq.testing import HooksConformance, run_command, train_tiny  # noqa: F401 - a fixture
from vqcore.testing import ConformanceError, rules, violations

#: Logs each step, and a metric; written as the documentation says.
GOOD = """
from vqcore import hookimpl
from vqcore.plugin.report_section import Section, Text
VQ_API = 1
NAME = __name__
open_files = {}

@hookimpl
def vq_check_config(config):
    return []

@hookimpl
def vq_run_start(run):
    folder = run.folder.plugin(NAME).path
    folder.mkdir(parents=True, exist_ok=True)
    open_files[run] = (folder / "steps.txt").open("a")
    open_files[run].write(f"started at {run.step}\\n")

@hookimpl
def vq_step_end(run, step, losses):
    open_files[run].write(f"{step}\\n")

@hookimpl
def vq_metrics(run, batch):
    return {"acme_mean": batch.mean()}

@hookimpl
def vq_run_end(run, status):
    open_files.pop(run).close()

@hookimpl
def vq_report(run):
    path = run.folder.path / "plugins" / NAME / "steps.txt"
    return [Section("Steps", [Text(path.read_text())])] if path.exists() else []

@hookimpl
def vq_commands(app):
    @app.command("acme")
    def acme(name: str):
        from vqcore.errors import SettingError
        if name != "acme":
            raise SettingError("NAME", name, "acme")
        print(f"this is {name}")
"""
#: Rule -> (a text of the plugin, its replacement).
BROKEN = {
    "no-hook-fails": (
        "open_files.pop(run).close()",
        "open_files.pop(run).close(); assert status != 'failed'",
    ),
    "following-changes-nothing": (
        'write(f"{step}\\n")',
        "write(str(next(run.model.parameters()).data.mul_(1.01)))",
    ),
    "resuming-changes-nothing": (
        'write(f"started',
        '__class__; run.step and next(run.model.parameters()).data.mul_(1.01); 0 and (f"started',
    ),
    "resuming-adds": ('open("a")', 'open("w")'),
    "repeated-steps-are-written-once": (
        'open_files[run].write(f"{step}\\n")',
        """run.folder.plugin(NAME).append("steps.jsonl", f'{{"step": {step}}}\\n')""",
    ),
    "metrics-are-numbers-of-each-line": (
        '{"acme_mean": batch.mean()}',
        '{f"acme_{run.step}": batch.mean()}',
    ),
    "files-are-in-its-folder": ('folder / "steps', 'run.folder.path / "steps'),
    "files-are-closed": ("pop(run).close()", "get(run)"),
    "no-step-waits": ('write(f"{step}\\n")', 'write(str(float(losses["reconstruction"])))'),
    "report-sections-are-valid": ("Text(path.read_text())", "path.read_text()"),
    "usual-configs-are-accepted": ("return []", "return ['I want a GPU']"),
}


@pytest.fixture
def plugin(tmp_path, monkeypatch, unloaded_modules):
    """A function that writes a plugin as a module; each has its own name, which runs share."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(name, text="", replacement=""):
        assert text in GOOD
        (tmp_path / f"{name}.py").write_text(GOOD.replace(text, replacement, 1))
        importlib.invalidate_caches()
        return importlib.import_module(name)

    return write


def case_of(module):
    return type("Case", (HooksConformance,), {"plugin": module})()


@pytest.mark.parametrize("rule", BROKEN)
def test_a_broken_plugin_violates_its_rule(plugin, rule):
    case = case_of(plugin(f"acme_{list(BROKEN).index(rule)}", *BROKEN[rule]))
    with pytest.raises(ConformanceError) as caught:
        getattr(case, f"test_{rule.replace('-', '_')}")()
    assert caught.value.rule == rule


def test_a_report_that_makes_a_folder_is_refused(plugin):
    reads = 'path = run.folder.path / "plugins"'
    made = plugin("acme_made", reads, f'(run.folder.path / "other").mkdir(exist_ok=True); {reads}')
    with pytest.raises(ConformanceError, match=r"vq_report makes .*other"):
        case_of(made).test_report_sections_are_valid()


def resumed(before, now):
    """A case without runs: what files held before a run was resumed, and after."""
    found = before, SimpleNamespace(files=lambda: now)
    runs = SimpleNamespace(name="acme", also_writes=(), resumed=found)
    return type("Case", (HooksConformance,), {"_runs": runs})()


def test_a_line_of_a_repeated_step_may_be_written_again():
    """A log whose first line is of a step after the checkpoint, by the clock."""
    first, again = (f'{{"step": 10, "clock": {clock}}}\n'.encode() for clock in (1, 2))
    log = "plugins/acme/log.jsonl"
    resumed({log: first}, {log: again}).test_resuming_adds()
    with pytest.raises(ConformanceError, match="open it to append"):
        resumed({log: b'{"step": 8}\n' + first}, {log: again}).test_resuming_adds()


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_file_grows_with_every_end_of_line(end):
    """As that of Python's csv module."""
    table = "plugins/acme/steps.csv"
    lines = [f"{line}{end}".encode() for line in ("step,loss", "8,1.0", "10,0.9")]
    resumed({table: lines[0] + lines[1]}, {table: b"".join(lines)}).test_resuming_adds()
    for cut in (b"".join(lines[1:]), b""):
        with pytest.raises(ConformanceError, match="open it to append"):
            resumed({table: lines[0] + lines[1]}, {table: cut}).test_resuming_adds()


def test_every_rule_has_a_violation():
    assert set(BROKEN) == set(rules(HooksConformance))


def test_a_good_plugin_breaks_nothing(plugin):
    assert violations(case_of(plugin("acme_good"))) == []


OURS = {"vq_homology.plugin": {"regularizer": "homology"}, "vq_report.plugin": {}}


@pytest.mark.parametrize("name", OURS)
def test_our_plugins_break_nothing(name, without_plots, without_homology_plots):
    attributes = {"plugin": name, "settings": OURS[name]}
    assert violations(type("Case", (HooksConformance,), attributes)()) == []


# -- the fixture, and commands ----------------------------------------------


def test_the_fixture_trains_with_a_plugin(plugin, train_tiny):  # noqa: F811
    plugin("acme_fixture")
    run = train_tiny({"backbone": "conv", "seed": 3}, plugins=["acme_fixture"], steps=3)
    assert (run.status, run.metrics["steps"]) == ("done", 3)
    assert run.config.settings.seed == 3
    assert all("acme_mean" in line for line in run.history)
    steps = run.folder.path / "plugins" / "acme_fixture" / "steps.txt"
    assert steps.read_text().split("\n")[-4:] == ["1", "2", "3", ""]
    again = train_tiny(plugins=["acme_fixture"], resume=run, steps=4)
    assert again.folder.path == run.folder.path != train_tiny(steps=1).folder.path
    assert steps.read_text().endswith("started at 3\n4\n")


def test_commands_run_in_this_process(plugin):
    plugin("acme_command")
    done = run_command("acme", "acme", plugins=["acme_command"])
    assert (done.exit_code, done.stdout) == (0, "this is acme\n")
    refused = run_command("acme", "other", plugins=["acme_command"])
    assert refused.exit_code == 2
    assert "expected acme" in str(refused.exception)
    assert run_command("nothing").exit_code == 2
    assert "acme_command" in sys.modules
