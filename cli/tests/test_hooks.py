"""The hooks that follow a run, for plugins and callbacks; a plugin's mistake never ends a run."""

import json
import os
import pickle
import signal
import sys
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from vq.cli.app import build_app, exit_code
from vq.config.resolved_config import resolve_config
from vq.training.launch import launch
from vqcore.errors import ComponentError, MainProcessError, RunError, SettingError, UsageError
from vqcore.plugin.hook_caller import HookCaller
from vqcore.plugin.registry import Registry, default_registry

RECORDER = """
import json
events = []
@hookimpl
def vq_run_start(run):
    events.append(["start", run.step, run.settings.batch_size, run.config.title(), str(run.device)])
@hookimpl
def vq_metrics(run, batch):
    exists = run.folder.path.exists()
    return {"batch_mean": batch.mean(), "size": batch.shape[0], "loss": -1.0, "folder": exists}
@hookimpl
def vq_step_end(step, losses):
    detached = all(not v.requires_grad and v.ndim == 0 for v in losses.values())
    events.append(["step", step, sorted(losses), detached])
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
        "UsageError: vq_metrics returned {'name': 'text'}: expected Mapping[str, float]",
    ),
    "vq_metrics(run)": (
        "return [1, 2]",
        "UsageError: vq_metrics returned [1, 2]: expected Mapping[str, float]",
    ),
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
        assert line["loss"] > 0, "a plugin's metric replaced one of the run"
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
def test_a_hook_that_fails_causes_one_warning_and_is_not_called_again(train, plugin_file, hook):
    body, cause = FAILING[hook]
    name = f"broken_{list(FAILING).index(hook)}"
    path = plugin_file(name, BROKEN.format(hook=hook, body=body))
    run = train("--plugin-file", path, "--max-steps", 12)
    assert run.json("status")["status"] == "done"
    assert run.steps == [4, 8, 12]
    function = hook.partition("(")[0]
    failed = f"plugin {path}:{name} failed in {function}"
    warning = f"warning: {failed} and is not called again in this run: {cause}"
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
    hooks = HookCaller(registry, warnings.append)
    for batch in (1, 2):
        assert hooks.call("vq_metrics", run="x", batch=batch) == [{"a": batch}]
    assert len(warnings) == 1
    assert "one_that_raises failed in vq_metrics" in warnings[0]


# -- callbacks --------------------------------------------------------------


class Recorder:
    """A callback with every method; what happened is in ``events``."""

    def __init__(self):
        self.events = []

    def vq_run_start(self, run):
        self.events.append(("start", run.step, run.total_steps))

    def vq_metrics(self, run, batch):
        return {"mean": batch.mean(), "loss": -1.0, "test_psnr": -1.0, "lr": -1.0}

    def vq_step_end(self, step, losses):
        self.events.append(("step", step))

    def vq_log(self, run, metrics):
        assert run.folder.read_metrics()[-1] == metrics
        self.events.append(("log", metrics["step"], metrics["mean"]))

    def vq_run_end(self, run, status):
        assert run.folder.summary.exists() == (status != "failed")
        self.events.append(("end", status))


@pytest.fixture
def launched(tmp_path, without_plots):
    """Train a tiny model in this process with callbacks, as the Python API does."""

    def start(*callbacks, registry=None, **settings):
        registry = registry or default_registry()
        values = {"backbone": {"hidden": 8}, "codebook_size": 16, "device": "cpu", "max_steps": 4}
        values |= {"log_every": 2, "eval_every": 4, "checkpoint_every": 4, **settings}
        return launch(
            resolve_config(values, registry),
            registry,
            run_dir=tmp_path / "run",
            callbacks=callbacks,
        )

    return start


def test_a_callback_follows_a_run(launched):
    recorder = Recorder()
    run = launched(recorder)
    lines = run.folder.read_metrics()
    means = [line["mean"] for line in lines]
    assert recorder.events == [
        ("start", 0, 4),
        *(("step", 1), ("step", 2), ("log", 2, means[0])),
        *(("step", 3), ("step", 4), ("log", 4, means[1])),
        ("end", "done"),
    ]
    assert all(isinstance(mean, float) for mean in means)
    assert all(line["loss"] > 0 and line["lr"] >= 0 for line in lines)
    assert lines[-1]["test_psnr"] == run.metrics["psnr"]


def test_callbacks_come_before_plugins_in_their_order(launched, plugin_file):
    calls = []

    class Named:
        def __init__(self, name):
            self.name = name

        def vq_step_end(self, step):
            calls.append((step, self.name))

    source = """
