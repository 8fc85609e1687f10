"""What hooks receive: the Protocols, reserved names, and the folder for what plugins write."""

import inspect
import re
from pathlib import Path

import pytest

import vq as api
from vq.runs.folder import RunFolder
from vq.training.callbacks.log_metrics import LogMetrics
from vq_report.comparison import compare
from vq_report.reported_run import ReportedRun
from vqcore.errors import RunError, SettingError, UsageError
from vqcore.plugin import hooks, protocols
from vqcore.plugin.reserved import RESERVED_METRICS, RESERVED_PREFIXES, is_reserved

PAGE = Path(__file__).parents[2] / "docs" / "plugins" / "hooks.md"
TEXT = PAGE.read_text(encoding="utf-8")
PROTOCOLS = [
    each for each in vars(protocols).values() if getattr(each, "_is_protocol", False)
]  # fmt: skip
#: Arguments that are no Protocol of ours: tensors, and what Python has.
PLAIN = ("Tensor", "int", "Mapping[str, Tensor]", "Mapping[str, Any]", "Literal")


def members(protocol):
    return [name for name in dir(protocol) if not name.startswith("_")]


# -- the Protocols ---------------------------------------------------------------


def test_every_argument_of_a_hook_is_typed():
    known = (*(each.__name__ for each in PROTOCOLS), *PLAIN)
    for name in (name for name in vars(hooks) if name.startswith("vq_")):
        for argument in inspect.signature(getattr(hooks, name)).parameters.values():
            assert str(argument.annotation).startswith(known), f"{name}({argument})"


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda each: each.__name__)
def test_every_member_is_described_in_the_code_and_on_the_page(protocol):
    for name in members(protocol):
        member = inspect.getattr_static(protocol, name)
        assert inspect.getdoc(getattr(member, "fget", member)), name
        assert re.search(rf"`{name}[`(]", TEXT), f"{PAGE.name} lacks {protocol.__name__}.{name}"


class Reader:
    """Reads all that a run has by its Protocol."""

    read = ()

    def vq_run_start(self, run):
        found = [getattr(run, name) for name in members(protocols.TrainingRun)]
        found += [getattr(run.config, name) for name in members(protocols.ResolvedConfig)]
        found += [getattr(run.folder, name) for name in members(protocols.RunFolder)]
        self.read = [*found, run.optimizer.param_groups[0]["lr"], len(run.train_split)]


def test_a_run_in_training_and_one_in_a_report_have_all_members(tmp_path):
    reader = Reader()
    run = api.train(
        backbone={"name": "mlp", "hidden": 8}, max_steps=1, eval_samples=64, callbacks=[reader],
        run_dir=tmp_path / "run",
    )  # fmt: skip
    assert len(reader.read) > 20
    reported = ReportedRun(compare(run.folder.path).runs[0])
    for name in members(protocols.ReportedRun):
        assert getattr(reported, name) is not None


# -- reserved names ----------------------------------------------------------------


def test_reserved_names_are_those_that_are_refused_and_documented():
    for name in (*RESERVED_METRICS, "test_psnr", "level2_perplexity", "homology"):
        assert is_reserved(name, ["homology"]), name
    for name in ("homology", "batch_mean", "level_2", "testing", "latest_loss"):
        assert not is_reserved(name), name
    for name in (*RESERVED_METRICS, *RESERVED_PREFIXES):
        assert f"`{name}`" in TEXT or f"`{name}..." in TEXT, name
    assert "is_reserved" in inspect.getsource(inspect.getmodule(LogMetrics))


# -- the folder of a plugin ----------------------------------------------------------


def test_a_plugin_writes_into_a_folder_of_its_own(tmp_path):
    folder = RunFolder(tmp_path).plugin("sqlite-log")
    assert folder.path == tmp_path / "plugins" / "sqlite-log"
    folder.append("log.txt", "a\n")
    folder.append("log.txt", "b\n")
    folder.write("final.bin", b"\0")
    assert {p.name: p.read_bytes() for p in folder.path.iterdir()} == {
        "log.txt": b"a\nb\n", "final.bin": b"\0",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["", "..", "a/b", "/tmp", "a\0b", 3])
def test_a_name_that_leads_elsewhere_is_refused(tmp_path, name):
    with pytest.raises(UsageError, match=r"run.folder.plugin: name = .*expected a plain name"):
        RunFolder(tmp_path).plugin(name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("linked", ["plugins", "plugins/mine"])
def test_a_link_in_its_place_is_not_followed(tmp_path, linked):
    elsewhere, run = tmp_path / "elsewhere", tmp_path / "run"
    elsewhere.mkdir()
    (run / linked).parent.mkdir(parents=True)
    (run / linked).symlink_to(elsewhere)
    with pytest.raises(RunError, match=f"{linked} cannot be written: it is a symbolic link"):
        RunFolder(run).plugin("mine")
    with pytest.raises(SettingError, match=f"found the link {linked} in it"):
        RunFolder(run).check_links()
    assert not list(elsewhere.iterdir())


def test_reading_makes_no_folder_and_writing_does(tmp_path):
    folder = RunFolder(tmp_path).plugin("mine")
    assert not folder.path.exists()
    assert not list(tmp_path.iterdir())
    (tmp_path / "plugins").touch()
    with pytest.raises(RunError, match=r"plugins/mine cannot be written: Not a directory"):
        folder.append("a", "")
    (tmp_path / "plugins").unlink()
    folder.append("a", "1")
    assert (folder.path / "a").read_text() == "1"


def test_what_a_killed_process_left_there_is_removed(tmp_path):
    folder = RunFolder(tmp_path)
    folder.plugin("mine").write("notes.json", b"")
    left = folder.plugin("mine").path / ".notes.json.0123456789abcdef.tmp"
    left.touch()
    folder.plugin("mine").write("notes.json", b"{}")
    folder.remove_leftovers()
    assert [path.name for path in left.parent.iterdir()] == ["notes.json"]
