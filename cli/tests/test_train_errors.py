"""Wrong input ends with one message, which names the fix, with its exit code, and with no trace.

An exception that main() does not turn into an exit code would be a traceback; here it fails the
test.
"""

import math

import pytest
import torch

import vq
from vq.training.batches import BatchSampler
from vqcore import DataSource
from vqcore.data.tensor_split import TensorSplit
from vqcore.errors import RunError

ERRORS = {
    # -- names
    "unknown manifold": (
        ("--manifold", "poincar"),
        3,
        "manifold = 'poincar': no plugin provides it; did you mean 'poincare'?; "
        "known: euclidean, lorentz",
    ),
    "unknown inner quantizer": (
        ("--quantizer", "grouped", "--set", "quantizer.inner.name=emma"),
        3,
        "quantizer.inner = 'emma': no plugin provides it; did you mean 'ema'?",
    ),
    "unknown regularizer": (("--regularizer", "homologie"), 3, "did you mean 'homology'?"),
    "unknown data set": (
        ("--dataset", "cifar"),
        3,
        "dataset = 'cifar': ",
        "did you mean 'cifar10'?",
    ),
    "no near miss": (
        ("--backbone", "xyz"),
        3,
        "backbone = 'xyz': no plugin provides it; known: classifier, conv, distance,",
    ),
    "unknown option": (
        ("--manifol", "x"),
        2,
        "--manifol: no such option or argument; did you mean '--manifold'?",
    ),
    "argument without an option": (
        ("poincare",),
        2,
        "poincare: no such option or argument; see vq train --help",
    ),
    "unknown setting": (
        ("--set", "quantiser.x=1"),
        2,
        "quantiser.x: unknown setting; did you mean 'quantizer'?",
    ),
    "unknown component option": (
        ("--quantizer", "ema", "--set", "quantizer.dekay=0.5"),
        2,
        "quantizer.dekay: unknown setting; did you mean 'decay'?",
    ),
    "unknown option of a regularizer": (
        ("--set", "regularizers.entropy.wait=1"),
        2,
        "regularizers.entropy.wait: unknown setting; did you mean 'weight'?",
    ),
    "option of one without any": (
        ("--set", "manifold.c=1"),
        2,
        "manifold.c: manifold 'euclidean' has no options",
    ),
    # -- values
    "value out of range": (
        ("--manifold", "poincare", "--set", "manifold.curvature=-1"),
        2,
        "manifold.curvature = -1: expected greater than or equal to 1e-9 (default 1.0)",
    ),
    "value out of range, nested": (
        ("--quantizer", "grouped", "--set", "quantizer.inner={name: ema, decay: 1.5}"),
        2,
        "quantizer.inner.decay = 1.5: expected less than 1 (default 0.99)",
    ),
    "value of a wrong type": (
        ("--set", "optimizer.lr=fast"),
        2,
        "optimizer.lr = 'fast': expected a valid number",
    ),
    "no truth value": (
        ("--set", "cuda_graph=maybe"),
        2,
        "cuda_graph = 'maybe': expected true or false (default False)",
    ),
    "no choice": (
        ("--precision", "fp8"),
        2,
        "precision = 'fp8': expected 'no', 'tf32', 'bf16', 'fp16' or 'float64' (default 'no')",
    ),
    "a number for a component": (("--set", "quantizer=5"), 2, "quantizer = 5: expected "),
    "a number over a component": (
        ("--quantizer", "ema", "--set", "quantizer=5"),
        2,
        "quantizer = 5: expected ",
    ),
    "nothing": (("--set", "dim=0"), 2, "dim = 0: expected greater than 0 (default "),
    "null": (("--set", "dim=null"), 2, "dim = None: expected a valid integer"),
    "too large a seed": (
        ("--seed", 2**63),
        2,
        "seed = 9223372036854775808: expected less than 4294967296",
    ),
    "negative seed": (("--seed", -1), 2, "seed = -1: expected greater than or equal to 0"),
    "options of a plain setting": (
        ("--set", "dim.x=5"),
        2,
        "dim = {'x': 5}: expected a valid integer",
    ),
    "regularizers are a number": (
        ("--set", "regularizers=5"),
        2,
        "regularizers = 5: expected a list of names, or a mapping from names to options",
    ),
    "a number among regularizers": (
        ("--set", "regularizers=[1]"),
        2,
        "regularizers = 1: expected the name of one",
    ),
    "plugin files are a number": (
        ("--set", "plugin_files=5"),
        2,
        "plugin_files = 5: expected a list of files",
    ),
    "plugin files are text": (
        ("--set", "plugin_files=abc"),
        2,
        "plugin_files = 'abc': expected a list of files",
    ),
    "overlong path": (("--resume", "x" * 300), 1, "File name too long"),
    "plugin file that links to itself": (
        ("--plugin-file", "loop.py"),
        3,
        "loop.py is not loaded (error): FileNotFoundError: no such plugin file",
    ),
    "two at once": (("--dim", 0, "--epochs", 0), 2, "epochs = 0: expected greater than 0"),
    "no number for an option": (
        ("--lr", "fast"),
        2,
        "optimizer.lr = 'fast': expected a valid number",
    ),
    "no choice of an option": (
        ("--schedule", "quadratic"),
        2,
        "schedule = 'quadratic': expected 'constant', 'cosine', 'linear' or 'wsd'",
    ),
    "an empty value of an option": (("--manifold", ""), 3, "manifold = '': no plugin provides it"),
    "a name of another kind": (
        ("--quantizer", "poincare"),
        3,
        "quantizer = 'poincare': no plugin provides it; it is a name of another kind: manifold",
    ),
    "set without a value": (
        ("--set", "dim"),
        2,
        "--set dim: expected key=value, as in --set quantizer.commitment_w",
    ),
    "set without a key": (("--set", "=5"), 2, "--set =5: expected key=value"),
    "dotted without a value": (
        ("--quantizer.decay",),
        2,
        "--quantizer.decay: expected a value after it",
    ),
    "value that is no YAML": (("--set", "dim=[1"), 2, "value '[1': not valid YAML; quote it"),
    # -- what does not go together
    "groups that do not divide dim": (
        ("--quantizer", "grouped", "--set", "quantizer.groups=3", "--dim", 16),
        2,
        "quantizer.groups = 3: expected a divisor of dim = 16; choose one of 1, 2, 4, 8, 16",
    ),
    "inner groups that do not divide dim": (
        (
            "--quantizer",
            "residual",
            "--set",
            "quantizer.inner={name: grouped, groups: 5}",
            "--dim",
            16,
        ),
        2,
        "quantizer.inner.groups = 5: expected a divisor of dim = 16",
    ),
    "images too small for that many downsamplings": (
        ("--set", "backbone.downsamplings=4"),
        2,
        "backbone.downsamplings = 4: expected sides 8 x 8 divisible by 16; lower it",
    ),
    "vectors for convolutions": (
        ("--dataset", "trees", "--set", "dataset.depth=3"),
        2,
        "backbone = 'conv': expected signals (C, T), images or clips (C, T, H, W), found samples "
        "of shape (7,); set backbone to mlp",
    ),
    "codes as points with a flat optimizer": (
        ("--manifold", "poincare", "--set", "manifold.codes=riemannian"),
        2,
        "manifold.codes = 'riemannian': expected optimizer riemannian-adam, found adamw",
    ),
    "a radius that float32 does not reach": (
        ("--manifold", "poincare", "--set", "manifold.max_radius=5"),
        2,
        "manifold.max_radius = 5.0: expected at most 3.1 in float32 at curvature 1; lower it, "
        "or set precision to float64",
    ),
    "a curvature at which float32 does not reach the radius": (
        ("--manifold", "lorentz", "--set", "manifold.curvature=4"),
        2,
        "manifold.max_radius = 2.0: expected at most 1.55 in float32 at curvature 4; lower it",
    ),
    # -- the machine
    "no such device": (("--device", "cuda:99"), 2, "device = 'cuda:99': expected one of auto, cpu"),
    "no device at all": (
        ("--device", "toaster"),
        2,
        "device = 'toaster': expected one of auto, cpu",
    ),
    "half precision on a CPU": (
        ("--device", "cpu", "--precision", "fp16"),
        2,
        "precision = 'fp16': expected no or bf16 on a CPU",
    ),
    # -- data
    "missing folder of images": (
        ("--dataset", "image-folder", "--set", "dataset.root=/no/such/folder"),
        2,
        "dataset.root = '/no/such/folder': expected a folder of images, but it does not exist; "
        "name another",
    ),
    **{
        f"{name} is not downloaded": (
            ("--dataset", name),
            2,
            "dataset.root = 'data': expected the folder that holds",
            "download it with --set dataset.download=true",
        )
        for name in ("mnist", "fashion-mnist", "cifar10", "celeba")
    },
    # -- files
    "no config file": (
        ("--config", "none.yaml"),
        2,
        "none.yaml: cannot be read: No such file or directory",
    ),
    "config is a folder": (("--config", "/"), 2, "/: cannot be read: Is a directory"),
    "no plugin file": (
        ("--plugin-file", "none.py"),
        3,
        "none.py",
        "FileNotFoundError: no such plugin file",
    ),
    "no run to resume": (
        ("--resume", "none"),
        2,
        "run = 'none': expected a run folder with a config.yaml in it",
    ),
}
FILES = {
    "not yaml": ("a.yaml", "seed: [1", "a.yaml: not valid yaml"),
    "not toml": ("a.toml", "seed = ", "a.toml: not valid toml"),
    "not json": ("a.json", "{", "a.json: not valid json"),
    "not text": ("a.yaml", b"\xff\xfe\x00", "a.yaml: not valid yaml"),
    "a list": ("a.yaml", "- seed\n", "a.yaml: expected a mapping of settings, found list"),
    "an unknown key": ("a.yaml", "sede: 1\n", "sede: unknown setting; did you mean 'seed'?"),
    "a key that is no text": ("a.yaml", "1: 2\n", "1"),
    "a nested value": (
        "a.json",
        '{"quantizer": {"name": "ema", "decay": 2}}',
        "quantizer.decay = 2: expected",
    ),
    "no name": ("a.yaml", "quantizer: {name: }\n", "quantizer.name = None: expected"),
    "nothing for a component": ("a.yaml", "optimizer: 3\n", "optimizer = 3: expected"),
}


