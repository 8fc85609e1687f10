"""One process at a time: the lock of a folder, and what the kernel does with it."""

import errno
import os
import signal
import socket

import pytest

from vq.runs import folder_lock
from vq.runs.folder_lock import check_unlocked, locked
from vqcore.errors import RunError, SettingError


def holding(folder, *, worker=False):
    """A child that holds the lock, and its worker process, which a kill leaves behind."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        with locked(folder, "--resume"):
            other = os.fork() if worker else -1
            if other != 0:
                os.write(write, f"{other}\n".encode())
            signal.pause()
    os.close(write)
    return child, int(os.fdopen(read).readline())


def end(process):
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)


@pytest.mark.parametrize("worker", [False, True])
def test_a_killed_process_holds_its_lock_no_longer(tmp_path, worker):
    process, left = holding(tmp_path, worker=worker)
    try:
        found = f"found process {process} on '{socket.gethostname()}'"
        for refused in (lambda: check_unlocked(tmp_path, "--resume"), lambda: take(tmp_path)):
            with pytest.raises(SettingError) as caught:
                refused()
            assert found in str(caught.value)
            assert "wait for it, or stop it" in str(caught.value)
    finally:
        end(process)
    try:
        check_unlocked(tmp_path, "--resume")
        take(tmp_path)
    finally:
        if worker:
            os.kill(left, signal.SIGKILL)


def take(folder):
    with locked(folder, "--resume"):
        pass


def test_it_is_free_again_after_an_error(tmp_path):
    with pytest.raises(ValueError, match="stop"), locked(tmp_path, "--resume"):
        raise ValueError("stop")
    check_unlocked(tmp_path, "--resume")
    take(tmp_path)


def test_checking_leaves_no_file(tmp_path):
    check_unlocked(tmp_path, "--resume")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", ["", "[]", '{"pid": "\\u001b[2J", "host": 1e999}', "\x00"])
def test_a_lock_file_with_anything_in_it(tmp_path, content):
    with locked(tmp_path, "--resume"):
        (tmp_path / ".lock").write_text(content)
        with pytest.raises(SettingError, match="found ") as caught:
            take(tmp_path)
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_planted_lock_is_not_followed(tmp_path):
    (tmp_path / "victim").write_text("kept")
    (tmp_path / ".lock").symlink_to(tmp_path / "victim")
    check_unlocked(tmp_path, "--resume")
    with pytest.raises(RunError, match="it is a symbolic link"):
        take(tmp_path)
    assert (tmp_path / "victim").read_text() == "kept"


@pytest.mark.parametrize("missing", ["the module", "support"])
def test_where_there_are_no_locks_a_warning_says_so(tmp_path, monkeypatch, caplog, missing):
    def unsupported(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    if missing == "the module":
        monkeypatch.setattr(folder_lock, "fcntl", None)
    else:
        monkeypatch.setattr(folder_lock.fcntl, "flock", unsupported)
    check_unlocked(tmp_path, "--resume")
    assert not caplog.messages
    take(tmp_path)
    (message,) = caplog.messages
    assert "make sure that no other process trains in it" in message
