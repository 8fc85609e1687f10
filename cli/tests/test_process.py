"""``vq`` as a process: streams that are lost or closed, signals, and too little memory."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from vq.cli.process import _Kept
from vq.memory import memory_in_words
from vq.training.trainer import Trainer
from vqcore.errors import RunError

ONE_LINE = ("show", "estimator", "straight-through")


def shell(text, *, words=ONE_LINE, **environment):
    """``vq`` in a shell, where ``VQ`` in the text is the command."""
    command = " ".join([sys.executable, "-m", "vq", *words])
    return subprocess.run(
        ["bash", "-c", text.replace("VQ", command)],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        check=False,
    )


# -- streams ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("VQ | true; exit ${PIPESTATUS[0]}", 0, ""),
        ("VQ > /dev/full", 1, "error: stdout cannot be written: No space left on device\n"),
        ("VQ <&- >&- 2>&-", 0, ""),
    ],
)
def test_a_lost_stream_needs_no_traceback(text, code, said):
    if "/dev/full" in text and not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    done = shell(text)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", said)


def test_characters_that_a_terminal_lacks_are_escaped(tmp_path):
    words = ("train", "--dry-run", "--config", str(tmp_path / "\N{GREEK SMALL LETTER ALPHA}.yaml"))
    done = shell("VQ", words=words, PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert done.returncode == 2
    assert "\\u03b1.yaml" in done.stderr


@pytest.mark.parametrize("number", [errno.EPIPE, errno.ENOSPC])
def test_what_cannot_be_written_is_dropped(capsys, number):
    reader, writer = os.pipe()
    with _Kept(writer, "wb") as stream:
        assert stream.write(b"abc") == 3
        assert os.read(reader, 9) == b"abc"
        stream._drop(OSError(number, "lost"))
        assert stream.write(b"abcd") == 4
        assert stream.is_incomplete is (number != errno.EPIPE)
    os.close(reader)


def test_a_reader_that_went_away_is_noticed_once():
    reader, writer = os.pipe()
    os.close(reader)
    with _Kept(writer, "wb") as stream:
        assert [stream.write(b"abc"), stream.write(b"ab")] == [3, 2]
        assert stream.lost.errno == errno.EPIPE


# -- signals ------------------------------------------------------------------

#: Stands for an import of torch, which may turn the exception into another one.
STOPPED = """
import os, signal, sys, types
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "vq.cli.app":
            try:
                os.kill(os.getpid(), signal.{signal})
            except KeyboardInterrupt:
                raise ImportError("half of it")
sys.meta_path.insert(0, Finder())
from vq.cli.process import main
main()
"""


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_during_an_import_ends_in_a_line(name, code):
    if not hasattr(signal, name):
        pytest.skip(f"this system has no {name}")
    program = STOPPED.format(signal=name)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=False, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (code, "", f"stopped by {name}\n")


# -- memory -------------------------------------------------------------------


class OutOfMemoryError(RuntimeError):
    """Like torch's, which needs a GPU."""


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        MemoryError("Unable to allocate 8.00 EiB for an array with shape (1,)"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate "
                     "memory: you tried to allocate 8 bytes.\nException raised from ..."),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."),
        OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ],
)  # fmt: skip
def test_too_little_memory_in_words(error):
    with pytest.raises(RunError, match="there is not enough memory") as caught, memory_in_words():
        raise error
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), OSError("x"), ImportError("x")])
def test_other_errors_stay_what_they_are(error):
    with pytest.raises(type(error)) as caught, memory_in_words():
        raise error
    assert caught.value is error


def test_a_run_without_memory_fails_in_words(train, monkeypatch):
    def step(self, parts):
        raise MemoryError("Unable to allocate 8 GiB")

    monkeypatch.setattr(Trainer, "train_step", step)
    run = train(code=1)
    message = "there is not enough memory: Unable to allocate 8 GiB; a smaller batch"
    assert f"error: {message}" in run.result.err
    assert run.json("status")["status"] == "failed"
    assert message in run.json("status")["error"]
