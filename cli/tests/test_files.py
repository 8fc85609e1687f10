"""Files are written whole or not at all and through no link, and only regular ones are read."""

import os
from pathlib import Path

import pytest

from vq import files
from vqcore.errors import RunError, SettingError


@pytest.fixture
def victim(tmp_path):
    """A file that nothing may touch."""
    path = tmp_path / "victim"
    path.write_text("kept")
    yield path
    assert path.read_text() == "kept"
    assert not path.is_symlink()


def test_a_link_is_replaced_and_what_it_points_at_stays(tmp_path, victim):
    path = tmp_path / "file"
    path.symlink_to(victim)
    (tmp_path / ".file.tmp").symlink_to(victim)  # where version 0.1 wrote at first
    files.write_text(path, "new")
    assert path.read_text() == "new"
    assert not path.is_symlink()
    assert {each.name for each in tmp_path.iterdir()} == {"file", ".file.tmp", "victim"}


@pytest.mark.parametrize("kind", ["link", "dangling", "pipe", "folder"])
def test_nothing_is_appended_to_a_link_or_a_pipe(tmp_path, victim, kind):
    path = tmp_path / "log.txt"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(victim if kind == "link" else tmp_path / "missing")
    with pytest.raises(RunError, match=r"log.txt cannot be written"):
        files.append_text(path, "more")
    assert not (tmp_path / "missing").exists()


def test_text_of_any_kind_is_appended(tmp_path):
    files.append_text(tmp_path / "log.txt", "é\n")
    files.append_text(tmp_path / "log.txt", "\ud800\n")
    assert (tmp_path / "log.txt").read_bytes() == "é\n\\ud800\n".encode()
    assert not (tmp_path / "log.txt").stat().st_mode & 0o111  # no program


def test_a_pipe_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    assert files.read_json(tmp_path / "pipe.json") is None
    with pytest.raises(OSError, match="not a regular file"):
        files.read_bytes(tmp_path / "pipe.json")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a": ' * 50_000, "9" * 10_000, "[]", "\udcff"])
def test_a_damaged_mapping_is_none(tmp_path, text):
    (tmp_path / "a.json").write_text(text, errors="surrogateescape")
    assert files.read_json(tmp_path / "a.json") is None


def test_a_folder_replaces_a_link_and_not_its_target(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").write_text("kept")
    path = tmp_path / "prior"
    path.symlink_to(elsewhere)
    for name in (".prior.tmp", ".prior.old"):
        (tmp_path / name).symlink_to(elsewhere)
    with files.new_folder(path, replace=True) as temporary:
        (temporary / "new").write_text("new")
    assert [each.name for each in path.iterdir()] == ["new"]
    assert [each.name for each in elsewhere.iterdir()] == ["kept"]
    assert {each.name for each in tmp_path.iterdir()} == {"prior", "elsewhere"}


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path):
    for name in (".out.0123456789abcdef.tmp", ".out.0123456789abcdef.old", ".out.tmp"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "half").write_text("")
    (tmp_path / ".other.tmp").mkdir()
    with files.new_folder(tmp_path / "out"):
        pass
    assert {each.name for each in tmp_path.iterdir()} == {"out", ".other.tmp"}


@pytest.mark.parametrize("length", [60, 250])
def test_folders_whose_names_begin_alike_are_written_at_once(tmp_path, length):
    one, other = (tmp_path / f"{'x' * length}{number}" for number in (1, 2))
    with files.new_folder(one) as temporary:
        (temporary / "kept").write_text("")
        with files.new_folder(other):
            pass
    assert [each.name for each in one.iterdir()] == ["kept"]


@pytest.mark.parametrize("name", ["é" * 100, "x" * 255, "a[b]*?", "-"])
def test_any_name_can_be_written(tmp_path, name):
    files.write_text(tmp_path / name, "new")
    with files.new_folder(tmp_path / f"{name[:-1]}y"):
        pass
    assert {each.name for each in tmp_path.iterdir()} == {name, f"{name[:-1]}y"}


@pytest.mark.parametrize("path", ["", "..", "a/..", "/"])
def test_a_path_without_a_name_is_refused(path):
    with (
        pytest.raises(SettingError, match="a path that ends in a name"),
        files.new_folder(Path(path), replace=True),
    ):
        pass
