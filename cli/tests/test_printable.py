"""Text from users, files and plugins is printed as it is, and what acts on a terminal escaped."""

import io
import json
import logging
from time import process_time

import pytest
import yaml
from rich.progress import Progress, TextColumn
from rich.table import Table
from rich.text import Text

from vq.cli.console import ConsoleHandler, print_json, print_yaml, say
from vq.cli.tables import fitting_tables
from vq.display import Display
from vq.terminal import Terminal
from vq.training.log_file import LogFile
from vqcore.errors import printable, shown

#: A closing tag, a style, clearing the screen, a title, a bell, an overwritten line, and others.
HOSTILE = "m[/x][bold]\x1b[2J\x1b]0;t\x07\rz\x9b1m\u202e\u2066\ud800\x7f\x00:smile:"
SHOWN = r"m[/x][bold]\x1b[2J\x1b]0;t\x07\rz\x9b1m\u202e\u2066\ud800\x7f\x00:smile:"


def test_each_active_character_is_its_escape():
    assert printable(HOSTILE, lines=True) == SHOWN
    plain = "a\tb\nc é 語 \N{SLIGHTLY SMILING FACE}"
    assert printable(plain, lines=True) == plain
    assert printable("a\tb\n") == r"a\tb\n"


def test_a_value_is_shown_in_a_line_and_in_no_time():
    """Also one of a received file: a text of spaces took seconds."""
    module = type("Module", (), {"__repr__": lambda self: "Block(\n  (0): Layer()\n)"})
    assert shown(module()) == "Block( (0): Layer() )"
    start = process_time()
    assert len(shown(" " * 40_000)) <= 200
    assert process_time() - start < 1


def _table():
    table = Table(HOSTILE)
    table.add_row(HOSTILE)
    return table


def _bar(terminal):
    progress = Progress(TextColumn("{task.description}", markup=False), console=terminal)
    with progress:
        progress.add_task(HOSTILE)


@pytest.mark.parametrize(
    "show",
    [
        lambda terminal: terminal.print(HOSTILE),
        lambda terminal: terminal.print(Text.assemble((HOSTILE, "bold"))),
        lambda terminal: terminal.print(_table()),
        lambda terminal: terminal.print(*fitting_tables([["", HOSTILE], [HOSTILE, "1"]], 200)),
        _bar,
        lambda terminal: ConsoleHandler(terminal).emit(_record()),
    ],
)
@pytest.mark.parametrize("live", [True, False])
def test_a_terminal_shows_it(show, live):
    file = io.StringIO()
    show(Terminal(file=file, force_terminal=live, width=200, color_system=None))
    printed = file.getvalue()
    assert r"m[/x][bold]\x1b[2J\x1b]0;t" in printed  # a bell is dropped by rich in a Text
    assert not set("\x07\x9b\u202e\u2066\ud800\x7f\x00") & set(printed)
    assert "\x1b]" not in printed
    assert "\x1b[2J" not in printed


def test_our_own_styles_stay():
    file = io.StringIO()
    terminal = Terminal(file=file, force_terminal=True, color_system="standard", width=80)
    terminal.print(Text.assemble(("warning: ", "yellow"), "\x1b[2J"))
    assert file.getvalue() == "\x1b[33mwarning: \x1b[0m\\x1b[2J\n"


def test_columns_stay_aligned():
    file = io.StringIO()
    Terminal(file=file, width=80).print(
        *fitting_tables([["a", "b"], ["\x1b", "1"], ["c", "2"]], 80)
    )
    rows = file.getvalue().splitlines()[3:5]
    assert rows[0].rindex("1") == rows[1].index("2")


def _record(text=HOSTILE):
    return logging.LogRecord("vq", logging.WARNING, "", 0, text, None, None)


def test_log_files_and_plain_lines(tmp_path, capsys):
    LogFile(tmp_path / "log.txt").emit(_record())
    assert (tmp_path / "log.txt").read_text().endswith(f"  warning: {SHOWN}\n")
    say(HOSTILE)
    say(HOSTILE, error=True)
    assert capsys.readouterr() == (f"{SHOWN}\n", f"{SHOWN}\n")


def test_json_is_valid_whatever_is_in_it(capsys):
    values = {"a": float("nan"), "b": [float("-inf"), 1.5, {"c": float("inf")}], 3: HOSTILE}
    print_json({**values, "path": pytest})

    def refuse(name):
        raise AssertionError(name)

    found = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert found.pop("path").startswith("<module")
    assert found == {"a": None, "b": [None, 1.5, {"c": None}], "3": HOSTILE}


@pytest.mark.parametrize("text", ["é", "\u202e", "\x1b[2J"])
def test_yaml_is_readable_where_it_can_be(capsys, text):
    print_yaml({"b": text, "a": 1})
    printed = capsys.readouterr().out
    assert yaml.safe_load(printed) == {"b": text, "a": 1}
    assert printable(printed, lines=True) == printed
    assert ("é" in printed) == (text == "é")


def test_a_closed_pipe_ends_no_run():
    class Closed(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    with Display(Terminal(file=Closed())) as display:
        display.console.print("a line")
    assert display.console.quiet


# -- the commands -------------------------------------------------------------


def test_a_run_folder_with_any_name(vq, train, tmp_path):
    run = train("--max-steps", 4, run="m[/x]\x1b[2J")
    assert r"run folder: " in run.result.out
    assert r"m[/x]\x1b[2J" in run.result.out
    assert run.json("status")["status"] == "done"
    for words in (
        ("evaluate", run.path), ("compare", run.path, run.path), ("train", "--resume", run.path),
        ("evaluate", tmp_path / "none\x1b[2J"), ("sho\x1bw",), ("--\x1b",), ("show", "--\x1b[2J"),
        ("train", "--set", "\x1b[2J=1"), ("train", "--dataset", "[/x]\x1b[2J", "--dry-run"),
    ):  # fmt: skip
        result = vq(*words)
        assert "\x1b" not in result.out + result.err, words
        assert result.code in (0, 2, 3), (words, result)


def test_plugins_that_describe_themselves_in_markup(vq, tmp_path):
    source = (
        "from vqcore import ComponentSpec, hookimpl\n"
        "VQ_API = 1\n"
        "@hookimpl\n"
        "def vq_manifolds():\n"
        "    return [ComponentSpec(name='odd', target='x:y', summary='[/x]\\x1b[2J')]\n"
    )
    (tmp_path / "odd.py").write_text(source)
    for words in (("list-plugins",), ("show", "manifold", "odd")):
        result = vq(*words, "--plugin-file", tmp_path / "odd.py")
        assert "\x1b" not in result.out + result.err
        assert "[/x]" in result.out + result.err
        assert "Traceback" not in result.err
