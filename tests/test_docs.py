"""Every command and Python example of the documentation runs, and every hook is documented."""

import hashlib
import inspect
import io
import pickle
import re
import shlex
import shutil
import tarfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision import datasets

import vqcore
from vqcore.plugin import hooks
from vqcore.plugin.component import KINDS

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted(ROOT.glob("*/README.md")),
    *sorted(ROOT.glob("plugins/*/README.md")),
]
README_COMMANDS = (
    "pip install uv && uv run vq train --manifold poincare --regularizer homology",
    "pip install uv && uv run pytest",
)

#: Launchers that are left out, with the reason. The command behind one runs here in one process;
#: cli/tests/test_many_processes.py trains with several.
LAUNCHERS = {
    "torchrun --nproc-per-node 8 -m": "needs eight GPUs",
    "accelerate launch --multi_gpu --num_processes 8 -m": "needs eight GPUs",
    "torchrun --nnodes 4 --nproc-per-node 8 --rdzv-backend c10d --rdzv-endpoint HOST:29500 -m": (
        "needs four machines"
    ),
}
#: What a documented command needs that not everybody installs, by a word of it.
EXTRAS = {"audio-folder": "soundfile", "huggingface": "datasets"}
#: What makes a documented command short, by its first words. Options and --set that come later win.
SHORTER = {
    "vq train --resume": "--max-steps 5",
    "vq train --dataset hierarchy": "--set max_steps=2 --set dataset.samples=64",
    "vq train --dataset image-folder --dataset.root my-images --dataset.image_size 256": (
        "--dataset.image_size 64 --backbone.hidden 8 --set max_steps=2 --set batch_size=8"
    ),
    "vq train": "--set max_steps=2 --set batch_size=8",
    "vq sweep": "--set max_steps=2 --set batch_size=4 --seeds 0",
    "vq reproduce": "--list",  # plugins/papers/tests runs experiments
    "vq prior": "--classes --epochs 1 --overwrite",  # another example samples from a class
}


def blocks(language):
    """(page, text) of each fenced block in a language."""
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
    """Each command of the documentation once, with the page that shows it."""
    pages = {}
    for page, text in (block.values for block in blocks("sh")):
        for line in text.splitlines():
            pages.setdefault(line.split("  #")[0].strip(), page.relative_to(ROOT))
    for command in ("", *README_COMMANDS):
        pages.pop(command, None)
    return [pytest.param(command, id=f"{page}: {command}") for command, page in pages.items()]


def shortened(command):
    """A documented command as it is run here."""
    for launcher in LAUNCHERS:
        command = command.removeprefix(f"{launcher} ")
    command = command.replace(" /shared/", " shared/")
    start = next((start for start in SHORTER if command.startswith(start)), None)
    return f"{command} {SHORTER[start]}" if start else command


