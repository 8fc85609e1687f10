"""Config files, pipes and values of ``--set`` that are odd, huge or hostile, refused in words."""

import json
import os

import pytest

from vq.composition import base_values, compose
from vq.config.config_file import LARGEST_FILE, parse_value, read_config
from vqcore.errors import SettingError, UsageError, VQError

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGES = "a: &a {x: 1}\n" + "".join(
    f"{name}: &{name} {{<<: [{', '.join([f'*{before}'] * 10)}]}}\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
#: Name of the file, its content, and what the message says.
REFUSED = {
    "hexadecimal integer": (
        "a.yaml",
        "dim: -0x" + "f" * 5000,
        "an integer of more than 100 digits",
    ),
    "base of 60": ("a.yaml", "dim: " + "1:" * 50_000 + "1", "an integer of more than 100 digits"),
    "integer of JSON": ("a.json", '{"dim": ' + "9" * 5000 + "}", "integer string conversion"),
    "integer of TOML": ("a.toml", f"dim = {2**80}", "dim = .*: expected an integer of at most 64"),
    "alias of itself": (
        "a.yaml",
        "quantizer: &a {name: grouped, inner: *a}",
        "an alias inside what it stands for",
    ),
    "nested components": (
        "a.yaml",
        "quantizer: " + "{name: grouped, inner: " * 400 + "ema" + "}" * 400,
        "nested more than 64 deep",
    ),
    "components within depth": (
        "a.yaml",
        "quantizer: " + "{name: grouped, inner: " * 20 + "ema" + "}" * 20,
        "components nested more than 16 deep",
    ),
    "nested JSON": ("a.json", "[" * 100_000, "nested too deep"),
    "nested TOML": ("a.toml", "a = " + "{a = " * 3000, "nested too deep"),
    "TOML key of many parts": ("a.toml", ".".join("a" * 50_000) + " = 1", "more than 100 dots"),
    "billion laughs": ("a.yaml", LAUGHS, "more than 20000 values"),
    "billion merges": ("a.yaml", MERGES, "more than 20000 values"),
    "long list": ("a.json", json.dumps({"trackers": [1] * 20_000}), "20000 values, expected"),
    "null character": ("a.yaml", 'plugin_files: ["a\\0.py"]', r"plugin_files = 'a\\x00.py'"),
    "null byte": ("a.yaml", "dim: 1\0", "special characters are not allowed"),
    "no UTF-8": ("a.yaml", b"\xff\xfe", "can't decode byte 0xff"),
    "lone surrogate": ("a.json", '{"device": "\\ud800"}', "expected text that UTF-8 can hold"),
    "terminal escape": ("a.yaml", '"\\e[2J": 1', r"keys, found '\\x1b\[2J'"),
    "key given twice": ("a.yaml", "dim: 1\ndim: 2", "the key 'dim' is given twice"),
    "key of JSON given twice": ("a.json", '{"dim": 1, "dim": 2}', "the key 'dim' is given twice"),
    "last of many keys given twice": (
        "a.json",
        "{" + ",".join(f'"{key:05}": 0' for key in (*range(90_000), 89_999)) + "}",
        "the key '89999' is given twice",
    ),
    "inner key given twice": (
        "a.yaml",
        "quantizer: {name: ema, name: codebook}",
        "the key 'name' is given twice",
    ),
    "regularizer given twice": (
        "a.yaml",
        "regularizers: [entropy, {name: entropy, weight: 3}]",
        "regularizers: 'entropy' is given twice",
    ),
    "loss given twice": ("a.yaml", "losses: [l1, {name: l1}]", "losses: 'l1' is given twice"),
    "loss without a name": ("a.yaml", "losses: [{weight: 1}]", "losses = .*: expected the name"),
    "regularizer under two names": (
        "a.yaml",
        "regularizers: {entropy: , vqcore/entropy: {weight: 3}}",
        "two of these names mean the same",
    ),
    "key that is no text": ("a.yaml", "dataset: {1: 2, name: trees}", "dataset: expected names"),
    "no number": ("a.json", '{"optimizer": {"lr": NaN}}', "optimizer.lr = nan: expected a finite"),
    "infinity": ("a.yaml", "grad_clip: .inf", "grad_clip = inf: expected a finite number"),
    "truth value": ("a.yaml", "dim: true", "dim = True: expected a number, not a truth value"),
    "truth value or none": ("a.yaml", "code_dim: yes", "code_dim = True: expected a number"),
    "date": ("a.yaml", "dataset: {name: mnist, root: 2020-01-01}", "expected a valid string"),
    "no date": ("a.yaml", "dim: 2020-13-45", "month must be in 1..12"),
    "object of Python": ("a.yaml", "dim: !!python/object/apply:os.system [ls]", "constructor for"),
    "long tag": ("a.yaml", "dim: !!" + "x" * 100_000 + " 1", "constructor for"),
    "long text": ("a.yaml", "dim: " + "x" * 100_000, "dim = 'xxx.*: expected a valid integer"),
    "long name": ("a.yaml", "quantizer: " + "x" * 100_000, "no plugin provides it"),
    "many problems": (
        "a.json",
        json.dumps({f"k{i}": i for i in range(1000)}),
        r"\.\.\. and 990 more",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_odd_config_is_refused_in_a_few_words(case, tmp_path):
    name, content, expected = REFUSED[case]
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(VQError, match=expected) as caught:
        compose({}, base=base_values(config=path))
    assert len(str(caught.value)) < 6000


def test_anchors_and_merges_are_read(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text(
        "\ufeffquantizer: {name: grouped, inner: &ema {name: ema, decay: 0.5}}\n"
        "optimizer: {<<: &fast {lr: 0.1}, eps: 1e-6}\n"
        "backbone: {<<: [{hidden: 8}, {hidden: 9}], hidden: 10}\n"
    )
    assert read_config(path) == {
        "quantizer": {"name": "grouped", "inner": {"name": "ema", "decay": 0.5}},
        "optimizer": {"lr": 0.1, "eps": "1e-6"},
        "backbone": {"hidden": 10},
    }


def test_a_config_is_a_file_or_a_pipe_with_a_writer(tmp_path):
    large, pipe = tmp_path / "large.yaml", tmp_path / "pipe"
    with large.open("wb") as file:
        file.truncate(LARGEST_FILE + 1)
    os.mkfifo(pipe)
    for path, expected in (
        (large, "larger than 1048576 bytes"),
        (pipe, "cannot be read: a pipe that nobody writes to"),
        (tmp_path, "cannot be read: Is a directory"),
        (tmp_path / "absent.yaml", "cannot be read: No such file"),
        (tmp_path / "a\0b", "cannot be read: embedded null byte"),
        ("/dev/zero", "cannot be read: expected a file or a pipe"),
    ):
        with pytest.raises(UsageError, match=expected):
            base_values(config=path)
    read_end, write_end = os.pipe()  # as the shell's <(command) makes it
    with os.fdopen(write_end, "w") as file:
        file.write("dim: 12\n")
    assert base_values(config=f"/dev/fd/{read_end}") == {"dim": 12}
    os.close(read_end)


@pytest.mark.parametrize(
    "text", ["2020-13-45", "!!bool x", "-0x" + "f" * 5000, "{a: 1, a: 2}", "[" * 1000, "*a", "\0"]
)
def test_a_value_that_is_no_yaml_is_refused(text):
    with pytest.raises(UsageError, match=r"^value .*: not valid YAML; quote it") as caught:
        parse_value(text)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({".".join(["quantizer", *["inner"] * 400]): "ema"}, "nested more than 64 deep"),
        ({"x" * 100_000: 1}, "unknown setting"),
        ({"dim": 10**5000}, "dim = <int: ValueError>: expected an integer of at most 64 bits"),
        ({"dataset.root": "a\0b"}, "dataset.root = 'a.*: expected text without null"),
    ],
)
def test_settings_of_python_and_of_the_command_have_the_same_bounds(settings, expected):
    from vq.composition import given_values

    with pytest.raises(UsageError, match=expected) as caught:
        given_values({}, settings)
    assert len(str(caught.value)) < 500


def test_a_mapping_that_contains_itself_is_refused():
    values = {"name": "grouped"}
    values["inner"] = values
    with pytest.raises(UsageError, match="quantizer: nested more than 64 deep"):
        compose({}, base=base_values(config={"quantizer": values}))


def test_a_root_in_the_home_of_nobody_is_refused():
    config, _ = compose({"dataset": {"name": "image-folder", "root": "~nobody-at-all/x"}})
    with pytest.raises(SettingError, match=r"dataset.root = '~nobody-at-all/x': expected a path"):
        config.located()
