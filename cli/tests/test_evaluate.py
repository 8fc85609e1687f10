"""Held-out metrics: computed by hand, and equal at the end of training and from the checkpoint."""

import json
import math
from collections import Counter

import pytest
import torch
import torch.nn.functional as F

import vq as vq_api
from vq.checkpoints import checkpoint
from vq.config.config_file import read_config
from vq.config.resolved_config import resolve_config
from vq.evaluation import baselines, evaluate_run
from vq.evaluation.baselines import Baselines
from vq.evaluation.held_out import evaluate
from vq.models.autoencoder import build_model, build_source
from vq.runs.trained_run import load_run
from vqcore.errors import SettingError
from vqcore.interfaces.dataset import Split
from vqcore.numerics import counter_rng
from vqcore.plugin.registry import default_registry

COMPOSITIONS = {
    "plain": (),
    "residual": (
        "--manifold",
        "poincare",
        "--quantizer",
        "residual",
        "--set",
        "quantizer.stages=3",
    ),
    "grouped": ("--manifold", "lorentz", "--quantizer", "grouped", "--set", "quantizer.inner=ema"),
    "bits": (
        "--dataset",
        "trees",
        "--set",
        "dataset.depth=5",
        "--backbone",
        "mlp",
        "--set",
        "backbone.tokens=3",
    ),
}
METRICS = (
    "psnr", "mse", "perplexity", "codes_used", "dead_codes", "quantization_error",
    "codebook_size", "codebooks",
    "samples",
)  # fmt: skip
LOSSES = {"loss", "reconstruction", "commitment", "codebook"}
NORMALIZED = {"normalized_mse", "normalized_mse_constant", "normalized_mse_mean"}


@pytest.fixture(params=COMPOSITIONS)
def run(request, train):
    return train(*COMPOSITIONS[request.param])


def load(run):
    """The trained model in eval mode, its data and all its held-out samples."""
    config = resolve_config(read_config(run.path / "config.yaml"), default_registry())
    source = build_source(config, default_registry())
    model = build_model(config, default_registry(), source).eval()
    checkpoint.load_weights(checkpoint.latest(run.path / "checkpoints"), model)
    split = source.split("test")
    whole = next(split.batches([torch.arange(len(split))], torch.device("cpu")))
    return model, source, whole


def test_evaluate_repeats_the_metrics_of_the_run_exactly(run, vq):
    before = run.contents()
    result = vq("evaluate", run.path, "--json")
    assert result.code == 0, result
    metrics, summary = json.loads(result.out), run.json("summary")
    losses = LOSSES & summary.keys()  # an EMA codebook has no term
    for name in (*METRICS, *losses):
        assert metrics[name] == summary[name]
    more = {
        "dataset",
        "shape",
        "value_range",
        "checkpoint",
        "split",
        "versions",
        "seconds",
        "usage",
        "weights",
    }
    image_metrics = {"ssim", "ssim_window", "index_bits_per_pixel", "entropy_bits_per_pixel"}
    vectors = {"index_bits_per_value", "entropy_bits_per_value"}
    normalized = NORMALIZED if load(run)[1].likelihood == "gaussian" else set()
    assert {name for name in metrics if not name.startswith("tree_")} == {
        *METRICS,
        *more,
        *losses,
        *normalized,
        *(image_metrics if len(metrics["shape"]) == 3 else vectors),
    }
    assert (metrics["checkpoint"], metrics["split"]) == ("step-00000008", "test")
    assert run.contents() == before


@torch.no_grad()
def test_metrics_by_hand(run):
    """Error and usage of the whole split at once, computed from indices alone."""
    model, source, x = load(run)
    indices = model.encode(x)
    low, high = source.value_range
    errors = (model.decode(indices).double() - x.double()) / (high - low)
    mse = errors.square().mean().item()
    if source.likelihood == "bernoulli":
        logits = model.backbone.decode(model.bottleneck.decode(indices))
        assert torch.allclose(model.decode(indices), 1 / (1 + (-logits).exp()), atol=1e-6)
    summary = run.json("summary")
    assert summary["mse"] == pytest.approx(mse, rel=1e-6)
    assert summary["psnr"] == -10 * math.log10(summary["mse"])
    assert summary["samples"] == len(x)
    out = model(x)
    terms = out.bottleneck.losses
    if source.likelihood == "bernoulli":
        error = F.binary_cross_entropy_with_logits(out.reconstruction, x)
    else:
        error = F.mse_loss(out.reconstruction, x)
    expected = {"loss": error + out.bottleneck.loss, "reconstruction": error, **terms}
    for name, value in expected.items():
        assert summary[name] == run.metrics[-1][f"test_{name}"] == pytest.approx(float(value), 1e-5)
    positions = indices.ndim - len(model.bottleneck.quantizer.index_shape)
    codebooks = (
        indices.flatten(0, positions - 1).flatten(1).T
        if indices.ndim > positions
        else indices.reshape(1, -1)
    )
    assert summary["codebooks"] == len(codebooks)
    perplexities, used = [], []
    for chosen in codebooks.tolist():
        counts = Counter(chosen)
        assert max(counts) < summary["codebook_size"]
        shares = [count / len(chosen) for count in counts.values()]
        perplexities.append(math.exp(-sum(share * math.log(share) for share in shares)))
        used.append(len(counts))
    assert summary["perplexity"] == pytest.approx(sum(perplexities) / len(codebooks), rel=1e-9)
    assert summary["codes_used"] == sum(used) / len(codebooks)


