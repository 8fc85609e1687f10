"""What people see of work: live lines on a terminal, lines with the time elsewhere."""

import io
import logging
import re
import time
from types import SimpleNamespace

import pytest

from vq import display
from vq.cli.console import ConsoleHandler, shown_by
from vq.display import Display
from vq.progress import in_words, working
from vq.terminal import Terminal
from vq.training.callbacks.log_metrics import progress_line
from vq.training.callbacks.show_progress import ShowProgress
from vq.training.log_file import log_file, log_level

LOG = logging.getLogger("vq.training")
LINE = {
    "step": 40,
    "loss": 0.12345,
    "reconstruction": 0.1,
    "perplexity": 51.5,
    "test_psnr": 20.25,
    "images_per_second": 100.4,
}
TEXT = (
    "step 40/60  loss 0.1235  reconstruction 0.1  perplexity 51.5  test_psnr 20.25  100 samples/s"
)
STAMP = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  ", re.MULTILINE)


def terminal(*, live, width=120):
    """A console and what it prints; without the time that lines have elsewhere."""
    out = io.StringIO()
    console = Terminal(file=out, force_terminal=live, width=width, _environ={})
    return console, lambda: STAMP.sub("", out.getvalue())


def a_run(step=38):
    return SimpleNamespace(
        step=step,
        total_steps=60,
        settings=SimpleNamespace(
            batch_size=100, eval_every=20, checkpoint_every=30, sample_every=60
        ),
        sampler=SimpleNamespace(steps_per_epoch=20),
        model=SimpleNamespace(codebook_size=64),
        period=lambda every: every,
    )


def shown(*, live, width=120):
    """What a run of 60 steps shows that resumes at step 38 and logs step 40."""
    console, printed = terminal(live=live, width=width)
    run = a_run()
    with Display(console) as screen:
        progress = ShowProgress(screen)
        progress.vq_run_start(run)
        for run.step in (39, 40):
            progress.vq_step_end()
        progress.vq_log(run, LINE)
        if live:
            console.print(progress)
        progress.vq_run_end()
    return printed()


# -- a run --------------------------------------------------------------------


def test_the_line_of_a_log_step():
    assert progress_line(LINE, 60) == TEXT


def test_a_line_where_there_is_no_terminal():
    assert shown(live=False) == f"{TEXT}  20 s left\n"


@pytest.mark.parametrize("width", [60, 80, 140])
def test_two_lines_on_a_terminal(width):
    printed = shown(live=True, width=width)
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", printed)
    bar, fields = [line for line in text.splitlines() if line][-2:]
    assert bar.startswith("epoch 2.00/3.00  ")
    assert bar.endswith("  step 40/60")  # it is over
    assert "step 40/60  20 s left" in text
    assert fields == "loss 0.1235  psnr 20.25  perplexity 52/64  100 samples/s"
    assert len(bar) <= width
    assert "\x1b[" in printed
    assert TEXT not in printed


def test_what_fits_on_a_narrow_terminal():
    printed = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown(live=True, width=30))
    assert all(len(line) <= 30 for line in printed.splitlines())
    assert "loss 0.1235  psnr 20.25" in printed
    assert "perplexity" not in printed


def test_lines_on_a_terminal_that_cannot_move_its_cursor():
    out = io.StringIO()
    dumb = Terminal(file=out, force_terminal=True, width=120, _environ={"TERM": "dumb"})
    with Display(dumb) as screen:
        progress, run = ShowProgress(screen), a_run(step=40)
        progress.vq_run_start(run)
        progress.vq_log(run, LINE)
        progress.vq_run_end()
    assert STAMP.sub("", out.getvalue()) == f"{TEXT}  20 s left\n"


def test_the_time_left_counts_what_comes_between_steps():
    screen = Display(terminal(live=True)[0])
    progress, run = ShowProgress(screen), a_run(step=30)
    progress.vq_run_start(run)
    assert progress.seconds_left() is None
    progress.vq_log(run, LINE | {"images_per_second": 100})
    assert progress.seconds_left() == pytest.approx(30 * 1.0)
    progress.vq_log(run, LINE | {"images_per_second": 50})  # smoothed: 1.3 s a step, not 2 s
    assert progress.seconds_left() == pytest.approx(30 * 1.3)
    screen.seconds |= {"evaluating": 7.0, "saving": 3.0, "plotting": 1.0, "first step": 99.0}
    # evaluations at 40 and 60, a checkpoint and a plot at 60
    assert progress.seconds_left() == pytest.approx(30 * 1.3 + 2 * 7 + 3 + 1)
    run.step = 60
    assert progress.seconds_left() == 0


