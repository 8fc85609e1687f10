"""Sweeps: how values are split, which runs there are, and how failures and Ctrl-C are handled."""

import csv
import itertools
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from vq.config.resolved_config import resolve_config
from vq.runs.folder_lock import locked
from vq.sweeps import execute, places
from vq.sweeps.folder import SweepFolder, SweepRun
from vq.sweeps.grid import Options, Point, points, read_axes, split_values
from vq.sweeps.summary import groups, rows
from vqcore.plugin.registry import default_registry

OPTIONS = Options(frozenset(("--compile", "--no-compile")), {"--lr": "optimizer.lr"})
NUMBERS = ",".join(map(str, range(201)))
SHORT = ("--max-steps", 4, "--set", "backbone.hidden=8", "--codebook-size", 16)
ONCE = """
import os, pathlib, signal
@hookimpl
def vq_step_end(run, step, losses):
    sent = pathlib.Path({sent!r})
    if step == 3 and not sent.exists():
        sent.touch()
        os.kill(os.getpid(), signal.SIGINT)
"""


@pytest.fixture
def in_process(vq, without_plots, monkeypatch):
    """Runs of a sweep in this process: each would spend seconds on importing torch."""

    class Process:
        def __init__(self, command, *, stdout, env, **_options):
            assert command[1:3] == ["-m", "vq"]
            ended = vq(*command[3:])
            stdout.write((ended.out + ended.err).encode())
            self.returncode = ended.code

        def poll(self):
            return self.returncode

    monkeypatch.setattr(execute, "Popen", Process)
    return vq


def read(folder):
    return json.loads((Path(folder) / "sweep.json").read_text())


# -- words ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0.1", ["0.1"]),
        ("0.1, 0.25,", ["0.1", "0.25", ""]),
        ("[8,5,5],[4,4]", ["[8,5,5]", "[4,4]"]),
        ("{name: ema, decay: 0.9},codebook", ["{name: ema, decay: 0.9}", "codebook"]),
        ("[{a: [1,2], b: '],'}],2", ["[{a: [1,2], b: '],'}]", "2"]),
        ('"a,b",c', ['"a,b"', "c"]),
    ],
)
def test_where_one_value_ends(text, values):
    assert split_values(text) == values


def test_every_combination_the_last_fastest():
    words = [
        "--lr",
        "1,2",
        "--compile",
        "--set",
        "quantizer.decay=0.9,0.99",
        "--config",
        "a,b.yaml",
        "--seed=0,1",
    ]
    found = points(read_axes(words, OPTIONS))
    assert [point.name for point in found[:3]] == ["lr=1,decay=0.9,seed=0", "lr=1,decay=0.9,seed=1",
                                                   "lr=1,decay=0.99,seed=0"]  # fmt: skip
    assert len({point.name for point in found}) == len(found) == 8
    assert found[5].settings == {"optimizer.lr": "2", "quantizer.decay": "0.9"}
    assert found[5].seed == "1"
    expected = [
        "--lr",
        "2",
        "--compile",
        "--set",
        "quantizer.decay=0.9",
        "--config",
        "a,b.yaml",
        "--seed",
        "1",
    ]
    assert found[5].words == expected


def test_names_are_unique():
    found = points(read_axes(["--a.weight", "1,2", "--b.weight", "1,2"], OPTIONS))
    assert found[0].name == "a.weight=1,b.weight=1"
    same = points(read_axes(["--x.y", "[1],(1),{1}"], OPTIONS))
    assert [point.name for point in same] == ["y=1", "y=1~2", "y=1~3"]


