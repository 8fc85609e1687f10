"""Whatever loads a folder that this user did not make runs no code of it, unless told to."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

import vq as api
from vq.cli.app import COMMANDS as OURS
from vq.composition import compose
from vq.config.config_file import read_config
from vq.config.resolved_config import resolve_config
from vq.runs import trust
from vq.sweeps.folder import SweepFolder
from vq.sweeps.grid import points, python_axes
from vqcore.errors import ComponentError, UsageError
from vqcore.plugin.registry import default_registry

#: Every command that loads a run, and its exit code where a component is missing.
COMMANDS = {
    "evaluate": (["evaluate", "RUN"], 3),
    "encode": (["encode", "RUN", "images.npy", "-o", "out"], 3),
    "encode-split": (["encode", "RUN", "test", "-o", "out"], 3),
    "decode": (["decode", "RUN", "tokens.npy", "-o", "out"], 3),
    "export": (["export", "RUN", "-o", "out"], 3),
    "push": (["push", "RUN", "--to-folder", "out"], 3),
    "prior": (["prior", "RUN"], 3),
    "sample": (["sample", "RUN"], 3),
    "probe": (["probe", "RUN"], 3),
    "report": (["report", "RUN"], 0),  # what cannot be loaded is left out, with the reason
    "resume": (["train", "--resume", "RUN"], 2),
}
FUNCTIONS = {
    "load": lambda run, **trust: api.load(run, **trust),
    "load_run": lambda run, **trust: api.load_run(run, **trust),
    "from_pretrained": lambda run, **trust: api.from_pretrained(run, **trust),
    "train": lambda run, **trust: api.train(resume=run, **trust),
}


def changed(run, **settings):
    """Write settings into a run's config."""
    file = run.path / "config.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | settings, sort_keys=False))
    return run


@pytest.fixture
def received(vq, copied_run, tmp_path, monkeypatch):
    """A run with a plugin file in it, which writes ``mark`` when it runs, and then fails."""
    monkeypatch.chdir(copied_run.path)
    evil = copied_run.path / "evil.py"
    evil.write_text(f"open({str(tmp_path / 'mark')!r}, 'w').close()\nraise SystemExit('it ran')\n")
    np.save("images.npy", np.zeros((2, 1, 8, 8), np.float32))
    np.save("tokens.npy", np.zeros((2, 4, 4), np.int64))
    Path("prior").mkdir()  # sample looks for one before it loads the run
    return changed(copied_run, plugin_files=["evil.py"], manifold={"name": "evil.py/space"})


def test_the_table_has_every_command_that_loads_a_run():
    tested = {words[0] for words, _ in COMMANDS.values()}
    assert tested == {*OURS, "prior", "sample", "probe", "report"} - {"sweep"}


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_runs_the_plugin_file_of_a_received_run(command, received, vq, tmp_path):
    words, code = COMMANDS[command]
    words = [str(received.path) if word == "RUN" else word for word in words]
    result = vq(*words)
    assert result.code == code, result
    assert not (tmp_path / "mark").exists()
    answer = result.err if code else (received.path / "report.html").read_text()
    assert "evil.py" in answer
    assert "--trust-plugins" in answer
    trusting = vq(*words, "--trust-plugins")
    assert (tmp_path / "mark").exists()
    assert "it ran" in trusting.err or not code


@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_function_runs_the_plugin_file_of_a_received_run(name, received, tmp_path):
    error = UsageError if name == "train" else ComponentError
    with pytest.raises(error, match=r"evil\.py.*trust_plugins=True"):
        FUNCTIONS[name](received.path)
    assert not (tmp_path / "mark").exists()
    with pytest.raises(ComponentError, match="it ran"):
        FUNCTIONS[name](received.path, trust_plugins=True)
    assert (tmp_path / "mark").exists()


def test_comparing_runs_loads_nothing(received, vq, tmp_path):
    assert vq("compare", received.path, received.path).code == 0
    assert not (tmp_path / "mark").exists()


def test_plugin_files_that_a_model_does_not_need_are_left_alone(received, vq, tmp_path):
    changed(received, manifold="poincare")
    result = vq("encode", received.path, "images.npy", "-o", "out")
    assert result.code == 0, result
    assert not (tmp_path / "mark").exists()
    assert vq("train", "--resume", received.path).code == 2  # it might be another run without


# -- runs that this user made here ------------------------------------------

PLUGIN = """
def make(**options):
    from vq_hyperbolic.poincare import Poincare
    return Poincare(**options)


@hookimpl
def vq_manifolds():
    config = "vq_hyperbolic.hyperbolic_config:HyperbolicConfig"
    return [ComponentSpec(name="space", target="my_space:make", config=config, summary="a space")]
"""