def is_one_message(text):
    """A message for people: no traceback, no class of ours, no address of an object."""
    return text.strip() and not any(
        word in text for word in ("Traceback", "SettingError", "UsageError", " at 0x")
    )


@pytest.mark.parametrize("case", ERRORS)
def test_wrong_input(vq, tmp_path, case):
    arguments, code, *messages = ERRORS[case]
    where = () if "--resume" in arguments else ("--run-dir", "run")
    result = vq("train", *arguments, *where)
    assert result.code == code, result
    for message in messages:
        assert message in result.err
    assert is_one_message(result.err)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("case", FILES)
@pytest.mark.parametrize(
    "more", [(), ("--quantizer", "residual", "--optimizer", "adam", "--lr", 1, "--dry-run")]
)
def test_wrong_config_files(vq, tmp_path, case, more):
    name, content, message = FILES[case]
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    result = vq("train", "--config", path, "--run-dir", "run", *more)
    if more and case in ("a nested value", "no name", "nothing for a component"):
        assert result.code == 0, result  # another choice on the command line drops what was wrong
        return
    assert result.code == 2, result
    assert message in result.err
    assert is_one_message(result.err)
    assert list(tmp_path.iterdir()) == [path]


def test_two_mistakes_are_reported_together(vq):
    result = vq("train", "--dry-run", "--dim", 0, "--epochs", 0)
    assert result.err.count("expected greater than 0") == 2