def test_options_of_vq_train_are_all_swept(vq):
    result = vq(
        "sweep",
        "--dry-run",
        "--quantizer",
        "codebook,ema",
        "--dim",
        "4,8",
        "--regularizer",
        "entropy,homology",
    )
    assert result.code == 0, result
    assert result.out.startswith(
        "8 runs, all configs valid:\nquantizer=codebook,dim=4,regularizers=entropy\n"
    )
    assert not Path("sweeps").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "give a setting several values, as in --set quantizer.commitment_weight=0.1,0.25"),
        (("--lr", "1e-3"), 2, "nothing to sweep"),
        (("--lr", "1e-3,,2e-3"), 2, "optimizer.lr = '1e-3,,2e-3': an empty value among several"),
        (("--dim", "4,4"), 2, "dim = '4,4': a value given twice"),
        (
            ("--dim", "4,8", "--set", "dim=2,3"),
            2,
            "dim: given several times; give all values at once, as in dim=a,b",
        ),
        (("--seeds", "0,1", "--seed", "2"), 2, "--seed and --seeds: choose one"),
        (("--seeds", NUMBERS, "--dim", NUMBERS), 2, "40401 combinations, expected 10000 at most"),
        (("--seeds", "a"), 2, "--seeds 'a': expected whole numbers"),
        (("--seeds", "0,-1"), 2, "seed = -1: expected greater than or equal to 0"),
        (
            ("--quantizer", "ema,emma"),
            3,
            "quantizer = 'emma': no plugin provides it; did you mean 'ema'?",
        ),
        (("--dim", "4,four"), 2, "dim = 'four': expected a valid integer"),
        (
            ("--quantiser", "ema,codebook"),
            2,
            "--quantiser: no such option or argument; did you mean '--quantizer'?",
        ),
        (
            ("--dim", "4,8", "--print-config"),
            2,
            "--print-config: not an option of a run in a sweep",
        ),
        (("--dim",), 2, "--dim: expected a value after it"),
        (
            ("--resume", "none"),
            2,
            "--resume = 'none': expected the folder of a sweep, with a sweep.json in it",
        ),
        (
            ("--resume", "none", "--dim", "4,8"),
            2,
            "--resume continues a sweep with its own settings",
        ),
    ],
)
def test_a_mistake_is_reported_before_anything_starts(vq, arguments, code, message):
    result = vq("sweep", *arguments)
    assert (result.code, message in result.err) == (code, True), result
    assert not list(Path().iterdir())


def test_every_config_is_checked_before_the_first_run(vq):
    result = vq("sweep", "--dim", "4,0", "--run-dir", "there")
    assert (result.code, "dim = 0: expected greater than 0" in result.err) == (2, True)
    assert not Path("there").exists()


# -- runs -------------------------------------------------------------------


def test_a_failed_run_does_not_stop_the_others(in_process):
    result = in_process(
        "sweep", "--backbone", "patches", "--quantizer", "grouped",
        "--set", "quantizer.groups=3,2", "--seeds", "0,1", "--max-steps", 4,
        "--codebook-size", 16, "--run-dir", "s",
    )  # fmt: skip
    assert result.code == 1, result
    assert "2 of 4 runs are not done; try again with: vq sweep --resume s" in result.out
    found = read("s")
    assert [run["status"] for run in found["runs"]] == ["failed", "failed", "done", "done"]
    assert found["runs"][0]["error"].startswith(
        "quantizer.groups = 3: expected a divisor of dim = "
    )
    for run in found["runs"][2:]:
        folder = Path("s/runs") / run["name"]
        assert run["figures"] == json.loads((folder / "summary.json").read_text())
        assert f"seed: {run['seed']}" in (folder / "config.yaml").read_text()
    psnr = [run["figures"]["psnr"] for run in found["runs"][2:]]
    group = found["groups"][1]
    assert group["settings"] == {"quantizer.groups": "2"}
    assert group["mean"]["psnr"] == pytest.approx(sum(psnr) / 2)
    assert group["sd"]["psnr"] == pytest.approx(abs(psnr[0] - psnr[1]) / 2**0.5)
    table = list(csv.DictReader(Path("s/sweep.csv").read_text().splitlines()))
    assert [row["psnr"] for row in table] == ["", "", *map(str, psnr)]
    assert Path("s/sweep.md").read_text().splitlines()[2].startswith("| 3 | 0, 2 failed | - |")


def test_resuming(in_process, plugin_file, tmp_path):
    """The first run is interrupted, the second done; only the first is continued."""
    plugin = plugin_file("once", ONCE.format(sent=str(tmp_path / "sent")))
    options = ("--set", "checkpoint_every=2", "--set", "epochs=1", *SHORT, "--plugin-file", plugin)
    first = in_process("sweep", "--seeds", "0,1", *options, "--run-dir", "s")
    assert first.code == 1, first
    assert [run["status"] for run in read("s")["runs"]] == ["interrupted", "done"]
    before = Path("s/runs/seed=1/status.json").read_bytes()
    again = in_process("sweep", "--resume", "s")
    assert again.code == 0, again
    assert "2 runs, 1 of them done: s" in again.out
    assert [run["status"] for run in read("s")["runs"]] == ["done", "done"]
    assert Path("s/runs/seed=1/status.json").read_bytes() == before
    assert [
        json.loads(line)["step"]
        for line in Path("s/runs/seed=0/metrics.jsonl").read_text().splitlines()
    ] == [2, 3, 4]
    refused = in_process("sweep", "--seeds", "0,1", "--run-dir", "s")
    assert refused.code == 2
    assert "found files in it; choose another, or resume with: vq sweep --resume s" in refused.err


