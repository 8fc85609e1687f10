"""What people see of a run: a bar on a terminal, a line for each log step elsewhere."""

import io
import logging
from types import SimpleNamespace

import pytest
from rich.console import Console

from vq.cli.console import ConsoleHandler, shown_by
from vq.progress import SampleProgress, TrainingProgress, progress_line
from vq.terminal import Terminal
from vq.training.log_file import log_file, log_level

LOG = logging.getLogger("vq.training")
LINE = {
    "step": 40,
    "loss": 0.12345,
    "reconstruction": 0.1,
    "perplexity": 51.5,
    "test_psnr": 20.25,
    "images_per_second": 99.6,
}
TEXT = (
    "step 40/60  loss 0.1235  reconstruction 0.1  perplexity 51.5  test_psnr 20.25  100 samples/s"
)


@pytest.fixture
def shown():
    """What a run of 60 steps shows that resumes at step 38 and logs step 40."""

    def show(terminal):
        out = io.StringIO()
        run = SimpleNamespace(total_steps=60, step=38)
        with TrainingProgress(Console(file=out, force_terminal=terminal, width=120)) as progress:
            progress.vq_run_start(run)
            progress.vq_step_end(39)
            progress.vq_step_end(40)
            progress.vq_log(run, LINE)
            progress.vq_run_end()
        return out.getvalue()

    return show


def test_the_line_of_a_log_step():
    assert progress_line(LINE, 60) == TEXT


def test_a_line_where_there_is_no_terminal(shown):
    assert shown(terminal=False) == f"{TEXT}\n"


def test_a_bar_on_a_terminal(shown):
    printed = shown(terminal=True)
    assert "\x1b[" in printed
    assert "40/60" in printed
    assert "loss 0.1235" in printed
    assert TEXT not in printed


def test_lines_on_a_terminal_that_cannot_move_its_cursor():
    out = io.StringIO()
    dumb = Terminal(file=out, force_terminal=True, width=120, _environ={"TERM": "dumb"})
    with TrainingProgress(dumb) as progress:
        progress.vq_run_start(SimpleNamespace(total_steps=60, step=38))
        progress.vq_log(SimpleNamespace(total_steps=60, step=40), LINE)
        progress.vq_run_end()
    assert out.getvalue() == f"{TEXT}\n"


def test_samples_are_counted_on_a_terminal():
    out = io.StringIO()
    with SampleProgress(Console(file=out, force_terminal=True, width=120), "encoding") as progress:
        progress.report(30, 40)
    assert "encoding" in out.getvalue()
    assert "30/40" in out.getvalue()


def test_a_run_logs_the_same_lines(train):
    run = train("--max-steps", 8)
    for text in (run.result.out, (run.path / "log.txt").read_text()):
        steps = [line.split("  ")[0] for line in text.splitlines() if line.startswith("step ")]
        assert steps == ["step 4/8", "step 8/8"]
        assert "\x1b" not in text


# -- what the library logs ---------------------------------------------------


def test_messages_are_shown_and_kept(tmp_path):
    out = io.StringIO()
    handler = ConsoleHandler(Console(file=out, width=20))
    with shown_by(handler), log_level(logging.INFO):
        LOG.warning("before there is a folder")
        with log_file(tmp_path / "log.txt"):
            LOG.info("a headline")
            LOG.warning("a [text] longer than the console is wide")
            logging.getLogger("vq.progress").info("step 1/8")
        LOG.info("after it")
    first, *kept, last = out.getvalue().splitlines()
    assert (first, last) == ("warning: before there is a folder", "after it")
    assert kept == ["a headline", "warning: a [text] longer than the console is wide"]
    assert (tmp_path / "log.txt").read_text().splitlines() == [*kept, "step 1/8"]


def test_other_commands_write_warnings_alone_to_stderr(capsys):
    with shown_by(ConsoleHandler()), log_level(logging.INFO):
        LOG.info("a message")
        LOG.warning("a mistake")
    assert capsys.readouterr() == ("", "warning: a mistake\n")