def test_set_cannot_name_a_component_that_is_disabled(vq, monkeypatch):
    from vqcore.plugin.registry import default_registry

    monkeypatch.setenv("VQ_DISABLE_PLUGINS", "vqcore-ema")
    default_registry.cache_clear()
    try:
        result = vq("train", "--dry-run", "--quantizer", "ema")
        assert result.code == 3
        assert (
            "plugin ema of vqcore-ema is not loaded (disabled): named in VQ_DISABLE_PLUGINS"
            in result.err
        )
        assert vq("train", "--dry-run").code == 0
    finally:
        default_registry.cache_clear()


def test_a_broken_plugin_file_is_asked_for(vq, plugin_file, tmp_path):
    result = vq(
        "train",
        "--plugin-file",
        plugin_file("half_a_plugin", "raise OSError('no licence')"),
        "--max-steps",
        1,
    )
    assert result.code == 3
    assert "half_a_plugin.py is not loaded (error): OSError: no licence" in result.err
    assert [path.name for path in tmp_path.iterdir()] == ["plugin-files"]


# -- losses that are no numbers ---------------------------------------------

INFINITE = """
import torch
class Infinite(Regularizer):
    def forward(self, batch):
        return batch.z.sum() * 0 + (float("inf") if batch.step == 6 else 0)
@hookimpl
def vq_regularizers():
    config = "vqcore.plugin.component_config:RegularizerConfig"
    target = __name__ + ":Infinite"
    return [ComponentSpec(name="infinite", target=target, config=config, summary="a mistake")]
"""


def test_a_loss_that_explodes_ends_the_run(train):
    run = train(
        "--lr",
        "1e30",
        "--max-steps",
        12,
        "--set",
        "checkpoint_every=1",
        "--set",
        "log_every=1",
        code=1,
    )
    error = run.result.err
    assert "error: step 2: loss is nan, reconstruction is nan" in error
    cause = "the samples of step 2 are finite: lower --lr or --grad-clip"
    assert f"the run cannot continue; {cause}" in error
    assert is_one_message(error)
    assert run.json("status") == run.json("status") | {"status": "failed", "step": 2}
    assert run.steps == [1]
    assert run.checkpoint.name == "step-00000001"