@pytest.fixture
def own(train, plugin_file, unloaded_modules):
    file = plugin_file("my_space", PLUGIN)
    return train("--plugin-file", file, "--manifold", "space", "--max-steps", 2)


def evaluated(vq, path, *arguments):
    result = vq("evaluate", path, "--json", *arguments)
    assert result.code in (0, 3), result
    return result.code == 0


def test_a_run_is_trusted_where_its_user_made_it(own, vq, tmp_path, monkeypatch):
    config = read_config(own.path / "config.yaml")
    assert config["plugin_files"] == [str(tmp_path / "plugin-files" / "my_space.py")]
    assert config["manifold"]["name"] == "my_space.py/space"
    assert evaluated(vq, own.path)
    moved = shutil.move(own.path, tmp_path / "moved")
    monkeypatch.chdir("/")
    assert evaluated(vq, moved)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "of another user"))
    assert not evaluated(vq, moved)
    assert evaluated(vq, moved, "--trust-plugins")


def test_a_changed_config_is_not_trusted_and_resuming_signs_it(own, vq, resume):
    changed(own, log_every=3)
    assert not evaluated(vq, own.path)
    assert vq("train", "--resume", own.path, "--max-steps", 4).code == 2
    resume(own, "--max-steps", 4, "--trust-plugins")
    assert evaluated(vq, own.path)


def test_a_plugin_file_named_in_the_call_needs_no_trust(own, vq, plugin_file):
    (own.path / trust.SIGNATURE).unlink()  # as of a run that is older than signatures
    file = plugin_file("my_space", PLUGIN)
    result = vq("train", "--resume", own.path, "--plugin-file", file, "--max-steps", 4)
    assert result.code == 0, result
    assert evaluated(vq, own.path)


def test_relative_plugin_files_of_a_config_become_absolute(train, plugin_file, vq, tmp_path):
    plugin_file("my_space", PLUGIN)
    (tmp_path / "c.yaml").write_text("plugin_files: [plugin-files/my_space.py]\nmanifold: space\n")
    run = train("--config", "c.yaml", "--max-steps", 2)
    config = read_config(run.path / "config.yaml")
    assert config["plugin_files"] == [str(tmp_path / "plugin-files" / "my_space.py")]


@pytest.mark.parametrize("command", [["train"], ["sweep", "--seeds", "0,1"]])
def test_trust_without_resume_is_refused(command, vq):
    result = vq(*command, "--trust-plugins", "--dry-run")
    assert result.code == 2
    assert "only with --resume" in result.err


# -- downloads and trackers --------------------------------------------------


def test_the_download_of_a_received_run_is_not_followed(copied_run, vq, tmp_path, monkeypatch):
    from torchvision.datasets import MNIST

    monkeypatch.setattr(MNIST, "download", lambda self: (_ for _ in ()).throw(OSError("it loads")))
    root = tmp_path / "victim"
    dataset = {"name": "vq-cli/mnist", "download": True, "root": str(root)}
    changed(copied_run, dataset=dataset)
    run = api.load_run(copied_run.path)
    assert run.config.components["dataset"].options.download is False
    result = vq("evaluate", copied_run.path)
    assert result.code == 2
    assert "dataset.download = True" in result.err + result.out
    assert "--trust-plugins" in result.err + result.out
    assert not root.exists()
    assert "it loads" in vq("evaluate", copied_run.path, "--trust-plugins").err


def test_a_download_is_left_out_wherever_it_stands():
    listed = {"regularizers": [{"name": "far", "download": True}]}
    assert trust.restricted(listed) == {"regularizers": [{"name": "far", "download": False}]}
    values = {
        "backbone": {"name": "timm", "download": "yes"},
        "quantizer": {"inner": {"download": 1}},
    }
    kept = trust.restricted(values)
    assert kept == {
        "backbone": {"name": "timm", "download": False},
        "quantizer": {"inner": {"download": False}},
    }


def test_trackers_of_a_received_run_send_nothing(copied_run):
    changed(copied_run, trackers=["wandb", "tensorboard"])
    resolved, _ = compose({}, resume=copied_run.path)
    assert resolved.settings.trackers == ["tensorboard"]
    resolved, _ = compose({"trackers": ["wandb"]}, resume=copied_run.path)
    assert resolved.settings.trackers == ["wandb"]
    resolved, _ = compose({}, resume=copied_run.path, trust_plugins=True)
    assert resolved.settings.trackers == ["wandb", "tensorboard"]