def write_own_data(folder):
    """A few images as splits, as tar shards, as videos and as a table, and audio files."""
    image = (folder / "my-images" / "a.png").read_bytes()
    for split in ("train", "test"):
        (folder / "cifar10" / split).mkdir(parents=True)
        (folder / "cifar10" / split / "a.png").write_bytes(image)
    (folder / "shards").mkdir()
    for shard in range(2):
        with tarfile.open(folder / "shards" / f"pets-{shard:03d}.tar", "w") as tar:
            for number in range(6):
                member = tarfile.TarInfo(f"{number}.png")
                member.size = len(image)
                tar.addfile(member, io.BytesIO(image))
    for number in range(8):
        for video in ("one", "two"):
            (folder / "my-videos" / video).mkdir(parents=True, exist_ok=True)
            (folder / "my-videos" / video / f"{number}.png").write_bytes(image)
    if find_spec("soundfile"):
        import soundfile

        (folder / "my-audio").mkdir()
        for name in ("a.wav", "b.flac"):
            soundfile.write(folder / "my-audio" / name, np.zeros(20_000), 16_000)
    if find_spec("pyarrow"):
        import pyarrow
        from pyarrow import parquet

        parquet.write_table(pyarrow.table({"image": [image] * 8}), folder / "pets.parquet")


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory, call_vq):
    """A directory with a small finished run as ``runs/NAME`` and the files that commands read."""
    folder = tmp_path_factory.mktemp("docs")
    (folder / "examples").mkdir()
    shutil.copy(ROOT / "examples" / "my_plugin.py", folder / "examples")
    (folder / "my-images").mkdir()
    for name in ("a", "b", "c"):
        Image.new("RGB", (30, 20), "teal").save(folder / "my-images" / f"{name}.png")
    np.savez(folder / "spectra.npz", x=np.random.default_rng(0).random((40, 32)))
    write_own_data(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for command in (
            "vq train --max-steps 3 --backbone.hidden 8 --run-dir runs/NAME",
            "vq encode runs/NAME test -o tokens --shard-size 100",
            "vq encode runs/NAME test -o test-tokens",
            "vq encode runs/NAME my-images -o codes",
            "vq prior runs/NAME --classes --epochs 1",
        ):
            assert call_vq(command) == 0
    shutil.copytree(folder / "runs" / "NAME", folder / "runs" / "OTHER")
    return folder


@pytest.fixture(scope="module")
def call_vq():
    """A function that runs one ``vq ...`` line in this process: its exit code."""
    from vq.cli import app

    def call(command):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sys.argv", shlex.split(command))
            with pytest.raises(SystemExit) as ended:
                app.main()
        return ended.value.code or 0

    return call


@pytest.fixture
def working_directory(finished_run, tmp_path, monkeypatch):
    """A copy of ``finished_run``, as the current directory."""
    shutil.copytree(finished_run, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def cifar10(working_directory, monkeypatch):
    """CIFAR-10 in ``data``, as if downloaded: two files of random images in its format."""
    folder = working_directory / "data" / datasets.CIFAR10.base_folder
    folder.mkdir(parents=True)
    images = np.random.default_rng(0).integers(0, 256, (8, 3072), dtype=np.uint8)
    batch = pickle.dumps({"data": images, "labels": [0] * 8})
    names = pickle.dumps({"label_names": ["airplane"]})
    for name, content in {
        "data_batch_1": batch,
        "test_batch": batch,
        "batches.meta": names,
    }.items():
        (folder / name).write_bytes(content)
    files = [["data_batch_1", hashlib.md5(batch).hexdigest()]]
    monkeypatch.setattr(datasets.CIFAR10, "train_list", files)
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [["test_batch", files[0][1]]])
    monkeypatch.setitem(datasets.CIFAR10.meta, "md5", hashlib.md5(names).hexdigest())


@pytest.fixture
def sweeps_in_this_process(call_vq, monkeypatch):
    """The runs of a sweep in this process: each would spend seconds on importing torch."""

    class Process:
        def __init__(self, command, **_):
            self.returncode = call_vq(shlex.join(["vq", *command[3:]]))

        def poll(self):
            return self.returncode

    monkeypatch.setattr("vq.sweeps.execute.Popen", Process)


@pytest.mark.usefixtures(
    "cifar10", "sweeps_in_this_process", "without_plots", "without_homology_plots"
)
@pytest.mark.parametrize("command", commands())
def test_every_command_runs(command, working_directory, call_vq, capsys):
    for name, module in EXTRAS.items():
        if name in command:
            pytest.importorskip(module, reason="its extra is not installed")
    short = shortened(command)
    assert short.startswith("vq ")
    if "--run-dir runs/NAME" in short:
        shutil.rmtree(working_directory / "runs" / "NAME")
    assert call_vq(short) == 0, capsys.readouterr().err


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_every_excluded_launcher_is_documented(launcher):
    assert f"\n{launcher} vq " in (ROOT / "docs" / "training.md").read_text(encoding="utf-8")


@pytest.mark.usefixtures("working_directory", "sweeps_in_this_process")
@pytest.mark.parametrize(("page", "code"), blocks("python"))
def test_every_python_example_runs(page, code):
    names = {"__name__": "example"}
    short = re.sub(r"max_steps=\d{3,}", "max_steps=2", code)
    exec(compile(short, str(page), "exec"), names)
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


def test_excerpts_are_those_of_the_files():
    """A block with a title shows a part of that file, but for indentation and empty lines."""

    def lines(text):
        return "\n".join(line.strip() for line in text.splitlines() if line.strip())

    excerpt = re.compile(r'^```\w+ title="([^"]+)"\n(.*?)^```', re.M | re.S)
    shown = [
        (page, *match)
        for page in PAGES
        for match in excerpt.findall(page.read_text(encoding="utf-8"))
    ]
    assert shown
    for page, file, text in shown:
        assert lines(text) in lines((ROOT / file).read_text(encoding="utf-8")), (page, text)


def test_the_table_of_kinds_agrees_with_the_code():
    """What is injected are the arguments that an interface's constructor requires."""
    page = (ROOT / "docs" / "plugins" / "index.md").read_text(encoding="utf-8")
    table = page.partition("| kind | interface | injected |")[2].partition("\n\n")[0]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]
    assert [row[0] for row in cells] == [*KINDS]
    sources = [*ROOT.glob("*/src"), *ROOT.glob("plugins/*/src")]
    for kind, interface, injected, files in cells:
        for file in re.findall("`(.+?)`", files):
            assert any((source / file).exists() for source in sources), file
        name = re.match(r"`vqcore\.(\w+)`", interface)
        constructor = name and vars(getattr(vqcore, name[1])).get("__init__")
        if constructor:
            arguments = inspect.signature(constructor).parameters.values()
            required = [each.name for each in arguments if each.default is each.empty]
            assert required[1:] == re.findall("`([a-z_]+)`", injected), kind


HOOKS = sorted(name for name in vars(hooks) if name.startswith("vq_"))


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_is_a_heading_of_the_documentation(name):
    arguments = ", ".join(inspect.signature(getattr(hooks, name)).parameters)
    page = (ROOT / "docs" / "plugins" / "hooks.md").read_text(encoding="utf-8")
    assert f"\n### {name}({arguments})\n" in page
    assert inspect.getdoc(getattr(hooks, name))


def test_every_hook_is_implemented_in_a_test():
    """Those of components are: ``vqcore/tests/test_registry.py`` implements each kind's."""
    folders = [ROOT / name for name in ("vqcore", "cli", "plugins")]
    files = [path for folder in folders for path in folder.rglob("test_*.py")]
    tests = "".join(path.read_text(encoding="utf-8") for path in files)
    others = set(HOOKS) - set(KINDS.values())
    assert {name for name in others if not re.search(rf"def {name}\b", tests)} == set()


def test_links_between_pages_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}"