@torch.no_grad()
def test_encode_and_decode_give_the_reconstruction_of_the_forward_pass(run):
    model, _, x = load(run)
    forward = model.to_values(model(x).reconstruction)
    indices = model.encode(x)
    assert indices.dtype == torch.int64
    assert indices.shape == (
        len(x),
        *model.backbone.latent_shape,
        *model.bottleneck.quantizer.index_shape,
    )
    assert torch.equal(model.decode(indices), forward)


def test_the_metrics_do_not_depend_on_the_batches(run):
    model, source, _ = load(run)
    held_out, cpu = (source.split("test"), source.value_range), torch.device("cpu")
    found = [evaluate(model, *held_out, size, cpu) for size in (7, 10_000)]
    for name in METRICS:
        assert found[0][name] == pytest.approx(found[1][name], rel=1e-6)


@torch.no_grad()
def test_an_evaluation_in_training_takes_samples_from_all_of_the_split(train, resume):
    few = ("--set", "eval_samples=10")
    run = train("--set", "eval_every=4", *few)  # of 8 steps
    model, source, x = load(run)
    found = evaluate(model, source.split("test"), source.value_range, 4, x.device, samples=10)
    chosen = x[[number * len(x) // 10 for number in range(10)]]
    error = ((model(chosen).reconstruction - chosen) / 2).double().square().mean()
    assert found["mse"] == pytest.approx(float(error), rel=1e-6)
    assert found["samples"] == 10
    last, summary = run.metrics[-1], run.json("summary")
    assert last["test_psnr"] == summary["psnr"] != found["psnr"]  # at the end all of them
    assert summary["samples"] == len(x)
    again = evaluate(model, source.split("test"), source.value_range, 4, x.device, samples=10**9)
    assert again["samples"] == len(x)
    assert resume(run, "--max-steps", 10, "--set", "eval_samples=null").steps[-1] == 10


def test_evaluating_changes_nothing(train):
    model, source, x = load(train("--quantizer", "ema"))
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    evaluate(model, source.split("test"), source.value_range, 64, torch.device("cpu"))
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.equal(x, load_held_out(source))


def load_held_out(source):
    split = source.split("test")
    return next(split.batches([torch.arange(len(split))], torch.device("cpu")))


def test_perfect_and_broken_reconstructions(train, monkeypatch):
    model, source, _ = load(train())
    monkeypatch.setattr(type(model), "to_values", lambda _self, _output: batches.pop(0))
    cpu = torch.device("cpu")
    batches = list(source.split("test").batches(torch.arange(359).split(64), cpu))
    assert evaluate(model, source.split("test"), source.value_range, 64, cpu)["psnr"] == math.inf
    batches = list(source.split("test").batches(torch.arange(359).split(64), cpu))
    batches[3] = batches[3] * math.nan
    assert math.isnan(evaluate(model, source.split("test"), source.value_range, 64, cpu)["psnr"])


def test_the_mean_image_gives_the_baseline_psnr(train, monkeypatch):
    model, source, _ = load(train())
    train_split = source.split("train")
    mean = next(train_split.batches([torch.arange(len(train_split))], torch.device("cpu"))).mean(0)
    monkeypatch.setattr(type(model), "to_values", lambda _self, output: mean.expand_as(output))
    metrics = evaluate(model, source.split("test"), source.value_range, 64, torch.device("cpu"))
    assert metrics["psnr"] == pytest.approx(11.4, abs=0.1)


def test_errors_relative_to_the_training_data(train, monkeypatch):
    """With a share of the split each, two processes have the sums of one."""
    run = train()
    _, source, x = load(run)
    split = source.split("train")
    whole = next(split.batches([torch.arange(len(split))], torch.device("cpu"))).double()
    trained, random = load_run(run.path), torch.get_rng_state()
    found = vq_api.evaluate(trained)
    assert torch.equal(torch.get_rng_state(), random)
    mean, variance = whole.mean(0), float(whole.var(unbiased=False))
    for name, guess in {"constant": whole.mean(), "mean": mean}.items():
        error = float((x - guess).square().mean()) / variance
        assert found[f"normalized_mse_{name}"] == pytest.approx(error, rel=1e-6)
    assert found["normalized_mse"] == pytest.approx(4 * found["mse"] / variance, rel=1e-6)
    cpu, shape = torch.device("cpu"), source.shape
    monkeypatch.setattr(baselines, "MOST", 101)
    parts = [Baselines(split, shape, 64, cpu, (rank, 2)) for rank in (0, 1)]
    chosen = whole[counter_rng.permutation(0, len(split))[:101]]
    both = sum(part.train for part in parts)
    torch.testing.assert_close(both[:-2].view(shape), chosen.sum(0))
    assert both[-1] == 101


def test_data_without_variance_have_no_relative_error():
    class Same(Split):
        def __len__(self):
            return 4

        def batches(self, chosen, device):
            return (torch.ones(len(rows), 3) for rows in chosen)

    flat = Baselines(Same(), (3,), 4, torch.device("cpu"))
    flat.update(torch.ones(2, 3), torch.ones(2, 3), None)
    assert flat.compute() == {}


def test_without_its_losses_a_run_has_the_terms_of_its_bottleneck(
    complete_run, monkeypatch, caplog
):
    def absent(*_):
        raise SettingError("losses.perceptual.weights", "vgg.pth", "a file")

    monkeypatch.setattr(evaluate_run, "build_losses", absent)
    metrics = vq_api.evaluate(complete_run.path)
    assert metrics.keys() & LOSSES == {"commitment"}
    assert "loss and reconstruction are left out" in caplog.text


def test_without_json_it_is_a_table(complete_run, vq):
    result = vq("evaluate", complete_run.path)
    assert result.code == 0
    assert f"{complete_run.json('summary')['psnr']:.5g}" in result.out
    assert "dB" in result.out


def test_the_latest_checkpoint_is_evaluated(copied_run, vq):
    (copied_run.path / "checkpoints" / "latest").write_text("step-00000008\n")
    metrics = json.loads(vq("evaluate", copied_run.path, "--json").out)
    assert metrics["checkpoint"] == "step-00000008"
    assert metrics["mse"] == copied_run.metrics[1]["test_mse"] != copied_run.metrics[2]["test_mse"]


def test_a_damaged_checkpoint_is_refused_by_name(copied_run, vq):
    file = copied_run.checkpoint / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    result = vq("evaluate", copied_run.path)
    assert result.code == 1
    assert f"{file}: damaged: its size" in result.err


def test_an_absent_device(complete_run, vq):
    result = vq("evaluate", complete_run.path, "--device", "cuda:99")
    assert result.code == 2
    assert "device = 'cuda:99': expected one of auto, cpu" in result.err


def test_a_run_loads_its_plugin_files(train, vq, plugin_file):
    source = """
@hookimpl
def vq_regularizers():
    config = "vqcore.builtin.builtin_config:SmoothnessConfig"
    target = "vqcore.builtin.regularizers.smoothness:DecoderSmoothness"
    again = ComponentSpec(name="smooth-too", target=target, config=config, summary="the same")
    return [again]
"""
    path = plugin_file("a_smoother", source)
    run = train("--plugin-file", path, "--regularizer", "smooth-too", "--max-steps", 2)
    assert vq("evaluate", run.path).code == 0
    path.unlink()
    result = vq("evaluate", run.path)
    assert result.code == 3
    assert f"no such plugin file: {path}" in result.err


# -- during training ----------------------------------------------------------


@pytest.fixture
def evaluated(monkeypatch):
    """The steps at which the model was evaluated."""
    from vq.training.callbacks import evaluate as callback

    steps, before = [], callback.evaluate

    def counted(model, *arguments):
        steps.append(model)
        return before(model, *arguments)

    monkeypatch.setattr(callback, "evaluate", counted)
    return steps


@pytest.mark.parametrize(("every", "times"), [(4, 3), (5, 3), (100, 1)])
def test_the_final_weights_are_evaluated_once(train, evaluated, every, times):
    run = train("--max-steps", 12, "--set", f"eval_every={every}")
    assert len(evaluated) == times
    last, summary = run.metrics[-1], run.json("summary")
    assert last["step"] == 12
    assert last["test_mse"] == summary["mse"]


def test_weights_that_a_callback_changes_afterwards_are_evaluated_again(
    tmp_path, evaluated, without_plots
):
    class Shift:
        def vq_log(self, run, metrics):
            for parameter in run.model.parameters():
                parameter.data.mul_(0.5)

    run = vq_api.train(max_steps=2, run_dir=tmp_path / "run", callbacks=[Shift()])
    assert len(evaluated) == 2
    assert run.metrics["mse"] != run.history[-1]["test_mse"]
    assert run.metrics["mse"] == vq_api.evaluate(run)["mse"]