def test_a_published_folder_names_no_plugin_files_and_downloads_nothing(vq, complete_run, tmp_path):
    assert vq("push", complete_run.path, "--to-folder", "pushed").code == 0
    evil = tmp_path / "evil.py"
    evil.write_text(f"open({str(tmp_path / 'mark')!r}, 'w').close()\n")
    file = tmp_path / "pushed" / "config.json"
    values = json.loads(file.read_text())
    values["config"]["plugin_files"] = [str(evil)]
    values["config"]["dataset"] = {"name": "mnist", "download": True, "root": "victim"}
    file.write_text(json.dumps(values))
    for trusting in (False, True):
        api.from_pretrained("pushed", trust_plugins=trusting)
    assert not (tmp_path / "mark").exists()
    values["config"]["backbone"]["download"] = True
    file.write_text(json.dumps(values))
    with pytest.raises(UsageError, match=r"backbone\.download"):  # conv has no such option
        api.from_pretrained("pushed")


# -- sweeps ------------------------------------------------------------------


def test_a_received_sweep_is_not_carried_out(tmp_path, plugin_file, monkeypatch, vq):
    config = resolve_config({"plugin_files": ["evil.py"]}, default_registry())
    found = points(python_axes({"seed": [0, 1]}))
    made = SweepFolder.create(tmp_path / "sweep", found, [config, config])
    opened = SweepFolder.open(made.path)
    assert not opened.trusted
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "other"))
    with pytest.raises(UsageError, match=r"evil\.py.*--trust-plugins"):
        SweepFolder.open(made.path)
    assert vq("sweep", "--resume", made.path).code == 2
    trusting = SweepFolder.open(made.path, trust_plugins=True)
    shutil.copytree(made.path / "configs", tmp_path / "sweep" / "runs" / trusting.runs[0].name)
    (trusting.run(trusting.runs[0]) / "config.yaml").write_text("{}")
    assert trusting.command(trusting.runs[0])[-1] == "--trust-plugins"
    SweepFolder.open(made.path)  # signed now


def test_processes_of_a_sweep_import_nothing_from_the_working_directory(tmp_path, monkeypatch):
    seen = []

    class Process:
        returncode = 1

        def __init__(self, command, *, env, **_):
            seen.append(env["PYTHONSAFEPATH"])

        def poll(self):
            return 1

    monkeypatch.setattr("vq.sweeps.execute.Popen", Process)
    api.sweep({"seed": [0, 1]}, run_dir=tmp_path / "sweep")
    assert seen == ["1", "1"]


# -- the key -----------------------------------------------------------------


@pytest.fixture
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "vq"


def test_the_key_is_private_and_made_once(state, tmp_path):
    trust.sign(tmp_path, {"seed": 1})
    key = state / "signing-key"
    assert (key.stat().st_mode & 0o777, len(key.read_bytes())) == (0o600, 32)
    assert key.parent.stat().st_mode & 0o777 == 0o700
    before = key.read_bytes()
    trust.sign(tmp_path, {"seed": 2})
    assert key.read_bytes() == before
    assert os.listdir(state) == ["signing-key"]
    assert trust.is_signed(tmp_path, {"seed": 2})
    assert not trust.is_signed(tmp_path, {"seed": 1})
    assert before.hex() not in (tmp_path / trust.SIGNATURE).read_text()


def test_a_key_that_others_could_know_signs_nothing(state, tmp_path):
    trust.sign(tmp_path, {})
    key = state / "signing-key"
    key.chmod(0o644)
    assert not trust.is_signed(tmp_path, {})
    key.chmod(0o600)
    assert trust.is_signed(tmp_path, {})
    key.rename(state / "moved")
    key.symlink_to("moved")
    assert not trust.is_signed(tmp_path, {})
    trust.sign(tmp_path, {})
    assert not (tmp_path / trust.SIGNATURE).exists()


def test_without_a_place_for_the_key_nothing_is_signed(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    trust.sign(tmp_path, {})
    assert not (tmp_path / trust.SIGNATURE).exists()
    monkeypatch.setenv("XDG_STATE_HOME", "relative")  # else the working directory would decide
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    trust.sign(tmp_path, {})
    assert trust.is_signed(tmp_path, {})
    assert not (tmp_path / "relative").exists()


@pytest.mark.parametrize("values", [{1: 2, "a": 3}, {"a": float("nan")}, {"a": ["\ud800"]}])
def test_odd_settings_and_signatures_are_answered(values, state, tmp_path):
    trust.sign(tmp_path, {})
    trust.is_signed(tmp_path, values)
    (tmp_path / trust.SIGNATURE).unlink()
    os.mkfifo(tmp_path / trust.SIGNATURE)  # waiting for it would hang
    assert not trust.is_signed(tmp_path, values)


def test_a_config_that_contains_itself_is_not_signed(state, tmp_path):
    trust.sign(tmp_path, {})
    values = {}
    values["a"] = values
    assert not trust.is_signed(tmp_path, values)
