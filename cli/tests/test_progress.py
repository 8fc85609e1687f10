"""What people see of a run: a bar on a terminal, a line for each log step elsewhere."""

import io

import pytest
from rich.console import Console

from vq.training.progress import TrainingProgress
from vq.training.reporter import Reporter

LINE = {
    "step": 40,
    "loss": 0.12345,
    "reconstruction": 0.1,
    "perplexity": 51.5,
    "test_psnr": 20.25,
    "images_per_second": 99.6,
}


@pytest.fixture
def shown(tmp_path):
    """What a run of 60 steps that is taken up at step 38 and logs step 40 prints, on a terminal or not, and its log."""

    def show(terminal):
        out = io.StringIO()
        reporter = Reporter(Console(file=out, force_terminal=terminal, width=120))
        reporter.keep(tmp_path / "log.txt")
        with TrainingProgress(reporter, 60, 38) as progress:
            for _ in range(2):
                progress.advance()
            progress.report(LINE)
        return out.getvalue(), (tmp_path / "log.txt").read_text()

    return show


TEXT = (
    "step 40/60  loss 0.1235  reconstruction 0.1  perplexity 51.5  test_psnr 20.25  100 samples/s\n"
)


def test_a_line_where_there_is_no_terminal(shown):
    printed, log = shown(terminal=False)
    assert printed == log == TEXT


def test_a_bar_on_a_terminal(shown):
    printed, log = shown(terminal=True)
    assert "\x1b[" in printed
    assert "40/60" in printed
    assert "loss 0.1235" in printed
    assert TEXT not in printed
    assert log == TEXT


def test_a_run_logs_the_same_lines(train):
    out = train("--max-steps", 8).result.out
    assert [line.split("  ")[0] for line in out.splitlines() if line.startswith("step ")] == [
        "step 4/8",
        "step 8/8",
    ]
    assert "\x1b" not in out


def test_warnings_are_printed_and_kept(tmp_path):
    out = io.StringIO()
    reporter = Reporter(Console(file=out, width=20))
    reporter.warn("said before there is a folder")
    reporter.keep(tmp_path / "log.txt")
    reporter.warn("a [text] longer than the console is wide")
    assert out.getvalue().splitlines()[1] == "warning: a [text] longer than the console is wide"
    assert (
        tmp_path / "log.txt"
    ).read_text() == "warning: a [text] longer than the console is wide\n"
