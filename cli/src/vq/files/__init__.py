"""Reads and writes files: each is written whole or not at all, and errors name it."""

from vq.files.names import as_path, plain_name, plain_path, state_folder
from vq.files.read import (
    MAX_PIXELS,
    at_once,
    check_regular,
    opened_image,
    read_any_json,
    read_bytes,
    read_image,
    read_json,
    read_text,
)
from vq.files.write import (
    NOT_LINKED,
    append_bytes,
    append_text,
    check_free,
    check_no_links,
    is_temporary,
    leftovers,
    new_file,
    new_folder,
    remove,
    write_bytes,
    write_flushed,
    write_json,
    write_text,
    write_yaml,
    writing,
)

__all__ = [
    "MAX_PIXELS", "NOT_LINKED", "append_bytes", "append_text", "as_path", "at_once", "check_free",
    "check_no_links", "check_regular", "is_temporary", "leftovers", "new_file", "new_folder",
    "opened_image", "plain_name", "plain_path", "read_any_json", "read_bytes", "read_image",
    "read_json", "read_text", "remove", "state_folder", "write_bytes", "write_flushed",
    "write_json", "write_text", "write_yaml", "writing",
]  # fmt: skip
