"""``vq doctor``: what it finds where something is broken, and that nothing breaks it."""

import json
import os
import re
from importlib import metadata
from pathlib import Path

import pytest
import typer
from rich.text import Text

from vq.cli.plugin_output import stdout_on_stderr
from vq.doctor import examine, probe, threads
from vq.doctor.anonymous import anonymous
from vq.doctor.extras import extras
from vq.doctor.plugins import plugins
from vq.doctor.storage import storage
from vq.doctor.torch_devices import TorchProbe
from vq.doctor.variables import variables
from vq.doctor.versions import versions
from vq.requirements import Unmet, described_extras, unmet
from vq.terminal import Terminal
from vqcore.plugin.loader import Plugin
from vqcore.plugin.registry import Registry, default_registry

KEYS = ["format", "status", "problems", "platform", "versions", "torch", "devices", "plugins"]
KEYS += ["threads", "storage", "extras", "environment"]
CPU = {"device": "cpu", "works": True, "precision": ["no", "bf16", "float64"]}
GPU = {"device": "cuda:0", "works": True, "precision": ["no", "bf16"], "name": "H100"}
ANSWERS = {
    "torch": {"facts": {"version": "2.15.0", "cuda": "13.2", "threads": 2}},
    "devices": {"facts": {"devices": [CPU, GPU]}},
    "triton": {"facts": {"version": "3.9.0"}},
    "torchvision": {"facts": {"version": "0.29.2"}},
}
NMS = "RuntimeError: operator torchvision::nms does not exist"


@pytest.fixture
def answers(monkeypatch):
    """A function that sets what torch says of itself, instead of importing it."""

    def put(**changed):
        monkeypatch.setattr(TorchProbe, "answers", ANSWERS | changed)

    put()
    monkeypatch.setattr("vq.doctor.torch_devices._nvidia", lambda: ("580.1", ["H100"]))
    return put


@pytest.fixture
def fake_torch(tmp_path, monkeypatch):
    """A function that writes the module that other processes import as torch."""

    def put(source):
        folder = tmp_path / "fakes"
        folder.mkdir()
        (folder / "torch.py").write_text(source)
        paths = filter(None, [str(folder), os.environ.get("PYTHONPATH")])
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))

    return put


def problems(finding):
    return [(each.severity, each.message, each.fix) for each in finding.problems]


# -- the command --------------------------------------------------------------


def test_without_problems_it_exits_with_0_and_has_the_promised_keys(vq, answers):
    result = vq("doctor", "--json")
    assert result.code == 0, result
    report = json.loads(result.out)
    assert list(report) == KEYS
    assert (report["format"], report["status"], report["problems"]) == (1, "ok", [])
    assert report["versions"]["vqcore"] == metadata.version("vqcore")
    assert report["torch"]["triton"] == "3.9.0"
    assert [row["device"] for row in report["devices"]] == ["cpu", "cuda:0"]
    assert {"plugin", "package", "version", "status", "error"} == set(report["plugins"][0])
    assert vq("doctor").out.startswith("no problems found\n")


def test_a_torch_that_cannot_be_imported_is_what_it_says_first(vq, fake_torch):
    fake_torch("raise ImportError('libcudart.so.13: no such file')")
    result = vq("doctor")
    assert result.code == 3
    first, *rest = result.out.splitlines()
    assert first == "broken: torch cannot be imported: ImportError: libcudart.so.13: no such file"
    assert rest[0].strip() == "fix: pip install --force-reinstall torch"
    assert "versions" in rest


def test_a_torch_that_ends_its_process_is_reported(vq, fake_torch):
    fake_torch("import os, sys\nprint('Illegal instruction', file=sys.stderr)\nos.abort()")
    result = vq("doctor", "--json")
    assert result.code == 3
    (problem,) = json.loads(result.out)["problems"]
    assert (problem["check"], problem["severity"]) == ("torch", "broken")
    assert "it ended the process (signal 6): Illegal instruction" in problem["message"]


def test_a_line_that_was_cut_off_is_left_out(fake_torch):
    fake_torch('import os\nos.write(3, b\'{"stage": "tor\'); os._exit(9)')
    answers = TorchProbe().answers
    assert list(answers) == ["torch"]
    assert answers["torch"]["error"] == "it ended the process (exit code 9)"


@pytest.mark.parametrize("width", ["40", "200"])
def test_the_text_fits_into_80_columns(answers, monkeypatch, capsys, width):
    from vq.cli.commands.doctor import doctor

    answers(torchvision={"error": NMS + " in a long message" * 9}, triton={"error": "x" * 300})
    monkeypatch.setenv("COLUMNS", width)
    with pytest.raises(typer.Exit) as ended:
        doctor()
    assert ended.value.exit_code == 3
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= min(int(width), 80)


def test_a_terminal_of_0_columns_shows_text_too(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "0")
    Terminal().print(Text("no problems found"))
    assert capsys.readouterr().out == "no problems found\n"