calls = []
@hookimpl
def vq_step_end(step):
    calls.append((step, "plugin"))
"""
    registry = Registry(files=[plugin_file("a_listener", source)])
    sys.modules["a_listener"].calls = calls
    launched(Named("a"), Named("b"), registry=registry, max_steps=2)
    assert calls == [(step, name) for step in (1, 2) for name in ("a", "b", "plugin")]


@pytest.mark.parametrize("hook", ["vq_run_start", "vq_metrics", "vq_step_end", "vq_log"])
def test_an_exception_in_a_callback_ends_the_run(launched, tmp_path, hook):
    def fail(run):
        raise LookupError("my mistake")

    recorder = Recorder()
    with pytest.raises(LookupError, match="my mistake"):
        launched(recorder, SimpleNamespace(**{hook: fail}))
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    assert (status["status"], status["error"]) == ("failed", "LookupError: my mistake")
    assert recorder.events[-1] == ("end", "failed")


def test_a_method_that_does_not_fit_its_hook_is_refused_first(launched, tmp_path):
    def vq_log(line):
        raise AssertionError("called")

    with pytest.raises(UsageError, match=r"vq_log\(line\): expected only run, metrics"):
        launched(SimpleNamespace(vq_log=vq_log))
    assert not (tmp_path / "run").exists()


def test_a_callback_may_stop_a_run_by_a_signal(launched):
    """The checkpoint holds the step in which the signal came."""

    def stop(step):
        if step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    run = launched(SimpleNamespace(vq_step_end=stop))
    assert (run.status, run.signal, run.metrics["steps"]) == ("interrupted", signal.SIGINT, 3)
    assert (run.folder.checkpoints / "latest").read_text().strip() == "step-00000003"


# -- checks of the config ---------------------------------------------------


@pytest.mark.parametrize(
    "body", ["yield 'dim = 8: I like 9 better'", "return 'dim = 8: I like 9 better'"]
)
@pytest.mark.parametrize("dry", [("--dry-run",), ("--run-dir", "run")])
def test_a_plugin_refuses_a_config(vq, plugin_file, tmp_path, body, dry):
    path = plugin_file(
        f"picky_{body[:3]}_{len(dry)}", CHECKS.format(body=f"if config.settings.dim == 8: {body}")
    )
    result = vq("train", "--plugin-file", path, "--dim", 8, *dry)
    assert result.code == 2
    assert result.err.strip() == "error: dim = 8: I like 9 better"
    assert not (tmp_path / "run").exists()
    if body.startswith("yield"):
        assert vq("train", "--plugin-file", path, "--dim", 9, "--dry-run").code == 0


def test_a_check_sees_the_resolved_config(vq, plugin_file):
    decay, weight = (
        "components['quantizer'].options.decay",
        "regularizers['entropy'].options.weight",
    )
    body = f"return [config.{decay}, config.{weight}]"
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


def test_a_check_that_fails_stops_no_run(vq, train, plugin_file):
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


def test_the_summary_of_every_command_fits_on_80_columns():
    """The list would cut a longer one, and mark that with dots."""
    listed = CliRunner().invoke(build_app(Registry()), ["--help"], env={"COLUMNS": "80"}).stdout
    _, _, commands = listed.partition("Commands:")
    assert "list-plugins" in commands
    assert "..." not in commands


def test_a_plugin_whose_commands_fail_removes_none_of_ours(plugin_file):
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


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RunError("x"), 1),
        (SettingError("dim", 0, "more"), 2),
        (UsageError("x"), 2),
        (ComponentError("x"), 3),
        (OSError("full"), 1),
    ],
)
def test_the_exit_code_of_an_error_is_that_of_every_process(error, code):
    elsewhere = pickle.loads(pickle.dumps(MainProcessError.of(error)))
    assert exit_code(elsewhere) == code
    assert str(elsewhere) == f"the main process failed: {type(error).__name__}: {error}"
    if not isinstance(error, OSError):
        assert exit_code(error) == code
