"""The hooks that follow a run, for plugins and callbacks; a plugin's mistake never ends a run."""

import json
import os
import pickle
import signal
import sys
from types import SimpleNamespace

import pytest
import torch
from typer.testing import CliRunner

from vq.cli.app import build_app, exit_code
from vq.config.resolved_config import check_config, resolve_config
from vq.training.launch import launch
from vqcore.errors import ComponentError, OtherProcessError, RunError, SettingError, UsageError
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
    return {"batch_mean": batch.mean(), "size": batch.shape[0], "folder": exists}
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
        "UsageError: vq_metrics returned name = 'text': expected a number",
    ),
    "vq_metrics(run)": (
        "return [1, 2]",
        "UsageError: vq_metrics returned [1, 2]: expected a mapping from names to numbers",
    ),
    "vq_metrics(run, batch )": (
        "return {'mean': batch.mean(), 'test_psnr': 99.0}",
        "UsageError: vq_metrics returned 'test_psnr': "
        "expected a name of its own: the run logs this one",
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
    ended = (run.path / "calls.txt").read_text()
    assert ended == "1 and then the end", "a plugin that failed was called again, or not at the end"


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


def test_two_plugins_with_a_metric_of_the_same_name(train, plugin_file):
    source = "@hookimpl\ndef vq_metrics():\n    return {{'mine': {}}}"
    paths = [plugin_file(f"metric_of_{n}", source.format(n)) for n in (1, 2)]
    run = train("--plugin-file", paths[0], "--plugin-file", paths[1])
    expected = f"a name of its own: plugin {paths[0]}:metric_of_1 logs this one"
    assert "metric_of_2 failed in vq_metrics and is not called again" in run.result.out
    assert f"vq_metrics returned 'mine': expected {expected}" in run.result.out
    assert [line["mine"] for line in run.metrics] == [1, 1]


#: What ends a run, and the status that every ``vq_run_end`` receives.
ENDS = {"in training": ("vq_step_end", "failed"), "at the end": ("vq_run_end", "done")}


@pytest.mark.parametrize("case", ENDS)
def test_every_end_is_called_once_whatever_fails(launched, plugin_file, tmp_path, caplog, case):
    """Callbacks before and after the one that fails, a plugin that failed, and one that did not."""
    hook, told = ENDS[case]

    class Failing:
        def fail(self, run):
            raise LookupError("my mistake")

    setattr(Failing, hook, Failing.fail)
    ends = []

    class Late:
        def vq_run_end(self, run, status):
            ends.append((type(self).__name__, status))
            raise OSError("a second mistake")

    source = """
ends = []
@hookimpl
def vq_run_start():
    {body}
@hookimpl
def vq_run_end(status):
    ends.append((__name__, status))
"""
    bodies = {"an_end_that_works": "pass", "an_end_after_a_failure": "raise ValueError('early')"}
    files = [plugin_file(name, source.format(body=body)) for name, body in bodies.items()]
    registry = Registry(files=files)
    for name in bodies:
        sys.modules[name].ends = ends
    recorder = Recorder()
    with pytest.raises(LookupError, match="my mistake"):
        launched(Failing(), recorder, Late(), registry=registry)
    assert recorder.events[-1] == ("end", told)
    assert ends == [("Late", told), *((name, told) for name in bodies)]
    assert "callback Late failed in vq_run_end: OSError: a second mistake" in caplog.text
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    assert (status["status"], status["error"]) == ("failed", "LookupError: my mistake")


# -- callbacks --------------------------------------------------------------


class Recorder:
    """A callback with every method; what happened is in ``events``."""

    def __init__(self):
        self.events = []

    def vq_run_start(self, run):
        self.events.append(("start", run.step, run.total_steps))

    def vq_metrics(self, run, batch):
        return {"mean": batch.mean()}

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


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ({"lr": 1.0}, "'lr': expected a name of its own: the run logs this one"),
        ({"test_of_mine": 1.0}, "'test_of_mine': expected a name of its own"),
        ({"entropy": 1.0}, "'entropy': expected a name of its own"),  # a loss of later steps
        ({"mine": "3"}, "mine = '3': expected a number"),
        ({"mine": torch.zeros(2)}, r"mine = tensor\(\[0., 0.\]\): expected a number"),
        (3.0, "3.0: expected a mapping from names to numbers"),
    ],
)
def test_a_metric_of_a_callback_that_is_refused(launched, answer, found):
    """At the first line, so that little training is lost."""
    values = {"regularizers": {"entropy": {"start": 3}}}
    with pytest.raises(UsageError, match=f"^callback SimpleNamespace: vq_metrics returned {found}"):
        launched(SimpleNamespace(vq_metrics=lambda: answer), **values)


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
    assert result.err.startswith(f"error: dim = 8: I like 9 better (plugin {path}:picky")
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
    named = f"(plugin {path}:a_reader)"
    assert result.err.split() == ["error:", "0.99", *named.split(), "0.1", *named.split()]


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        ("raise LookupError('where is it')", "LookupError: where is it (a_broken_check:"),
        ("yield 1 / 0", "ZeroDivisionError: division by zero (a_broken_check:"),
        ("raise SystemExit(0)", "SystemExit: 0 (a_broken_check:"),
        ("return 7", "TypeError: it returned 7, expected a list of sentences"),
    ],
)
def test_a_check_that_fails_does_not_count_as_valid(vq, plugin_file, tmp_path, body, cause):
    """A run that exists is read all the same: the check is one of what may start."""
    path = plugin_file("a_broken_check", CHECKS.format(body=body))
    result = vq("train", "--plugin-file", path, "--run-dir", "run")
    assert (result.code, (tmp_path / "run").exists()) == (3, False)
    assert f"failed in vq_check_config: {cause}" in result.err
    assert "; update the plugin" in result.err
    config = resolve_config({}, Registry(files=[path]))
    with pytest.raises(ComponentError, match="failed in vq_check_config"):
        check_config(config, Registry(files=[path]))