def test_the_term_that_is_no_number_is_named(train, resume, plugin_file):
    path = plugin_file("an_infinite_term", INFINITE)
    arguments = (
        "--plugin-file",
        path,
        "--regularizer",
        "infinite",
        "--set",
        "checkpoint_every=4",
        "--max-steps",
        12,
    )
    run = train(*arguments, code=1)
    assert "step 7: loss is inf, infinite is inf: the run cannot continue" in run.result.err
    assert (
        f"last good checkpoint: {run.checkpoint}, resume from it with: vq train --resume {run.path}"
        in run.result.err
    )
    assert run.steps == [4]
    assert run.checkpoint.name == "step-00000004"
    assert is_one_message(run.result.err)


def test_weights_that_explode_in_the_last_step_are_noticed(train):
    run = train("--lr", "1e30", "--max-steps", 1, code=1)
    assert "step 1: test_mse is nan: the run cannot continue" in run.result.err
    assert "the held-out samples are finite: lower --lr" in run.result.err
    assert not (run.path / "summary.json").exists()
    assert not (run.path / "checkpoints").exists()


class Source(DataSource):
    """A plugin's data set, whose values nobody looks through before they are trained on."""

    shape = (1, 8, 8)

    def __init__(self, train, test):
        self.samples = {"train": train, "test": test}

    def split(self, name):
        return TensorSplit(self.samples[name])


def step_of(sample):
    """The step that takes a sample first; the run is one epoch of three steps."""
    steps = BatchSampler(96, 32, seed=0).epoch(0)
    return next(step for step, (part,) in enumerate(steps, 1) if sample in part.samples)


@pytest.mark.parametrize(
    ("split", "bad", "value", "messages"),
    [
        ("train", [70], math.nan, ["loss is nan, reconstruction is nan", "1 of the 32", ": 70;"]),
        ("train", [70], math.inf, ["grad_norm is nan", "1 of the 32", ": 70;"]),
        ("train", range(96), math.nan, ["32 of the 32 samples of step 1 hold", ", ...;"]),
        ("test", [9, 5], math.nan, ["test_mse is nan", "2 of the 96 held-out", ": 5, 9;"]),
    ],
)  # fmt: skip
def test_data_that_are_not_finite_are_named(tmp_path, without_plots, split, bad, value, messages):
    """One log line at the end: by then, a NaN of the first step has reached every term."""
    samples = {name: torch.zeros(96, 1, 8, 8) for name in ("train", "test")}
    samples[split][list(bad), 0, 3, 4] = value
    settings = {"backbone.hidden": 4, "batch_size": 32, "device": "cpu", "codebook_size": 16}
    with pytest.raises(RunError) as caught:
        vq.train(dataset=Source(**samples), epochs=1, run_dir=tmp_path / "run", settings=settings)
    step = min(map(step_of, bad)) if split == "train" else 3
    for message in (f"step {step}: ", *messages):
        assert message in str(caught.value)
    assert "--lr" not in str(caught.value)


class BrokenInTraining(TensorSplit):
    """Serves one sample as NaN, in training alone, as a mixture or a crop might."""

    def training_batches(self, chosen, device):
        for batch in chosen:
            broken = (batch.samples == 70).view(-1, 1, 1, 1)
            yield next(self.batches([batch.samples], device)).masked_fill(broken, math.nan)


def test_what_a_step_was_fed_is_looked_at(tmp_path, without_plots):
    source = Source(torch.zeros(96, 1, 8, 8), torch.zeros(96, 1, 8, 8))
    source.split = lambda name: BrokenInTraining(source.samples[name])
    settings = {"backbone.hidden": 4, "batch_size": 32, "device": "cpu", "codebook_size": 16}
    with pytest.raises(RunError, match=r"1 of the 32 samples of step .* hold NaN or inf.*: 70;"):
        vq.train(dataset=source, epochs=1, run_dir=tmp_path / "run", settings=settings)


def test_evaluating_on_data_that_are_not_finite_names_them(complete_run):
    samples = torch.zeros(4, 1, 8, 8)
    samples[2, 0, 0, 0] = math.nan
    with pytest.raises(RunError, match=r"mse is nan: 1 of the 4 held-out samples .* split: 2;"):
        vq.evaluate(complete_run.path, dataset=Source(samples, samples))


FAULTY = """
class Faulty(Regularizer):
    def forward(self, batch):
        return batch.latents

@hookimpl
def vq_regularizers():
    return [ComponentSpec(name="faulty", target=f"{__name__}:Faulty", summary="a mistake")]
"""


def test_a_mistake_in_a_plugin_is_told_with_its_traceback_and_its_line(train, plugin_file):
    path = plugin_file("a_faulty_term", FAULTY)
    run = train("--plugin-file", path, "--regularizer", "faulty", code=1)
    lines = run.result.err.splitlines()
    assert "Traceback (most recent call last):" in lines
    assert lines[-1].startswith("error: AttributeError: 'LatentBatch' object has no attribute")
    assert lines[-1].endswith("(a_faulty_term:6, the code of a plugin)")
