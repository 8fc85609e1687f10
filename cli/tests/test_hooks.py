"""The hooks that follow a run, and that a plugin's mistake in one stays its own."""

import json

import pytest
from typer.testing import CliRunner

from vq.cli.app import build_app
from vqcore.plugin.hook_caller import HookCaller
from vqcore.plugin.registry import Registry

RECORDER = """
import json
events = []
@hookimpl
def vq_run_start(run):
    events.append(["start", run.step, run.settings.batch_size, run.config.title(), str(run.device)])
@hookimpl
def vq_metrics(run, batch):
    return {"batch_mean": batch.mean().item(), "size": batch.shape[0], "loss": -1.0, "folder": run.folder.path.exists()}
@hookimpl
def vq_step_end(step, losses):
    events.append(["step", step, sorted(losses), all(not v.requires_grad and v.ndim == 0 for v in losses.values())])
@hookimpl
def vq_run_end(run, status):
    events.append(["end", run.step, status, sum(p.numel() for p in run.model.parameters()) > 0])
    (run.folder.path / "events.json").write_text(json.dumps(events))
    events.clear()
"""
BROKEN = """
calls = []
@hookimpl
def {hook}:
    calls.append(1)
    {body}
@hookimpl
def vq_run_end(run, status):
    (run.folder.path / "calls.txt").write_text(f"{{len(calls)}} and then the end")
"""
FAILING = {
    "vq_run_start(run)": ("raise RuntimeError('my mistake')", "RuntimeError: my mistake"),
    "vq_metrics(run, batch)": ("return 1 / 0", "ZeroDivisionError: division by zero"),
    "vq_metrics(batch)": (
        "return {'name': 'text'}",
        "ValueError: could not convert string to float: 'text'",
    ),
    "vq_metrics(run)": ("return [1, 2]", "AttributeError: 'list' object has no attribute 'items'"),
    "vq_run_start()": ("raise SystemExit(5)", "SystemExit: 5"),
    "vq_step_end(run, step, losses)": ("losses['none']", "KeyError: 'none'"),
}
CHECKS = """
@hookimpl
def vq_check_config(config):
    {body}
"""


def events(run):
    return json.loads((run.path / "events.json").read_text())


# -- a run that is followed -------------------------------------------------


def test_a_plugin_follows_a_run(train, plugin_file):
    run = train(
        "--plugin-file",
        plugin_file("a_recorder", RECORDER),
        "--regularizer",
        "entropy",
        "--max-steps",
        6,
    )
    terms = ["codebook", "commitment", "entropy", "reconstruction"]
    assert events(run) == [
        ["start", 0, 64, "digits-euclidean-codebook-entropy", "cpu"],
        *(["step", step, terms, True] for step in range(1, 7)),
        ["end", 6, "done", True],
    ]
    assert run.steps == [4, 6]
    for line in run.metrics:
        assert -1 < line["batch_mean"] < 1
        assert (line["size"], line["folder"]) == (64, 1.0)
        assert line["loss"] > 0, "a plugin's figure took the place of the run's own"
    assert run.metrics[0]["batch_mean"] != run.metrics[1]["batch_mean"]
    (row,) = [row for row in run.json("plugins") if row["plugin"] == "a_recorder"]
    assert (row["version"], row["status"]) == ("file", "ok")


def test_a_resumed_run_is_followed_from_its_step_on(train, resume, plugin_file):
    run = train("--plugin-file", plugin_file("a_second_recorder", RECORDER), "--max-steps", 4)
    again = events(resume(run, "--max-steps", 6))
    assert [event[:2] for event in again] == [["start", 4], ["step", 5], ["step", 6], ["end", 6]]


def test_a_run_that_fails_is_followed_to_its_end(train, plugin_file):
    run = train("--plugin-file", plugin_file("a_third_recorder", RECORDER), "--lr", "1e30", code=1)
    assert events(run)[-1] == ["end", 4, "failed", True]


def test_an_interrupted_run_is_followed_to_its_end(train, plugin_file):
    stop = "    import os; step == 3 and os.kill(os.getpid(), 15)\n"
    source = RECORDER.replace('    events.append(["step"', stop + '    events.append(["step"')
    run = train("--plugin-file", plugin_file("a_stopping_recorder", source), code=143)
    assert events(run)[-1] == ["end", 3, "interrupted", True]


# -- a plugin that makes a mistake ------------------------------------------


@pytest.mark.parametrize("hook", FAILING)
def test_a_hook_that_fails_is_warned_about_once_and_left_alone(train, plugin_file, hook):
    body, cause = FAILING[hook]
    name = f"broken_{list(FAILING).index(hook)}"
    path = plugin_file(name, BROKEN.format(hook=hook, body=body))
    run = train("--plugin-file", path, "--max-steps", 12)
    assert run.json("status")["status"] == "done"
    assert run.steps == [4, 8, 12]
    function = hook.partition("(")[0]
    warning = f"warning: plugin {path}:{name} failed in {function} and is not called again in this run: {cause}"
    assert run.result.out.count(warning) == 1
    assert run.result.out.count("warning") == 1
    assert not (run.path / "calls.txt").exists(), "a plugin that failed was called again"