def test_a_setting_error_in_a_check_is_a_refusal(plugin_file):
    body = "from vqcore import SettingError; raise SettingError('dim', 8, 'more than 8')"
    registry = Registry(files=[plugin_file("a_raising_check", CHECKS.format(body=body))])
    with pytest.raises(UsageError, match=r"^dim = 8: expected more than 8 \(plugin .*a_raising"):
        check_config(resolve_config({}, registry), registry)


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
    help_text = invoke(path, "--help")[0].stdout
    assert "greet" in help_text
    assert "missing" not in help_text
    assert invoke(path, "train", "--dry-run")[0].exit_code == 0


def test_the_summary_of_every_command_fits_on_80_columns():
    """The list would cut a longer one, and mark that with dots."""
    listed = CliRunner().invoke(build_app(Registry()), ["--help"], env={"COLUMNS": "80"}).stdout
    _, _, commands = listed.partition("Commands:")
    assert "list-plugins" in commands
    assert "..." not in commands


def test_a_plugin_replaces_no_command_of_ours(plugin_file):
    path = plugin_file("a_taker", GREETS.replace("greet", "train"))
    result, registry = invoke(path, "train", "--help")
    assert "--manifold" in result.stdout
    (plugin,) = [plugin for plugin in registry.plugins if plugin.plugin == "a_taker"]
    assert (plugin.status, "vq_commands adds train" in plugin.error) == ("clash", True)


def test_a_command_of_two_plugins_is_refused_until_one_is_off(plugin_file):
    files = [plugin_file(name, GREETS) for name in ("a_greeter", "another_greeter")]
    for given in (files, files[::-1]):
        registry = Registry(files=given)
        result = CliRunner().invoke(build_app(registry), ["greet", "you", "--loudly"])
        assert isinstance(result.exception, ComponentError)
        assert "a_greeter.py" in str(result.exception)
        assert "another_greeter.py" in str(result.exception)
        assert {plugin.status for plugin in registry.plugins} == {"ok"}
    alone = Registry(files=files, disabled=["another_greeter"])
    assert CliRunner().invoke(build_app(alone), ["greet", "you"]).stdout == "hello you\n"


def test_a_plugin_whose_commands_fail_removes_none_of_ours(plugin_file):
    body = GREETS + "    raise OSError('no terminal')"
    path = plugin_file("a_spoiler", body)
    missing = "Commands may be missing. Not loaded: a_spoiler (vq list-plugins says why)."
    help_text = invoke(path, "--help")[0].stdout
    assert "greet" not in help_text
    assert missing in help_text
    assert f"No such command 'greet'. {missing}" in " ".join(
        invoke(path, "greet")[0].stderr.split()
    )
    result, registry = invoke(path, "train", "--dry-run")
    assert result.exit_code == 0
    assert "config is valid" in result.stdout
    (plugin,) = [plugin for plugin in registry.plugins if plugin.plugin == "a_spoiler"]
    assert plugin.status == "error"
    assert plugin.error == "vq_commands: OSError: no terminal (a_spoiler:9)"
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
    elsewhere = pickle.loads(pickle.dumps(OtherProcessError.of(error)))
    assert exit_code(elsewhere) == code
    assert str(elsewhere) == f"the main process failed: {type(error).__name__}: {error}"
    if not isinstance(error, OSError):
        assert exit_code(error) == code