def test_a_check_that_fails_stops_no_other(answers, monkeypatch):
    def fail(_):
        raise ZeroDivisionError("in a check")

    monkeypatch.setattr(examine, "storage", fail)
    report = examine.examine(default_registry())
    assert list(report) == KEYS
    assert report["storage"] == {}
    (problem,) = report["problems"]
    assert problem["check"] == "storage"
    assert problem["message"] == "the check 'storage' failed: ZeroDivisionError: in a check"


def test_what_libraries_print_while_plugins_load_spoils_no_json(capfd):
    with stdout_on_stderr():
        os.write(1, b"from C\n")
    print("{}")
    assert capfd.readouterr() == ("{}\n", "from C\n")


# -- torch and devices --------------------------------------------------------


def test_the_stages_of_the_process_work_here():
    assert probe.STAGES["torch"]()["threads"] >= 1
    cpu = probe.STAGES["devices"]()["devices"][0]
    assert cpu["precision"] == ["no", "bf16", "float64"]


def test_a_torchvision_for_another_torch_is_broken(answers):
    answers(torchvision={"error": NMS})
    ((severity, message, fix),) = problems(TorchProbe().torch(Registry(discover=False)))
    assert severity == "broken"
    assert re.search(
        r"torchvision \S+ cannot be imported beside torch 2.15.0: RuntimeError", message
    )
    assert fix.endswith("pip install --force-reinstall torch torchvision")


def test_a_gpu_that_torch_cannot_use_is_a_warning_with_the_reason(answers):
    answers(devices={"facts": {"devices": [CPU]}, "warnings": ["the driver is too old"]})
    ((severity, message, _),) = problems(TorchProbe().devices(Registry(discover=False)))
    assert severity == "warning"
    assert message == "there is a GPU (H100, driver 580.1), but torch the driver is too old"
    answers(
        torch={"facts": {"version": "2.15.0+cpu", "cuda": None}},
        devices={"facts": {"devices": [CPU]}},
    )
    ((_, message, _),) = problems(TorchProbe().devices(Registry(discover=False)))
    assert message.endswith("but torch is built for the CPU alone")


def test_a_gpu_that_does_not_compute_is_broken(answers):
    failing = GPU | {"works": False, "error": "no kernel image"}
    answers(devices={"facts": {"devices": [CPU, failing]}})
    ((severity, message, _),) = problems(TorchProbe().devices(Registry(discover=False)))
    assert (severity, message) == ("broken", "cuda:0 (H100) does not compute: no kernel image")


# -- plugins and packages -----------------------------------------------------


def test_a_broken_plugin_has_its_cause_and_a_fix(tmp_path, monkeypatch, unloaded_modules):
    monkeypatch.setenv("VQ_DISABLE_PLUGINS", "homolgy")
    files = [tmp_path / "lacks_module.py", tmp_path / "fails.py"]
    for file, source in zip(files, ("import no_such_module", "1 / 0"), strict=True):
        file.write_text(source)
    finding = plugins(Registry(files=files))
    first, second, unknown = problems(finding)
    assert first[0] == second[0] == "broken"
    assert "ModuleNotFoundError: No module named 'no_such_module'" in first[1]
    assert "install the package of module 'no_such_module'" in first[2]
    assert "ZeroDivisionError" in second[1]
    assert "turn it off with vq -p no:fails" in second[2]
    assert unknown[0] == "warning"
    assert unknown[2] == "did you mean 'homology'?"


def test_a_half_removed_package_has_its_own_fix():
    registry = Registry(discover=False)
    registry.plugins.append(Plugin("half", "?", "?", status="error", error="no module 'half'"))
    ((_, _, fix),) = problems(plugins(registry))
    assert fix.startswith("remove what is left of its package, or install it again")


def test_what_a_package_requires_and_lacks_is_named(monkeypatch):
    required = {
        "mine": ["pluggy>=99", "absent-thing>=1", "typer; extra == 'more'", "odd ~ line"],
        "yours": ["mine[more,most]>=0; extra == 'all'", "typer<0; extra == 'most'"],
    }
    versions = {"pluggy": "1.7", "typer": "0.27", "mine": "1"}

    def version(name):
        if name not in versions:
            raise metadata.PackageNotFoundError
        return versions[name]

    monkeypatch.setattr(metadata, "requires", lambda name: required.get(name))
    monkeypatch.setattr(metadata, "version", version)
    assert list(map(str, unmet("mine"))) == [
        "requires pluggy>=99, and 1.7 is installed",
        "requires absent-thing>=1, which is not installed",
    ]
    assert list(unmet("mine", "more")) == list(unmet("yours")) == list(unmet("yours", "all")) == []
    required["mine"].append("typer<0.1; extra == 'most'")
    lacking = ["requires typer<0.1, and 0.27 is installed"]
    versions["half-removed"] = None
    required["half-user"] = ["half-removed"]
    assert list(unmet("half-user")) == [Unmet("half-removed", None)]
    assert list(map(str, unmet("yours", "all"))) == lacking
    required["mine"].append("mine[most]; extra == 'most'")  # extras that name each other
    assert list(map(str, unmet("yours", "all"))) == lacking