def test_a_hook_that_fails_at_the_end_spoils_nothing(train, plugin_file):
    path = plugin_file("late", "@hookimpl\ndef vq_run_end(run, status):\n    raise OSError(status)")
    run = train("--plugin-file", path)
    assert run.json("status")["status"] == "done"
    assert "failed in vq_run_end" in run.result.out
    assert "OSError: done" in run.result.out


def test_one_plugins_mistake_is_not_anothers(plugin_file):
    registry = Registry(
        files=[
            plugin_file(
                "one_that_raises", "@hookimpl\ndef vq_metrics(run):\n    raise ValueError(run)"
            ),
            plugin_file(
                "one_that_works", "@hookimpl\ndef vq_metrics(batch):\n    return {'a': batch}"
            ),
            plugin_file("one_without_answer", "@hookimpl\ndef vq_metrics():\n    return None"),
        ],
        discover=False,
    )
    warnings = []
    life = HookCaller(registry, warnings.append)
    assert life.listens("vq_metrics")
    assert not life.listens("vq_step_end")
    for batch in (1, 2):
        assert life.call("vq_metrics", run="x", batch=batch) == [{"a": batch}]
    assert len(warnings) == 1
    assert "one_that_raises failed in vq_metrics" in warnings[0]


# -- checks of the config ---------------------------------------------------


@pytest.mark.parametrize(
    "body", ["yield 'dim = 8: I like 9 better'", "return 'dim = 8: I like 9 better'"]
)
@pytest.mark.parametrize("dry", [("--dry-run",), ("--run-dir", "run")])
def test_a_plugin_refuses_a_config(vq, plugin_file, tmp_path, body, dry):
    path = plugin_file(
        f"picky_{body[:3]}_{len(dry)}", CHECKS.format(body=f"if config.config.dim == 8: {body}")
    )
    result = vq("train", "--plugin-file", path, "--dim", 8, *dry)
    assert result.code == 2
    assert result.err.strip() == "error: dim = 8: I like 9 better"
    assert not (tmp_path / "run").exists()
    if body.startswith("yield"):
        assert vq("train", "--plugin-file", path, "--dim", 9, "--dry-run").code == 0


def test_a_check_sees_the_resolved_plan(vq, plugin_file):
    body = "return [config.components['quantizer'].options.decay, config.regularizers['entropy'].options.weight]"
    path = plugin_file("a_reader", CHECKS.format(body=body))
    result = vq(
        "train",
        "--plugin-file",
        path,
        "--quantizer",
        "ema",
        "--regularizer",
        "entropy",
        "--dry-run",
    )
    assert result.code == 2
    assert result.err.split() == ["error:", "0.99", "0.1"]


def test_a_check_that_fails_stops_nobody(vq, train, plugin_file):
    path = plugin_file("a_broken_check", CHECKS.format(body="raise LookupError('where is it')"))
    run = train("--plugin-file", path, "--max-steps", 1)
    assert "warning: plugin" in run.result.err
    assert "failed in vq_check_config" in run.result.err
    assert "LookupError: where is it" in run.result.err


# -- commands ---------------------------------------------------------------

GREETS = """
@hookimpl
def vq_commands(app):
    @app.command("greet")
    def greet(name: str) -> None:
        print(f"hello {name}")
"""


def invoke(path, *arguments):
    registry = Registry(files=[path])
    return CliRunner().invoke(build_app(registry), [*arguments]), registry


def test_a_plugin_adds_a_command(plugin_file):
    path = plugin_file("a_greeter", GREETS)
    result, _ = invoke(path, "greet", "you")
    assert (result.exit_code, result.stdout) == (0, "hello you\n")
    assert "greet" in invoke(path, "--help")[0].stdout
    assert invoke(path, "train", "--dry-run")[0].exit_code == 0


def test_a_plugin_whose_commands_fail_takes_none_of_ours_away(plugin_file):
    path = plugin_file(
        "a_spoiler", "@hookimpl\ndef vq_commands(app):\n    raise OSError('no terminal')"
    )
    result, registry = invoke(path, "train", "--dry-run")
    assert result.exit_code == 0
    assert "config is valid" in result.stdout
    (plugin,) = [plugin for plugin in registry.plugins if plugin.plugin == "a_spoiler"]
    assert (plugin.status, plugin.error) == ("error", "vq_commands: OSError: no terminal")
    names = {command.name for command in build_app(Registry()).registered_commands}
    assert {"train", "evaluate", "list-plugins", "show"} <= names