def test_the_command_of_a_run(tmp_path):
    config = resolve_config({}, default_registry())
    folder = SweepFolder.create(tmp_path / "s", [Point("a", {}, "0", [])], [config])
    (run,) = folder.runs
    path = folder.run(run)
    (path / "checkpoints").mkdir(parents=True)
    assert folder.command(run) == [
        "train",
        "--config",
        str(folder.config(run)),
        "--run-dir",
        str(path),
    ]
    assert not path.exists()  # nothing in it is of use, and a new run needs an empty folder
    path.mkdir()
    (path / "config.yaml").write_text("seed: 0\n")
    assert folder.command(run) == ["train", "--resume", str(path)]


def test_a_damaged_list_of_runs(vq, tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "sweep.json").write_text('{"format": 1, "runs": [{"nam')
    result = vq("sweep", "--resume", "s")
    assert (result.code, "sweep.json: damaged or not the file of a sweep" in result.err) == (
        1,
        True,
    )


#: Stands in for ``vq train``: counts signals, then ends as that does (see test_interrupt.py).
COUNTING = """
import pathlib, signal, sys, time
folder = pathlib.Path(sys.argv[sys.argv.index("--run-dir") + 1])
received = []
signal.signal(signal.SIGINT, lambda number, frame: received.append(number))
folder.mkdir()
(folder / "ready").touch()
while not received:
    time.sleep(0.01)
(folder / "signalled").touch()
while not (folder.parent / "polled").exists():  # the sweep would have sent a second signal by then
    time.sleep(0.01)
(folder / "received").write_text(str(len(received)))
sys.exit(130)
"""


def test_ctrl_c_reaches_every_process_once(vq, tmp_path, monkeypatch):
    """Two processes at a time, each in its own session; the third never starts."""
    folder, sessions, advanced = tmp_path / "s", [], []

    def start(command, **options):
        process = subprocess.Popen([sys.executable, "-c", COUNTING, *command[3:]], **options)
        sessions.append(os.getsid(process.pid))
        return process

    def stop_when_both_train():
        for _ in range(72_000):  # an hour
            if len(list(folder.glob("runs/*/ready"))) == 2:
                break
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    polls = itertools.count(1)

    def pause(seconds):
        time.sleep(seconds)
        if len(list(folder.glob("runs/*/signalled"))) == 2 and next(polls) == 3:
            (folder / "runs" / "polled").touch()

    monkeypatch.setattr(execute.Task, "advance", advanced.append)
    monkeypatch.setattr(execute, "Popen", start)
    monkeypatch.setattr(execute, "time", SimpleNamespace(sleep=pause, monotonic=time.monotonic))
    thread = threading.Thread(target=stop_when_both_train)
    thread.start()
    result = vq("sweep", "--seeds", "0,1,2", "--jobs", 2, "--run-dir", folder)
    thread.join()
    assert result.code == 130, result
    assert f"interrupted; resume with: vq sweep --resume {folder}" in result.out
    assert [run["status"] for run in read(folder)["runs"]] == [
        "interrupted",
        "interrupted",
        "waiting",
    ]
    assert [path.read_text() for path in folder.glob("runs/*/received")] == ["1", "1"]
    assert len({*sessions, os.getsid(0)}) == 3
    assert not advanced  # none has ended


def test_a_second_signal_leaves_no_process(vq, tmp_path, monkeypatch):
    started = []

    class Deaf:
        returncode = None

        def __init__(self, *_arguments, **_options):
            started.append(self)
            self.signals = []
            os.kill(os.getpid(), signal.SIGINT)

        def poll(self):
            return self.returncode

        def send_signal(self, number):
            self.signals.append(number)
            os.kill(os.getpid(), number)

        def kill(self):
            self.returncode = -9

    monkeypatch.setattr(execute, "Popen", Deaf)
    result = vq("sweep", "--seeds", "0,1", "--run-dir", tmp_path / "s")
    assert result.code == 130
    assert [(process.signals, process.returncode) for process in started] == [([signal.SIGINT], -9)]
    assert [run["status"] for run in read(tmp_path / "s")["runs"]] == ["interrupted", "waiting"]