def test_what_is_turned_off_may_lack_something(monkeypatch):
    lacking = {"vqcore-ema": [Unmet("absent-thing>=1", None)]}
    monkeypatch.setattr("vq.doctor.versions.unmet", lambda package: lacking.get(package, []))
    ((severity, message, _),) = problems(versions(Registry()))
    assert (severity, message.split()[0]) == ("broken", "vqcore-ema")
    finding = versions(Registry(disabled=["ema"]))
    assert not finding.problems
    assert "vqcore-ema" in finding.facts


def test_every_extra_of_ours_says_what_it_gives():
    readme = Path(__file__).parents[1] / "README.md"
    described = described_extras(readme.read_text(encoding="utf-8"))
    assert set(described) == set(metadata.metadata("vq-cli").get_all("Provides-Extra"))
    rows = {row["extra"]: row for row in extras(default_registry()).facts}
    assert rows["vq-cli[onnx]"]["missing"] == []
    assert rows["vq-cli[onnx]"]["installed"]


# -- threads, storage, variables ----------------------------------------------


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({"cpu.max": "250000 100000\n"}, 2.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 0.5),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({}, None),
    ],
)
def test_the_limit_of_a_container_is_read(tmp_path, files, limit):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert threads.cgroup_limit(tmp_path) == limit


@pytest.mark.parametrize(("value", "has_effect"), [("0", 0), ("two", 0), ("-1", 0), (" 2,1 ", 1)])
def test_an_invalid_number_of_threads_is_a_warning(monkeypatch, value, has_effect):
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    found = problems(threads.threads(None))
    assert len(found) == 1 - has_effect
    if found:
        text = f"OMP_NUM_THREADS = '{value}' has no effect: expected a number of threads"
        assert found[0][:2] == ("warning", text)
        assert found[0][2].startswith("set OMP_NUM_THREADS=")


def test_more_threads_than_processors_are_a_warning(monkeypatch):
    monkeypatch.setattr(threads, "cgroup_limit", lambda: 2.0)
    monkeypatch.setattr(threads, "_allowed", lambda: 64)
    ((severity, message, fix),) = problems(threads.threads(64))
    assert severity == "warning"
    assert message == "torch takes 64 threads, and this process may use 2 processors"
    assert fix == "set OMP_NUM_THREADS=2"
    assert not threads.threads(2).problems
    assert not threads.threads(None).problems


def test_a_place_that_cannot_be_written_is_broken(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(
        "shutil.disk_usage", lambda _: type("", (), {"free": 2**28, "total": 2**26})
    )
    found = problems(storage(Registry(discover=False)))
    (broken,) = [each for each in found if each[0] == "broken"]
    assert broken[1].startswith(f"state: {tmp_path}/file/vq cannot be written: ")
    assert "XDG_STATE_HOME" in broken[2]
    warned = [message for severity, message, _ in found if severity == "warning"]
    assert f"runs: {tmp_path}/runs has 0.2 GiB left" in warned
    assert "/dev/shm has 0.062 GiB, through which data workers pass their batches" in warned


def test_a_missing_home_and_an_unusable_tmpdir_are_named(tmp_path, monkeypatch):
    def fail():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", fail)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "missing"))
    state, temporary = (each.message for each in storage(Registry(discover=False)).problems)
    assert state == "state: no folder: RuntimeError: Could not determine home directory."
    assert temporary.endswith(
        "missing' is not used: it cannot be written: No such file or directory"
    )


def test_a_misspelt_variable_is_a_warning_and_no_secret_is_shown(monkeypatch):
    monkeypatch.setenv("VQ_DISABLE_PLUGIN", "homology")
    monkeypatch.setenv("VQ_TOKEN_OF_MINE", "hf_secret")
    monkeypatch.setenv("VQ_DEBUG", "1")
    finding = variables(Registry(discover=False))
    assert finding.facts["VQ_DEBUG"] == "1"
    assert "secret" not in str(finding)
    ((_, message, fix),) = problems(finding)
    assert message == "VQ_DISABLE_PLUGIN is set, which vq does not read"
    assert fix == "did you mean 'VQ_DISABLE_PLUGINS'?"


def test_the_name_and_the_home_of_a_user_are_left_out(monkeypatch):
    monkeypatch.setenv("HOME", "/home/alice")
    monkeypatch.setattr("getpass.getuser", lambda: "alice")
    values = {"a": ["/home/alice/runs", "/data/alice", "no /home/alice2, alice"], "n": 1}
    shown = {"a": ["~/runs", "/data/USER", "no /home/alice2, alice"], "n": 1}
    assert anonymous(values) == shown
