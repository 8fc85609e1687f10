"""The Python API: the same runs as the command's, objects in place of names, callbacks, errors."""

import inspect
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

import vq as api
from vqcore import DataSource
from vqcore.errors import ComponentError, RunError, SettingError, UsageError

TINY = {
    "backbone": {"hidden": 8},
    "log_every": 4,
    "codebook_size": 16,
    "max_steps": 8,
    "device": "cpu",
}
TINY_WORDS = ("--set", "backbone.hidden=8", "--set", "log_every=4", "--codebook-size", 16)


@pytest.fixture(autouse=True)
def working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def images():
    return torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(0))


class Autoencoder(nn.Module):
    """A user's own network; four times four positions of 8 dimensions."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Conv2d(1, 8, 2, 2), nn.ConvTranspose2d(8, 1, 2, 2)

    def encode(self, x):
        return self.encoder(x)

    def decode(self, z):
        return self.decoder(z)


class Labelled(Dataset):
    """A map-style data set of pairs."""

    def __init__(self, samples):
        self.samples = samples

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, row):
        return self.samples[row], row % 3


def without_time(lines):
    timed = ("images_per_second", "seconds")
    return [{name: v for name, v in line.items() if name not in timed} for line in lines]


# -- the same as the command ------------------------------------------------


def test_importing_vq_imports_no_torch_and_shows_every_name():
    source = "import sys, vq\nassert 'torch' not in sys.modules\nprint(*dir(vq))\nfrom vq import *"
    shown = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, check=True
    ).stdout.split()
    assert shown == api.__all__ == sorted(api.__all__)
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = api.trian


def test_every_name_of_the_api_is_documented():
    page = (Path(__file__).parents[2] / "docs" / "python.md").read_text(encoding="utf-8")
    for name in api.__all__:
        assert f"`vq.{name}" in page or f"vq.{name}(" in page, name
        assert inspect.getdoc(getattr(api, name))


def test_the_command_gives_the_same_metrics_to_the_bit(vq):
    choices = ("--manifold", "poincare", "--regularizer", "entropy", "--lr", "2e-3", "--seed", 3)
    result = vq("train", *TINY_WORDS, "--max-steps", 8, *choices, "--run-dir", "command")
    assert result.code == 0, result
    run = api.train(
        **TINY, manifold="poincare", regularizers=["entropy"], lr=2e-3, seed=3, run_dir="python"
    )
    command = api.load_run("command")
    assert without_time([run.metrics]) == without_time([command.metrics])
    assert without_time(run.history) == without_time(command.history)
    weights = [(each.checkpoint / "model.safetensors").read_bytes() for each in (run, command)]
    assert weights[0] == weights[1]
    assert api.load_run("python").config.dump() == {**command.config.dump(), "device": "cpu"}
    evaluated = json.loads(vq("evaluate", "command", "--json").out)
    assert without_time([api.evaluate(run)]) == without_time([evaluated])


def test_a_run_has_all_that_its_folder_holds():
    run = api.train(**TINY, run_dir="run")
    assert (run.status, run.folder.path, run.checkpoint.name) == (
        "done", Path("run"), "step-00000008",
    )  # fmt: skip
    assert run.metrics["steps"] == run.history[-1]["step"] == 8
    assert run.config.settings.codebook_size == 16
    assert repr(run) == "<TrainedRun run: done, step-00000008>"
    model = run.model
    assert not model.training
    assert tuple(model.codebook.shape) == (16, 8)
    samples = torch.rand(3, 1, 8, 8) * 2 - 1
    indices = model.encode(samples)
    assert indices.shape == (3, *model.index_shape)
    assert torch.equal(model.reconstruct(samples), model.decode(indices))
    loaded = api.load("run")
    assert torch.equal(loaded.encode(samples), indices)
    assert torch.equal(api.load(run).encode(samples), indices)
    assert api.load_run(run) is run


def test_settings_in_every_form(tmp_path):
    config = tmp_path / "run.yaml"
    config.write_text("backbone:\n  hidden: 8\ncodebook_size: 16\nquantizer: ema\ndevice: cpu\n")
    run = api.train(
        config=config,
        quantizer={"decay": 0.9},
        settings={"quantizer.commitment_weight": 0.5, "max_steps": 2},
        manifold=("poincare"),
        regularizers={"entropy": {"weight": 0.1}},
        max_steps=3,
    )
    quantizer = run.config.components["quantizer"]
    assert (quantizer.name, quantizer.options.decay) == ("ema", 0.9)
    assert quantizer.options.commitment_weight == 0.5
    assert run.config.regularizers["entropy"].options.weight == 0.1
    assert run.metrics["steps"] == 2  # settings by key path win over keywords
    again = api.train(config=run.config.dump(), run_dir="again")
    assert again.metrics["psnr"] == run.metrics["psnr"]


def test_resuming(tmp_path):
    whole = api.train(**TINY, schedule="constant", run_dir="whole")
    api.train(**{**TINY, "max_steps": 4}, schedule="constant", run_dir="parts")
    run = api.train(resume="parts", max_steps=8)
    assert without_time([run.metrics]) == without_time([whole.metrics])
    assert api.train(resume=run, max_steps=9).metrics["steps"] == 9
    with pytest.raises(UsageError, match="codebook_size cannot change when a run is resumed"):
        api.train(resume=run, codebook_size=32)
    with pytest.raises(UsageError, match="leave out config, preset and run_dir"):
        api.train(resume=run, run_dir="elsewhere")


def test_nothing_is_printed_and_nothing_of_the_callers_changes(capfd):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    threads = torch.get_num_threads()
    run = api.train(**TINY)
    api.evaluate(run)
    api.encode(run, "test", "codes")
    api.decode(run, "codes", "images")
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == threads
    assert capfd.readouterr() == ("", "")
    api.train(**TINY, progress=True)
    assert "step 8/8" in capfd.readouterr().out


def test_codes_programs_and_the_hubs_layout_from_a_run_or_its_folder(tmp_path):
    run = api.train(**TINY, run_dir="run")
    manifest = api.encode(run, "test", "codes")
    assert manifest.complete
    assert len(manifest.names) == run.metrics["samples"]
    assert api.decode("run", "codes", tmp_path / "out.npy") == len(manifest.names)
    assert api.export(run, "programs")["checked"]["differing_indices"] == 0
    assert api.push(run, to_folder="pushed") == "pushed"
    assert api.compare([run, "run"]).runs[0].metrics["psnr"] == run.metrics["psnr"]
    assert api.report(run, tmp_path / "page.html").is_file()
    samples = torch.rand(3, 1, 8, 8) * 2 - 1
    assert torch.equal(api.from_pretrained("pushed").encode(samples), run.model.encode(samples))


def test_a_function_of_a_missing_plugin_names_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "vq_report", None)
    absent = ModuleNotFoundError("No module named 'vq_report'", name="vq_report")
    monkeypatch.setattr(api, "import_module", lambda name: (_ for _ in ()).throw(absent))
    with pytest.raises(ComponentError, match="pip install vq-report"):
        _ = api.report


# -- objects ----------------------------------------------------------------


def test_a_tensor_and_a_module_in_place_of_names(images):
    module = Autoencoder()
    before = module.encoder.weight.clone()
    run = api.train(**{**TINY, "backbone": module}, dataset=images, run_dir="run")
    assert run.metrics["samples"] == 4  # a tenth is held out
    assert run.samples.value_range == (0.0, 1.0)
    assert run.model.index_shape == (4, 4)
    assert torch.equal(module.encoder.weight, before)  # the run trained a copy
    assert not torch.equal(run.model.backbone.module.encoder.weight, before)
    written = (run.folder.path / "config.yaml").read_text()
    assert "name: python/python-object\n  type: Tensor (40, 1, 8, 8) float32" in written
    assert "Autoencoder" in written
    assert api.evaluate(run)["psnr"] == run.metrics["psnr"]
    again = api.train(**{**TINY, "backbone": module}, dataset=images)
    assert again.metrics["psnr"] == run.metrics["psnr"]
    assert api.train(resume=run, max_steps=10).metrics["steps"] == 10


def test_a_run_of_objects_needs_them_again(images, vq):
    api.train(**{**TINY, "backbone": Autoencoder()}, dataset=images, run_dir="run")
    with pytest.raises(SettingError, match=r"backbone = .*Autoencoder.*give it again as"):
        api.load("run")
    model = api.load("run", backbone=Autoencoder())
    assert model.index_shape == (4, 4)
    run = api.load_run("run", backbone=Autoencoder())
    with pytest.raises(SettingError, match=r"dataset = 'Tensor \(40, 1, 8, 8\) float32'"):
        api.evaluate(run)
    assert api.evaluate(run, dataset=images)["psnr"] == run.metrics["psnr"]
    result = vq("evaluate", "run")
    assert result.code == 2
    assert "expected the Python object that the run was trained with" in result.err
    pushed = api.push(run, to_folder="pushed")
    assert "backbone=..." in Path(pushed, "README.md").read_text()
    samples = torch.rand(2, 1, 8, 8)
    loaded = api.from_pretrained("pushed", backbone=Autoencoder())
    assert torch.equal(loaded.encode(samples), model.encode(samples))


def test_a_data_set_with_labels_and_its_own_held_out_samples(images):
    run = api.train(**TINY, dataset=Labelled(images), test_dataset=Labelled(images[:7]))
    assert run.metrics["samples"] == 7
    assert list(run.source.classes) == ["0", "1", "2"]
    assert run.source.split("test").labels.tolist() == [0, 1, 2, 0, 1, 2, 0]


@pytest.mark.parametrize(
    ("samples", "value_range", "likelihood"),
    [
        (torch.linspace(0, 1, 64).view(4, 16), (0, 1), "gaussian"),
        (torch.linspace(-0.5, 1, 64).view(4, 16), (-1, 1), "gaussian"),
        (torch.linspace(-3, 5, 64).view(4, 16).double(), (-3, 5), "gaussian"),
        (torch.arange(64, dtype=torch.uint8).view(4, 16), (-1, 1), "gaussian"),
        (torch.eye(16) > 0, (0, 1), "bernoulli"),
    ],
)
def test_the_range_and_likelihood_of_tensors(samples, value_range, likelihood):
    source = api.InMemoryDataset(samples)
    assert (source.value_range, source.likelihood) == (value_range, likelihood)
    split = source.split("train")
    (batch,) = split.batches([torch.arange(len(split))], torch.device("cpu"))
    assert batch.dtype == torch.float32
    assert batch.min() >= value_range[0]
    assert batch.max() <= value_range[1]


def test_floats_that_may_be_images_with_channels_last_are_pointed_out(caplog):
    api.InMemoryDataset(torch.rand(4, 8, 8, 3))
    assert "is read as 8 channels of 8 x 3; if that is wrong, put the channels" in caplog.text
    caplog.clear()
    for shape in ((4, 3, 8, 8), (4, 1, 8, 3), (4, 8, 8, 5), (4, 8, 3)):
        api.InMemoryDataset(torch.rand(*shape))
    assert not caplog.text


def test_grey_images_without_a_channel_are_pointed_out(caplog):
    api.InMemoryDataset(torch.zeros(4, 8, 8, dtype=torch.uint8))
    assert "is read as 8 channels of 8 values; if that is wrong, give images a" in caplog.text


def test_a_given_range_is_used_and_the_recorded_one_comes_back(images):
    assert api.InMemoryDataset(images, value_range=(0, 2)).value_range == (0, 2)
    source = api.InMemoryDataset(images[:10] * 0.1 - 0.05)
    source.restore({"value_range": [-2, 2]})
    assert source.value_range == (-2, 2)


def test_a_data_source_is_used_as_it_is(images):
    class Source(DataSource):
        shape, value_range = (1, 8, 8), (0.0, 1.0)

        def split(self, name):
            return api.InMemoryDataset(images).split(name)

    run = api.train(**TINY, dataset=Source())
    assert run.metrics["samples"] == 4
    assert "Source" in run.config.components["dataset"].options.type


def test_a_backbone_of_vqcore_and_one_of_vectors():
    class Linear(nn.Module):
        def __init__(self):
            super().__init__()
            self.encode, self.decode = nn.Linear(16, 6), nn.Linear(6, 16)

    vectors = torch.randn(30, 16)
    run = api.train(**{**TINY, "backbone": Linear()}, dataset=vectors)
    assert run.model.index_shape == ()
    assert tuple(run.model.codebook.shape) == (16, 6)
    again = api.train(**{**TINY, "backbone": run.model.backbone}, dataset=vectors)
    assert again.model.index_shape == ()


class WrongShape(Autoencoder):
    def decode(self, z):
        return self.decoder(z)[..., :7]


@pytest.mark.parametrize(
    ("choices", "error", "message"),
    [
        ({"dataset": torch.zeros(4)}, SettingError, "two or more samples"),
        ({"dataset": torch.zeros(1, 4)}, SettingError, "two or more samples"),
        ({"dataset": torch.zeros(4, 4).long()}, SettingError, "floats, uint8 or bool"),
        ({"dataset": torch.full((4, 4), torch.nan)}, SettingError, "finite values"),
        ({"dataset": object()}, SettingError, "a tensor, a torch Dataset"),
        (
            {"manifold": {"name": "product", "factors": [torch.nn.Identity(), "sphere"]}},
            SettingError,
            "manifold.factors.0 = 'Identity': expected the name of a registered component",
        ),
        ({"dataset": ["a", "b"]}, SettingError, "items that are tensors"),
        ({"dataset": [torch.zeros(2), torch.zeros(3)]}, SettingError, "one shape and type"),
        ({"dataset": np.zeros((4, 4))}, SettingError, "torch.from_numpy"),
        (
            {"dataset": torch.zeros(4, 8, 8, 3, dtype=torch.uint8)},
            SettingError,
            r"images \(N, C, H, W\); put the channels first: dataset.movedim\(-1, 1\)",
        ),
        ({"dataset": torch.full((4, 4), 5.0)}, SettingError, "different values, found only 5"),
        ({"test_dataset": torch.zeros(4, 4)}, UsageError, "test_dataset: expected a dataset"),
        ({"value_range": (0, 1)}, UsageError, "value_range: expected a dataset"),
        (
            {"dataset": torch.rand(4, 1, 8, 8), "value_range": (1, 0)},
            SettingError,
            "the smaller number first",
        ),
        (
            {"dataset": torch.rand(4, 1, 8, 8), "test_dataset": torch.rand(4, 1, 8, 9)},
            SettingError,
            "as in dataset",
        ),
        ({"backbone": nn.Linear(2, 2)}, SettingError, "an nn.Module with encode"),
        ({"backbone": WrongShape()}, SettingError, r"of shape \(1, 8, 8\), found \(1, 8, 7\)"),
        (
            {"backbone": Autoencoder(), "dataset": torch.rand(4, 3, 8, 8)},
            SettingError,
            "encode and decode for samples of shape",
        ),
        ({"manifol": "poincare"}, UsageError, "did you mean 'manifold'"),
        ({"manifold": "poincar"}, ComponentError, "did you mean 'poincare'"),
        ({"batch_size": 0}, UsageError, "batch_size = 0"),
        ({"quantizer": {"decay": 1}}, UsageError, "quantizer.decay: unknown setting"),
        ({"config": "absent.yaml"}, UsageError, "absent.yaml: cannot be read"),
        ({"preset": "vq-vae-3"}, UsageError, "preset"),
        ({"run_dir": "."}, SettingError, "new or empty folder"),
        ({"run_dir": 3}, SettingError, "run_dir = 'int': expected a path"),
        ({"config": 3}, SettingError, "config = 3: expected a file or a mapping"),
        ({"settings": ["dim=3"]}, SettingError, "expected a mapping of key paths"),
        ({"manifold": 3}, UsageError, "manifold = 3: expected the name of a component"),
        ({"regularizers": 3}, UsageError, "regularizers = 3: expected a list of names"),
        ({"plugin_files": "a.py"}, UsageError, "plugin_files = 'a.py': expected a list"),
        ({"callbacks": 3}, SettingError, "callbacks = 3: expected a list of objects"),
        ({"callbacks": [object()]}, UsageError, "expected methods named like life-cycle hooks"),
        ({"callbacks": [SimpleNamespace(vq_lgo=print)]}, UsageError, "did you mean 'vq_log'"),
        ({"callbacks": [SimpleNamespace(vq_report=print)]}, UsageError, "vq_report"),
        ({"callbacks": [Autoencoder]}, UsageError, "found the class Autoencoder"),
        ({"resume": 3}, SettingError, "run = 3: expected a run, or the path"),
        ({"resume": "absent"}, SettingError, "a run folder"),
    ],
)
def test_mistakes_are_exceptions_before_anything_is_written(choices, error, message, tmp_path):
    (tmp_path / "something").touch()
    resumed = {} if "resume" in choices else TINY
    with pytest.raises(error, match=message):
        api.train(**{**resumed, **choices})
    assert [path.name for path in tmp_path.iterdir()] == ["something"]


# -- callbacks --------------------------------------------------------------


class Recorder:
    """Notes every call."""

    def __init__(self):
        self.calls = []

    def vq_run_start(self, run):
        self.calls.append(("start", run.step, run.folder.path.is_dir()))

    def vq_step_end(self, step, losses):
        self.calls.append(("step", step, "reconstruction" in losses))

    def vq_metrics(self, run, batch):
        return {"brightness": float(batch.mean())}

    def vq_log(self, metrics):
        self.calls.append(("log", metrics["step"], "brightness" in metrics))

    def vq_run_end(self, run, status):
        self.calls.append(("end", status, run.step))


def test_callbacks_have_the_life_cycles_methods():
    recorder = Recorder()
    run = api.train(**TINY, callbacks=[recorder])
    steps = [("step", step, True) for step in range(1, 9)]
    assert recorder.calls == [
        ("start", 0, True),
        *steps[:4],
        ("log", 4, True),
        *steps[4:],
        ("log", 8, True),
        ("end", "done", 8),
    ]
    assert all("brightness" in line for line in run.history)


def test_metrics_of_a_callback_that_are_no_numbers_are_named():
    answers = {"a": "text"}
    with pytest.raises(
        UsageError, match=r"Namespace: vq_metrics returned a = 'text': expected a n"
    ):
        api.train(**TINY, callbacks=[SimpleNamespace(vq_metrics=lambda: answers)])


def test_one_regularizer_and_a_device_in_the_forms_of_python():
    run = api.train(**TINY | {"regularizers": "entropy", "device": torch.device("cpu")})
    assert run.config.title().endswith("-entropy")
    assert run.config.settings.device == "cpu"


def test_numbers_of_numpy_and_torch_are_settings():
    run = api.train(**TINY | {"lr": np.float32(0.5), "dim": torch.tensor(4)})
    options = run.config.dump()
    assert (options["optimizer"]["lr"], options["dim"]) == (0.5, 4)


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda run: api.encode(run, torch.zeros(2, 1, 8, 8), "codes"), "vq.load"),
        (lambda run: api.decode(run, torch.zeros(2, 4, 4), "images"), "vq.load"),
        (lambda run: api.load(3), "run = 3"),
        (lambda run: api.probe(run, samples=0), "samples = 0"),
        (lambda run: api.report([]), "one run or more"),
        (lambda run: api.compare([]), "one run or more"),
        (lambda run: api.sweep({"dim": [1, 2]}, seeds=3), "a list of seeds"),
        (lambda run: api.sweep(["dim"]), "a mapping of settings"),
    ],
)
def test_wrong_arguments_of_the_other_functions_are_named(use, message):
    with pytest.raises(SettingError, match=message):
        use(api.train(**TINY | {"max_steps": 1}))


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda model: model.encode(np.zeros((2, 1, 8, 8))), "samples = 'ndarray'"),
        (lambda model: model.encode(torch.zeros(2, 1, 8, 8).byte()), "a tensor of floats"),
        (lambda model: model.decode(torch.zeros(2, 4, 4)), "whole numbers"),
        (lambda model: model.decode(torch.zeros(2, 3).long()), r"the shape \(B, 4, 4\)"),
        (lambda model: model.decode(torch.full((2, 4, 4), 999)), "codes 0 to"),
    ],
)
def test_wrong_input_of_a_model_is_named(use, message):
    model = api.train(**TINY | {"max_steps": 1}).model
    with pytest.raises(SettingError, match=message):
        use(model)


def test_an_error_in_a_callback_ends_the_run():
    class Failing(Recorder):
        def vq_step_end(self, step, losses):
            if step == 3:
                raise RuntimeError("enough")

    failing = Failing()
    with pytest.raises(RuntimeError, match="enough"):
        api.train(**TINY, callbacks=[failing], run_dir="run")
    assert failing.calls[-1] == ("end", "failed", 3)
    assert json.loads(Path("run/status.json").read_text())["status"] == "failed"


def test_a_signal_saves_and_returns():
    import os
    import signal

    class Stopping:
        def vq_step_end(self, step):
            if step == 3:
                os.kill(os.getpid(), signal.SIGINT)

    run = api.train(**TINY, callbacks=[Stopping()])
    assert (run.status, run.metrics["steps"]) == ("interrupted", 3)
    assert api.train(resume=run).metrics["steps"] == 8


def test_a_failed_run_is_a_run_error():
    with pytest.raises(RunError, match="step"):
        api.train(**TINY, lr=1e30, warmup_steps=0, grad_clip=0, precision="no")


# -- sweeps -----------------------------------------------------------------


def test_a_sweep_of_python_values(monkeypatch):
    from vq.sweeps import execute

    class Process:
        """Trains in this process: another would spend seconds on importing torch."""

        def __init__(self, command, **_options):
            given = dict(zip(command[4::2], command[5::2], strict=True))
            api.train(config=given["--config"], run_dir=given["--run-dir"])
            self.returncode = 0

        def poll(self):
            return self.returncode

    monkeypatch.setattr(execute, "Popen", Process)
    lines = []
    over = {"lr": [1e-3, 3e-3], "quantizer": ["codebook", {"name": "ema", "decay": 0.9}]}
    found = api.sweep(over, seeds=[0, 1], **TINY, run_dir="sweep", report=lines.append)
    assert len(found.runs) == len(lines) == 8
    assert {run.status for run in found.runs} == {"done"}
    assert len(found.groups) == 4
    assert found.groups[0]["settings"] == {"lr": "0.001", "quantizer": "codebook"}
    assert found.groups[0]["runs"] == 2
    first = api.load_run(found.path / "runs" / found.runs[0].name)
    assert first.config.components["optimizer"].options.lr == 1e-3
    assert found.runs[0].metrics == first.metrics
    assert [run.status for run in api.sweep(resume="sweep").runs] == ["done"] * 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "nothing to sweep"),
        ({"over": {"dim": 4}}, "expected a list of the values"),
        ({"over": {"dim": [4, 4]}}, "a value given twice"),
        ({"over": {"dmi": [4, 8]}}, "unknown setting"),
        ({"seeds": [0, 1], "dataset": torch.rand(4, 1, 8, 8)}, "expected names"),
        ({"resume": "sweep", "seeds": [0, 1]}, "leave out all but jobs"),
    ],
)
def test_a_sweep_checks_its_arguments(arguments, message):
    with pytest.raises(UsageError, match=message):
        api.sweep(**arguments)
    assert not Path("sweeps").exists()


# -- the notebook -----------------------------------------------------------


def test_the_notebook_runs_and_is_stripped_of_outputs(monkeypatch, capsys):
    """The code of the cells, one after the other, with fewer steps."""
    notebook = Path(__file__).parents[2] / "examples" / "quickstart.ipynb"
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert all((cell["outputs"], cell["execution_count"]) == ([], None) for cell in code)
    text = "\n".join("".join(cell["source"]) for cell in code)
    assert text.count("STEPS = 600\n") == text.count("EPOCHS = 12\n") == 1
    text = text.replace("STEPS = 600\n", "STEPS = 8\n").replace("EPOCHS = 12\n", "EPOCHS = 1\n")
    monkeypatch.setenv("MPLBACKEND", "agg")
    shown = []
    monkeypatch.setattr("matplotlib.pyplot.show", lambda: shown.append(1))
    names = {"__name__": "notebook"}
    exec(compile(text, str(notebook), "exec"), names)
    names["plt"].close("all")
    assert names["drawn"].values.shape == (20, 1, 8, 8)
    assert len(shown) == text.count("plt.subplots(") == 5
    assert "images" in capsys.readouterr().out