def test_a_run_logs_the_same_lines(train):
    run = train("--max-steps", 8)
    for text in (run.result.out, (run.path / "log.txt").read_text()):
        assert "\x1b" not in text
        lines = [STAMP.sub("", line) for line in text.splitlines() if STAMP.match(line)]
        steps = [line.split("  ")[0] for line in lines if line.startswith("step ")]
        assert steps == ["step 4/8", "step 8/8"]
    said = [STAMP.sub("", line) for line in run.result.out.splitlines()]
    begun = ("loading PyTorch", "reading the data", "building the model", "building the optimizer")
    assert tuple(said[:4]) == begun
    assert "4 x 4 tokens of 16 codes (16 a sample, 64 bits: 8 times fewer than 8-bit" in said[4]
    assert said[5].startswith(
        "16 tokens a sample (4 x 4, f = 2), fewer than 64, keep little detail"
    )
    assert said[6] == "first step"


# -- any work -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.4, "59 s"), (60, "1 min"), (3599, "1 h 0 min"), (7500, "2 h 5 min"),
     (100_000, "1 d 4 h")],
)  # fmt: skip
def test_durations(seconds, text):
    assert in_words(seconds) == text


def test_work_on_a_terminal():
    console, printed = terminal(live=True)
    with Display(console), working("encoding", 40, "samples") as task:
        for _ in task.through([range(30)]):
            pass
        time.sleep(0.6)  # the screen is drawn four times a second
    assert re.search(r"encoding  .*  30/40 samples", printed())


def test_short_work_has_no_line_where_lines_stay():
    console, printed = terminal(live=False)
    with Display(console), working("encoding", 40, "samples"):
        pass
    assert printed() == ""


def test_long_work_has_lines_now_and_then(monkeypatch):
    monkeypatch.setattr(display, "PATIENCE", 0.1)
    monkeypatch.setattr(display, "PAUSE", 0.3)
    console, printed = terminal(live=False)
    with Display(console), working("checking", 40, "images") as task:
        time.sleep(0.4)
        task.advance(30)
        time.sleep(0.8)
    first, second, *_ = printed().splitlines()
    assert re.fullmatch(r"checking: 40 images, \d s so far", first)
    assert re.fullmatch(r"checking: 30 of 40 images, \d s left", second)


def test_work_has_a_line_at_once_where_that_is_asked_for():
    console, printed = terminal(live=False)
    with Display(console, at_once=True) as screen:
        with working("building the model"):
            assert printed() == "building the model\n"
        screen.panel = "a run"  # its log lines tell enough
        with working("evaluating", 40, "samples"):
            pass
    assert printed() == "building the model\n"


def test_one_of_many_at_a_time_is_shown_on_a_terminal_alone():
    for live in (True, False):
        console, printed = terminal(live=live)
        many = working("seed=0 on GPU 1", 300, "steps", live=True)
        with Display(console, at_once=True) as screen, many:
            assert len(list(screen._lines())) == live
        assert live or printed() == ""


def test_a_display_is_told_of_work_only_while_it_is_entered():
    console, printed = terminal(live=False)
    screen = Display(console, at_once=True)
    with working("before"), screen:
        pass
    with working("after") as task:
        task.advance()
    assert printed() == ""


# -- what the library logs ---------------------------------------------------


def test_messages_are_shown_and_kept(tmp_path):
    out = io.StringIO()
    handler = ConsoleHandler(Terminal(file=out, width=20))
    with shown_by(handler), log_level(logging.INFO):
        LOG.warning("before there is a folder")
        with log_file(tmp_path / "log.txt"):
            LOG.info("a headline")
            LOG.warning("a [text] longer than the console is wide")
            logging.getLogger("vq.progress").info("step 1/8")
        LOG.info("after it")
    first, *kept, last = STAMP.sub("", out.getvalue()).splitlines()
    assert (first, last) == ("warning: before there is a folder", "after it")
    assert kept == ["a headline", "warning: a [text] longer than the console is wide"]
    log = (tmp_path / "log.txt").read_text()
    assert len(STAMP.findall(log)) == 3
    assert STAMP.sub("", log).splitlines() == [*kept, "step 1/8"]


def test_other_commands_write_warnings_alone_to_stderr(capsys):
    with shown_by(ConsoleHandler()), log_level(logging.INFO):
        LOG.info("a message")
        LOG.warning("a mistake")
    assert capsys.readouterr() == ("", "warning: a mistake\n")
