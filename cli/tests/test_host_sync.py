"""Between log steps no training step reads from the device, which would wait for it."""

from pathlib import Path

import pytest

from vq.training.trainer import Trainer
from vqcore.plugin.registry import default_registry
from vqcore.testing.waits import waits

#: Of the data sets: those that need no files.
DATASETS = ("digits", "hierarchy", "trees", "photos")

#: A loss that is trained.
CRITIC = (
    *("--plugin-file", Path(__file__).with_name("critic.py")),
    *("--set", "losses.critic.adaptive=true"),
)


@pytest.fixture
def reads(monkeypatch):
    """The reads of each training step, by its number."""
    found = {}
    step = Trainer.train_step

    def watched(run, parts):
        with waits() as names:
            losses = step(run, parts)
        found[run.step] = names
        return losses

    monkeypatch.setattr(Trainer, "train_step", watched)
    return found


@pytest.mark.parametrize(
    "choices",
    [
        ("--dataset.flip", "true", "--dataset.shift", 1, "--set", "grad_clip=0"),
        ("--quantizer", "ema", "--manifold", "poincare", "--estimator", "rotation"),
        ("--quantizer", "residual", "--weight-ema", 0.9, "--set", "accumulate=2"),
        ("--quantizer", "grouped", "--manifold", "lorentz", "--estimator", "transport"),
        ("--regularizer", "smoothness", "--regularizer", "orthogonal", "--weight-ema", 0.9),
        ("--quantizer", "fsq", "--dim", 3),
        ("--precision", "bf16", "--optimizer", "adam"),
        ("--loss", "ssim", "--loss", "critic", *CRITIC),
    ],
)
def test_no_training_step_reads_from_the_device(train, reads, choices):
    train(*choices, "--max-steps", 24, "--set", "log_every=100")
    assert len(reads) == 24
    # the first step starts the codes
    assert {step: names for step, names in reads.items() if names and step > 1} == {}


def names(kind):
    return sorted(default_registry().names(kind))


@pytest.mark.parametrize(
    "choices",
    [
        *[("backbone", each) for each in names("backbone")],
        *[("bottleneck", each) for each in ("none", "gaussian")],
        *[("optimizer", each) for each in names("optimizer")],
        *[("dataset", each) for each in DATASETS],
    ],
    ids=" ".join,
)
def test_whatever_the_network_the_data_and_the_optimizer_are(
    vq, without_plots, tmp_path, reads, choices
):
    kind, name = choices
    options = {
        "patches": ("--quantizer", "ema"),
        "trees": ("--backbone", "mlp"),
        "distance": ("--dataset", "tree-links", "--dataset.depth", 4, "--loss", "links"),
        "hierarchy": ("--dataset.samples", 64),
    }
    small = ("--codebook-size", 16, "--batch-size", 16, "--max-steps", 4)
    more = options.get(name, ())
    result = vq("train", f"--{kind}", name, *more, *small, "--run-dir", tmp_path / "run")
    assert result.code == 0, result
    assert {step: found for step, found in reads.items() if found and step > 1} == {}


def test_a_log_line_is_one_copy(train, monkeypatch):
    """A vote on stopping and the hooks of a line read nothing more."""
    from vq.training import loop
    from vq.training.metric_accumulator import MetricAccumulator

    found = []

    def counting(method):
        def call(*arguments):
            with waits() as names:
                result = method(*arguments)
            found.append([each for each in names if "made of Python numbers" not in each])
            return result

        return call

    monkeypatch.setattr(MetricAccumulator, "stop", counting(MetricAccumulator.stop))
    monkeypatch.setattr(loop.LogMetrics, "vq_step_end", counting(loop.LogMetrics.vq_step_end))
    lines = train("--quantizer", "residual", "--regularizer", "entropy", "--max-steps", 7).metrics
    assert [line["step"] for line in lines] == [4, 7]
    logged = [each for each in found if each]
    assert len(logged[0]) == 1
