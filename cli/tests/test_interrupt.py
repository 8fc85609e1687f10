"""Signals: the first one saves and ends the run after its step; a second one ends it at once."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from vq.interrupt import Interrupt, Stop

ENDLESS = (
    "--epochs",
    10_000,
    "--backbone.hidden",
    8,
    "--set",
    "log_every=2",
    "--set",
    "checkpoint_every=1000000",
)
SIGNALS = ((signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129))
TWICE = """
import os, signal
@hookimpl
def vq_step_end(run, step, losses):
    if step == 6:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
"""


# -- real processes ---------------------------------------------------------


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """Runs, each sent a signal as soon as it has logged: folder, exit code and output."""
    folder = tmp_path_factory.mktemp("interrupted")
    command = [sys.executable, *("-m", "vq", "train"), *map(str, ENDLESS), "--run-dir"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    numbers = [number for number, _ in SIGNALS]
    started = {
        number: subprocess.Popen([*command, folder / number.name], **pipes) for number in numbers
    }
    watchdog = threading.Timer(3600, lambda: [process.kill() for process in started.values()])
    watchdog.start()
    try:
        ended = {}
        for number, process in started.items():
            read = []
            for line in process.stdout:
                read.append(line)
                if "  step 4/" in line:
                    break
            process.send_signal(number)
            rest, _ = process.communicate(timeout=3600)
            ended[number] = (folder / number.name, process.returncode, "".join(read) + rest)
        return ended
    finally:
        watchdog.cancel()
        for process in started.values():
            process.kill()


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_a_signal_saves_and_ends_the_run(interrupted, complete_run, resume, number, code):
    path, found, output = interrupted[number]
    assert found == code, output
    assert "Traceback" not in output
    assert f"interrupted; resume with: vq train --resume {path}" in output
    run = type(complete_run)(path, None)
    status = run.json("status")
    assert status["status"] == "interrupted"
    assert status["step"] >= 4
    assert run.json("summary")["steps"] == status["step"]
    assert run.checkpoint.name == f"step-{status['step']:08d}"
    assert (path / "curves.png").exists()
    last = status["step"] + 2
    again = resume(run, "--max-steps", last)
    assert again.json("status") == again.json("status") | {"status": "done", "step": last}
    assert again.steps == sorted(set(again.steps))
    assert again.steps[-1] == last


# -- the flag ---------------------------------------------------------------


@pytest.mark.parametrize("number", [number for number, _ in SIGNALS])
def test_a_first_signal_is_only_noted(number):
    before = signal.getsignal(number)
    with Interrupt() as interrupt:
        assert interrupt.number is None
        os.kill(os.getpid(), number)
        assert interrupt.number == number
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_stops_at_once(second):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    interrupt, went_on = Interrupt(), []

    def send_both():
        with interrupt:
            os.kill(os.getpid(), signal.SIGINT)
            went_on.append("after the first")
            os.kill(os.getpid(), second)
            went_on.append("after the second")

    with pytest.raises(KeyboardInterrupt):
        send_both()
    assert went_on == ["after the first"]
    assert interrupt.number == signal.SIGINT
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_hangup_that_nohup_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupt() as interrupt:
            os.kill(os.getpid(), signal.SIGHUP)
        assert interrupt.number is None
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [number for number, _ in SIGNALS])
def test_a_command_without_a_loop_stops_at_the_first_signal(number):
    before = signal.getsignal(number)
    stop = Stop()
    with pytest.raises(KeyboardInterrupt), stop:
        os.kill(os.getpid(), number)
    assert stop.number == number
    assert signal.getsignal(number) is before


def test_outside_the_main_thread_nothing_is_changed():
    before, seen = signal.getsignal(signal.SIGINT), []

    def enter():
        with Interrupt() as interrupt:
            seen.append((signal.getsignal(signal.SIGINT) is before, interrupt.number))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [(True, None)]


def test_a_run_stopped_at_once_keeps_its_last_checkpoint(train, resume, plugin_file):
    arguments = ("--set", "checkpoint_every=4", "--max-steps", 12)
    whole = train(*arguments, run="whole")
    run = train(*arguments, "--plugin-file", plugin_file("two_signals", TWICE), code=130)
    assert run.checkpoint.name == "step-00000004"
    ended = {"status": "interrupted", "step": 6, "error": "stopped at once, without saving step 6"}
    assert run.json("status") == run.json("status") | ended
    assert not (run.path / "summary.json").exists()
    assert "stopped at once, without saving step 6" in (run.path / "log.txt").read_text()
    source = run.path.parent / "plugin-files" / "two_signals.py"
    source.write_text(source.read_text().replace("== 6", "== 99"))
    sys.modules.pop("two_signals")
    assert resume(run).weights == whole.weights


def test_a_run_stopped_while_it_is_evaluated_says_that_it_was_saved(train, monkeypatch):
    def stopped(trainer):
        raise KeyboardInterrupt

    monkeypatch.setattr("vq.training.ending.sum_up", stopped)
    run = train("--max-steps", 2, code=130)
    assert "stopped at once, after saving step 2" in (run.path / "log.txt").read_text()