# -- GPUs -------------------------------------------------------------------


@pytest.fixture
def with_gpus(vq, monkeypatch):
    """Runs that only note how many of them run beside each other, and what they are started with.

    The function that is returned sweeps with so many GPUs, and returns the environments by run.
    """

    class Process:
        returncode = 0

        def __init__(self, command, *, env, **_options):
            name = Path(command[command.index("--run-dir") + 1]).name
            seen[name] = (env.get("CUDA_VISIBLE_DEVICES"), env.get("OMP_NUM_THREADS"))
            running.append(self)
            together.append(len(running))
            self.polls = 0

        def poll(self):
            self.polls += 1
            if self.polls < 3:
                return None
            running.remove(self)
            return 0

    seen, running, together = {}, [], []

    def sweep(gpus, *arguments):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        monkeypatch.setattr(execute, "Popen", Process)
        result = vq("sweep", "--run-dir", "s", *arguments)
        assert result.code == 0, result
        return seen, max(together), result.out

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(places, "_cores", lambda: 8)
    return sweep


def test_each_run_has_a_gpu_of_its_own(with_gpus):
    seen, together, out = with_gpus(2, "--seeds", "0,1,2,3")
    assert together == 2
    assert sorted(gpu for gpu, _ in seen.values()) == ["0", "0", "1", "1"]
    assert {threads for _, threads in seen.values()} == {"4"}
    assert "seed=0: 0 s on GPU 0" in out


def test_more_runs_than_gpus_share_them(with_gpus):
    seen, together, _ = with_gpus(2, "--seeds", "0,1,2,3", "--jobs", 4)
    assert together == 4
    assert [seen[f"seed={seed}"][0] for seed in range(4)] == ["0", "1", "0", "1"]


