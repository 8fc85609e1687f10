"""Every example in the documentation works, and every hook is documented."""

import inspect
import re
import shlex
import shutil
from pathlib import Path

import pytest
from PIL import Image

from vq.cli import app
from vqcore.plugin import hooks

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted(ROOT.glob("*/README.md")),
]
PAGES += sorted(ROOT.glob("plugins/*/README.md"))
README_COMMANDS = (
    "pip install uv && uv run vq train --manifold poincare --regularizer homology",
    "pip install uv && uv run pytest",
)


def blocks(language):
    """(page, number, text) of each fenced block in a language."""
    found = []
    for page in PAGES:
        fenced = re.findall(
            rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S
        )
        found += [
            pytest.param(page, text, id=f"{page.relative_to(ROOT)}-{n}")
            for n, text in enumerate(fenced)
        ]
    return found


def commands():
    lines = [
        (page.values[0], line) for page in blocks("sh") for line in page.values[1].splitlines()
    ]
    plain = {(page, line.split("  #")[0].strip()) for page, line in lines}
    return [
        pytest.param(c, id=f"{p.relative_to(ROOT)}: {c}")
        for p, c in sorted(plain)
        if c and c not in README_COMMANDS
    ]


def run_vq(command, monkeypatch):
    """Run one ``vq ...`` line in this process; its exit code."""
    monkeypatch.setattr("sys.argv", shlex.split(command))
    with pytest.raises(SystemExit) as ended:
        app.main()
    return ended.value.code or 0


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory):
    """A small finished run, as ``runs/NAME`` of the documentation."""
    folder = tmp_path_factory.mktemp("docs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert run_vq("vq train --max-steps 3 --backbone.hidden 8 --run-dir runs/NAME", patch) == 0
        assert run_vq("vq encode runs/NAME test -o tokens --shard-size 100", patch) == 0
        assert run_vq("vq prior runs/NAME --classes --epochs 1", patch) == 0
    shutil.copytree(folder / "runs" / "NAME", folder / "runs" / "OTHER")
    (folder / "pictures").mkdir()
    Image.new("RGB", (30, 20), "teal").save(folder / "pictures" / "a.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert run_vq("vq encode runs/NAME pictures -o codes", patch) == 0
    return folder


@pytest.mark.parametrize("command", commands())
def test_every_command_is_accepted(command, finished_run, monkeypatch, capsys):
    monkeypatch.chdir(finished_run)
    (finished_run / "examples").mkdir(exist_ok=True)
    (finished_run / "examples" / "my_plugin.py").write_text(
        (ROOT / "examples" / "my_plugin.py").read_text()
    )
    command = re.sub(
        r"^(torchrun|accelerate launch) .* -m vq ", "vq ", command
    )  # each process runs the rest
    assert command.startswith("vq ")
    if (
        command.startswith(("vq train", "vq sweep"))
        and "--print-config" not in command
        and "--resume" not in command
    ):
        command += " --dry-run"
    if command.startswith("vq prior"):
        command += " --classes --epochs 1 --overwrite"  # another example draws from a class
    assert run_vq(command, monkeypatch) == 0, capsys.readouterr().err


@pytest.mark.parametrize(("page", "code"), blocks("python"))
def test_every_python_example_runs(page, code, finished_run, monkeypatch):
    monkeypatch.chdir(finished_run)
    names = {"__name__": "example"}
    exec(compile(code, str(page), "exec"), names)
    assert len(names) > 2  # it did something


@pytest.mark.parametrize("name", ["layer.py", "my_plugin.py"])
def test_the_readme_shows_the_example_files(name):
    code = (ROOT / "examples" / name).read_text(encoding="utf-8")
    shown = code.partition('"""\n\n')[2] if name == "layer.py" else code
    assert shown in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_readmes_two_commands_are_the_ones_that_ci_runs():
    readme, ci = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", ".ci/run"))
    assert all(command in readme for command in README_COMMANDS)
    assert ci.rstrip().endswith(README_COMMANDS[1])


HOOKS = sorted(name for name in vars(hooks) if name.startswith("vq_"))


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_is_a_heading_of_the_documentation(name):
    arguments = ", ".join(inspect.signature(getattr(hooks, name)).parameters)
    assert f"\n### {name}({arguments})\n" in (ROOT / "docs" / "plugins.md").read_text(
        encoding="utf-8"
    )
    assert inspect.getdoc(getattr(hooks, name))


def test_links_between_pages_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}"