def test_a_sweep_keeps_to_the_gpus_that_it_sees(with_gpus, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,GPU-7f3a")
    seen, _, out = with_gpus(2, "--seeds", "0,1")
    assert [seen[f"seed={seed}"][0] for seed in range(2)] == ["5", "GPU-7f3a"]
    assert "on GPU GPU-7f3a" in out


@pytest.mark.parametrize("device", ["cpu", "cuda:1"])
def test_a_device_that_the_user_chose_stays(with_gpus, device):
    seen, together, out = with_gpus(2, "--seeds", "0,1", "--device", device)
    assert (set(seen.values()), together) == ({(None, None)}, 1)
    assert "on GPU" not in out


def test_without_gpus_runs_share_the_cores(with_gpus):
    seen, together, _ = with_gpus(0, "--seeds", "0,1", "--jobs", 2)
    assert (set(seen.values()), together) == ({(None, "4")}, 2)


def test_a_list_is_not_markup(vq, tmp_path):
    run = SweepRun("a", {"trackers": "[tensorboard]"}, None, "done", None, {"psnr": 20.0})
    (tmp_path / "s").mkdir()
    SweepFolder(tmp_path / "s", [run]).write()
    result = vq("sweep", "--resume", "s")
    assert (result.code, "[tensorboard]" in result.out) == (0, True), result


# -- metrics ----------------------------------------------------------------


def test_mean_and_spread():
    def run(value, seed, psnr, status="done"):
        return SweepRun(
            "", {"a.b": value}, seed, status, None, {"psnr": psnr, "versions": {}} if psnr else None
        )

    runs = [
        run("1", "0", 20.0),
        run("1", "1", 22.0),
        run("1", "2", 27.0),
        run("2", "0", 30.0),
        run("2", "1", None, "failed"),
    ]
    first, second = groups(runs)
    assert first == {"settings": {"a.b": "1"}, "runs": 3, "failed": 0, "mean": {"psnr": 23.0},
                     "sd": {"psnr": pytest.approx(3.605551)}}  # fmt: skip
    assert (second["mean"], second["sd"], second["failed"]) == ({"psnr": 30.0}, {"psnr": None}, 1)
    assert rows([first, second]) == [
        ["a.b", "runs", "psnr"],
        ["1", "3", "23 ± 3.6"],
        ["2", "1, 1 failed", "30"],
    ]


# -- folders that anyone may have made --------------------------------------


def sweep_json(folder, *runs, **changes):
    """A sweep folder whose list of runs was edited."""
    for name in ("configs", "runs", "logs"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    good = {"name": "a", "settings": {}, "seed": None}
    values = {"format": 1, "runs": [good | run for run in runs], "groups": [], **changes}
    (folder / "sweep.json").write_text(json.dumps(values))
    return folder


@pytest.mark.parametrize(
    "name",
    ["../../victim", "/tmp/victim", "..", ".", "", "a/b", "a\\b", "a\0", "x" * 300, 7, None, []],
)
def test_a_name_that_leads_out_of_the_sweep_is_refused(vq, tmp_path, name):
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "thesis.txt").write_text("kept")
    sweep = sweep_json(tmp_path / "sweeps" / "one", {"name": name})
    result = vq("sweep", "--resume", sweep)
    assert result.code in (1, 2)
    assert "sweep.json" in result.err
    assert (victim / "thesis.txt").read_text() == "kept"
    assert not list((sweep / "logs").iterdir())


@pytest.mark.parametrize("linked", ["runs", "logs", "configs", "runs/a", "logs/a.txt"])
def test_a_link_that_leads_out_of_the_sweep_is_refused(vq, tmp_path, linked):
    sweep, victim = sweep_json(tmp_path / "sweep", {}), tmp_path / "victim"
    (victim / "a").mkdir(parents=True)
    (victim / "a" / "thesis.txt").write_text("kept")
    path = sweep / linked
    if path.is_dir():
        path.rmdir()
    path.symlink_to(victim)
    result = vq("sweep", "--resume", sweep)
    assert result.code == 2
    assert f"a folder that leads nowhere else, found the link {linked} in it" in result.err
    assert (victim / "a" / "thesis.txt").read_text() == "kept"
    assert [each.name for each in victim.iterdir()] == ["a"]


@pytest.mark.parametrize(
    "changes",
    [
        {"runs": 7}, {"runs": [7]}, {"runs": {"a": 1}}, {"format": "1" * 10_000}, {"runs": [{}]},
        {"runs": [{"name": "a", "settings": {"lr": 1}, "seed": None}]},
        {"runs": [{"name": "a", "settings": [], "seed": None}]},
        {"runs": [{"name": "a", "settings": {}, "seed": None, "figures": [1]}]},
        {"runs": [{"name": "a", "settings": {}, "seed": None, "owner": "me"}]},
        {"runs": 2 * [{"name": "a", "settings": {}, "seed": None}]},
    ],
)  # fmt: skip
def test_a_damaged_list_of_runs_is_refused_in_words(vq, tmp_path, changes):
    result = vq("sweep", "--resume", sweep_json(tmp_path / "sweep", **changes))
    assert result.code in (1, 2)
    assert "damaged" in result.err
    assert len(result.err) < 1000


def test_two_do_not_carry_out_one_sweep(vq, tmp_path):
    sweep = sweep_json(tmp_path / "sweep", {"status": "done", "figures": {"psnr": 20.0}})
    with locked(sweep, "--resume"):
        result = vq("sweep", "--resume", sweep)
    assert result.code == 2
    assert f"--resume = '{sweep}': expected a folder that no process is training" in result.err
    assert vq("sweep", "--resume", sweep).code == 0


def test_what_another_process_did_before_the_lock_is_seen(in_process, tmp_path):
    folder = SweepFolder.open(sweep_json(tmp_path / "sweep", {}))
    sweep_json(tmp_path / "sweep", {"status": "done"})  # meanwhile
    assert [run.status for run in execute.execute(folder, 1, print).runs] == ["done"]


def test_metrics_that_cannot_be_averaged_are_left_out():
    """Two perfect reconstructions, and summaries that somebody edited."""
    psnr = [math.inf, math.inf]
    odd = [10**400, True, "12", None, {}, math.nan]
    runs = [
        SweepRun(f"{i}", {}, str(i), "done", None, {"psnr": each, "odd": odd[i], "mse": 0.5})
        for i, each in enumerate([*psnr, *[math.inf] * 4])
    ]
    (group,) = groups(runs)
    assert group["mean"] == {"psnr": math.inf, "mse": 0.5}
    assert group["sd"] == {"psnr": None, "mse": 0.0}
