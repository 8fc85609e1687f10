"""The prior over codes: a causal distribution, trained, stopped early, stored and sampled from."""

import io
import json
import math
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import vq_prior
from vq.data.pixels import PADDING, grid_png
from vq.interrupt import Interrupt
from vq.runs.trained_run import load_run
from vq.tokens.codes import codebook_numbers, encode_split
from vq_prior import early_stopping, metrics, trainer
from vq_prior.class_labels import with_labels
from vq_prior.prior_config import PriorConfig
from vq_prior.prior_folder import build_prior, load_prior
from vq_prior.sampling import draw, grid_columns, pick, truncate
from vq_prior.sequences import CodeSequences, read_sequences
from vq_prior.trainer import PriorTrainer
from vq_prior.transformer import CodePrior, KeyValueCache
from vqcore.data.tensor_split import TensorSplit
from vqcore.errors import SettingError, UsageError
from vqcore.numerics import counter_rng

SMALL = ("--layers", 1, "--width", 16, "--heads", 2, "--epochs", 1)
K, CODEBOOKS = 5, [0, 1, 0, 1, 2, 2]


def random_prior(classes=0, tied=False, codebooks=CODEBOOKS):
    """A prior whose every weight matters."""
    torch.manual_seed(0)
    prior = CodePrior(
        codebooks=codebooks,
        codebook_size=K,
        layers=2,
        width=16,
        heads=4,
        classes=classes,
        tied=tied,
    ).eval()
    for value in prior.parameters():
        torch.nn.init.normal_(value, std=0.5)
    return prior


@pytest.fixture(scope="module")
def tokens():
    return torch.randint(K, (7, len(CODEBOOKS)), generator=torch.Generator().manual_seed(1))


def load(run):
    return load_run(run.path)


# -- the model --------------------------------------------------------------


@pytest.mark.parametrize("tied", [False, True])
@torch.no_grad()
def test_a_later_token_never_changes_earlier_logits(tokens, tied):
    prior = random_prior(tied=tied)
    before = prior(tokens)
    for t in range(len(CODEBOOKS)):
        changed = tokens.clone()
        changed[:, t] = (changed[:, t] + 1) % K
        after = prior(changed)
        assert torch.equal(after[:, : t + 1], before[:, : t + 1])
        if t + 1 < len(CODEBOOKS):
            assert (after[:, t + 1 :] - before[:, t + 1 :]).abs().amin(0).amax() > 1e-4


@torch.no_grad()
def test_probabilities_of_all_sequences_sum_to_one():
    prior = random_prior(codebooks=[0, 1, 1])
    every = torch.cartesian_prod(*[torch.arange(K)] * 3)
    assert torch.exp2(-prior.bits(every).double().sum(1)).sum().item() == pytest.approx(1, abs=1e-5)


@torch.no_grad()
def test_an_untrained_prior_is_uniform(tokens):
    prior = CodePrior(codebooks=CODEBOOKS, codebook_size=K, layers=2, width=16, heads=4).eval()
    assert torch.allclose(prior.bits(tokens), torch.full(tokens.shape, math.log2(K)))


@pytest.mark.parametrize("classes", [0, 3])
@torch.no_grad()
def test_step_by_step_logits_equal_those_of_forward(tokens, classes):
    prior = random_prior(classes)
    labels = torch.arange(len(tokens)) % 3 if classes else None
    whole, cache = prior(tokens, labels), KeyValueCache(prior, len(tokens))
    for t in range(prior.length):
        logits = prior.step(tokens[:, t - 1] if t else None, labels, cache)
        assert torch.allclose(logits, whole[:, t], atol=1e-5)


def test_labels_are_required_with_classes_and_refused_without(tokens):
    with pytest.raises(
        SettingError, match="labels = None: expected a class of each sequence, below 3"
    ):
        random_prior(classes=3)(tokens)
    with pytest.raises(
        SettingError, match="labels = 'given': expected None: the prior was trained"
    ):
        random_prior()(tokens, torch.zeros(len(tokens), dtype=torch.int64))


# -- drawing ----------------------------------------------------------------


@torch.no_grad()
def test_sampling_with_the_cache_equals_sampling_without():
    prior, count, seed = random_prior(), 40, 3
    numbers = counter_rng.uniform(counter_rng.key_of(seed), count, prior.length)
    found = torch.zeros(count, prior.length, dtype=torch.int64)
    for t in range(prior.length):
        found[:, t] = pick(prior(found)[:, t].double().softmax(1), numbers[:, t])
    assert torch.equal(draw(prior, count, seed=seed), found)


def test_a_draw_depends_on_the_seed_and_its_number_alone():
    prior = random_prior()
    assert torch.equal(draw(prior, 300, seed=1)[:20], draw(prior, 20, seed=1))
    assert not torch.equal(draw(prior, 20, seed=2), draw(prior, 20, seed=1))


@torch.no_grad()
def test_sample_frequencies_match_probabilities():
    prior = random_prior(codebooks=[0, 0])
    found = draw(prior, 20_000)
    shares = torch.bincount(found[:, 0] * K + found[:, 1], minlength=K * K) / len(found)
    expected = torch.exp2(
        -prior.bits(torch.cartesian_prod(torch.arange(K), torch.arange(K))).sum(1)
    )
    assert torch.allclose(
        shares, expected, atol=0.012
    )  # four standard deviations of a share of one half


def test_truncated_distributions():
    logits = torch.tensor([[0.5, 0.2, 0.2, 0.1]]).log()
    assert torch.allclose(truncate(logits, 1, None, None), logits.double().exp())
    assert (
        truncate(logits, 1, 1, None).tolist()
        == truncate(logits, 0, None, None).tolist()
        == [[1, 0, 0, 0]]
    )
    assert torch.allclose(truncate(logits, 0.5, None, None), (logits.double() * 2).softmax(1))
    assert torch.allclose(
        truncate(logits, 1, None, 0.69)[0, 0], torch.tensor(5 / 7).double()
    )  # 0.5 and one 0.2
    assert (truncate(logits, 1, None, 0.71) > 0).sum() == 3
    assert (truncate(logits, 1, 2, 0.4) > 0).sum() == 1
    assert torch.equal(truncate(logits, 1, 9, 1.0), truncate(logits, 1, None, None))


def test_pick_inverts_the_cumulative_probabilities():
    chances = torch.tensor([[0.25, 0.0, 0.75]]).double().expand(5, 3)
    numbers = torch.tensor([0.0, 0.2499, 0.25, 0.9, 1 - 2**-53]).double()
    assert pick(chances, numbers).tolist() == [0, 0, 2, 2, 2]


@pytest.mark.parametrize(
    "wrong", [{"temperature": -1}, {"temperature": math.nan}, {"top_k": 0}, {"top_p": 0.0}]
)
def test_invalid_sampling_options_are_refused(wrong):
    with pytest.raises(SettingError, match=next(iter(wrong))):
        draw(random_prior(), 1, **wrong)


# -- training ---------------------------------------------------------------


def counting(count, length=6):
    """Sequences that count up from their first token, which is their label too."""
    first = torch.arange(count) % K
    return CodeSequences((first.unsqueeze(1) + torch.arange(length)) % K, first)


def fit(classes=0, **options):
    config = PriorConfig(
        **{"layers": 1, "width": 32, "heads": 4, "epochs": 12, "lr": 3e-3, **options}
    ).filled(500, 6)
    data = counting(500)
    data = data if classes else CodeSequences(data.tokens, None)
    prior = CodePrior(
        codebooks=[0] * 6,
        codebook_size=K,
        layers=1,
        width=32,
        heads=4,
        dropout=0.0,
        classes=classes,
    )
    lines = early_stopping.train_prior(
        prior, data, CodeSequences(*data.select(torch.arange(100))), config, Interrupt(), print
    )
    return prior, lines, data


def test_training_learns_to_predict_from_previous_tokens():
    prior, lines, data = fit()
    assert metrics.mean_bits(prior, data) == pytest.approx(
        math.log2(K) / 6, abs=0.03
    )  # only the first is uncertain
    assert [line["epoch"] for line in lines] == list(range(len(lines)))


def test_training_learns_to_predict_from_the_class():
    prior, _, data = fit(classes=K)
    assert metrics.mean_bits(prior, data) < 0.05
    assert draw(prior, 5, labels=torch.arange(5))[:, 0].tolist() == [0, 1, 2, 3, 4]


def test_early_stopping_keeps_the_best_weights(monkeypatch):
    losses, weights = iter([3.0, 1.0, 2.0, 2.5, 0.5]), []

    def mean_bits(prior, _sequences):
        weights.append(prior.token.detach().clone())
        return next(losses)

    monkeypatch.setattr(early_stopping, "mean_bits", mean_bits)
    prior, lines, _ = fit(patience=2)
    assert [line["aside_bits"] for line in lines] == [3.0, 1.0, 2.0, 2.5]
    assert torch.equal(prior.token, weights[1])


def test_training_repeats_to_the_bit():
    first, second = (fit(epochs=2, dropout=0.3)[0].state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_seed_alone_decides_the_initial_weights(complete_run):
    run, config = (
        load(complete_run),
        PriorConfig(layers=1, width=8, heads=2, dropout=0).filled(100, 16),
    )
    first = build_prior(run, config, 0).token
    torch.rand(3)
    assert torch.equal(build_prior(run, config, 0).token, first)
    assert not torch.equal(build_prior(run, config.model_copy(update={"seed": 1}), 0).token, first)


def test_mean_bits_do_not_depend_on_the_batch_size(tokens, monkeypatch):
    prior, data = random_prior(), CodeSequences(tokens, None)
    whole = metrics.mean_bits(prior, data)
    monkeypatch.setattr(metrics, "_PROBABILITIES", 2 * len(CODEBOOKS) * K)
    assert metrics.mean_bits(prior, data) == pytest.approx(whole, rel=1e-6)


def test_unigram_bits_by_hand():
    train, test = (
        CodeSequences(torch.tensor([[0, 1], [0, 1], [1, 0]]), None),
        CodeSequences(torch.tensor([[0, 0]]), None),
    )
    # counts 2, 1 in codebook 0 and 1, 2 in codebook 1, each raised by one: 3/5 and 2/5
    assert metrics.unigram_bits(train, test, [0, 1], 2) == pytest.approx(
        -(math.log2(3 / 5) + math.log2(2 / 5)) / 2
    )


def test_defaults_grow_with_the_data():
    digits, large = PriorConfig().filled(1295, 16), PriorConfig().filled(1_000_000, 256)
    assert digits.width < large.width
    assert digits.layers < large.layers
    assert digits.epochs > large.epochs
    assert PriorConfig(width=48, epochs=7).filled(1295, 16).model_dump() | {
        "width": 48,
        "epochs": 7,
    } == (PriorConfig(width=48, epochs=7).filled(1295, 16).model_dump())
    with pytest.raises(SettingError, match=r"heads = 5: expected a divisor of the width, 48"):
        PriorConfig(width=48, heads=5).filled(1295, 16)


def test_training_validation_and_test_sequences(complete_run):
    run = load(complete_run)
    data = read_sequences(run, with_labels=True, seed=0)
    assert [len(each) for each in (data.train, data.validation, data.test)] == [1295, 143, 359]
    assert data.classes == 10
    whole = encode_split(run, "train").flatten(1)
    labels = run.source.split("train").labels
    both = (
        torch.cat([data.validation.tokens, data.train.tokens]),
        torch.cat([data.validation.labels, data.train.labels]),
    )
    rows = {(*tokens.tolist(), int(label)) for tokens, label in zip(*both, strict=True)}
    assert rows == {
        (*tokens.tolist(), int(label)) for tokens, label in zip(whole, labels, strict=True)
    }
    assert torch.equal(data.test.tokens, encode_split(run, "test").flatten(1))


@pytest.mark.parametrize(
    ("options", "codebooks"),
    {
        (): [0] * 16,
        ("--quantizer", "grouped", "--set", "quantizer.groups=2"): [0, 1] * 16,
        (
            "--backbone",
            "hierarchical",
            "--quantizer",
            "residual",
            "--set",
            "quantizer.stages=2",
        ): None,
    }.items(),
)
def test_each_codebook_has_its_own_table(train, vq, options, codebooks):
    options = (*options, "--max-steps", 2)
    run = train(*options)
    model = load(run).model
    found = codebook_numbers(model)
    assert len(found) == math.prod(model.index_shape)
    if codebooks is None:
        first = 2 * math.prod(model.latent_shapes[0])
        codebooks = [0, 1] * (first // 2) + [2, 3] * ((len(found) - first) // 2)
    assert found == codebooks
    assert vq("prior", run.path, *SMALL).code == 0
    assert vq("sample", run.path, "-n", 3).code == 0


# -- the commands -----------------------------------------------------------


def test_contents_of_the_prior_folder(run_with_prior):
    folder = run_with_prior.path / "prior"
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json",
        "metrics.jsonl",
        "model.safetensors",
    ]
    about = json.loads((folder / "config.json").read_text())
    bits = about["figures"]
    assert bits["uniform_bits_per_token"] == 4
    assert bits["bits_per_token"] < bits["unigram_bits_per_token"] < 4
    assert bits["bits_per_pixel"] == pytest.approx(bits["bits_per_token"] * 16 / 64)
    assert about["training"] == about["training"] | {
        "layers": 1,
        "width": 16,
        "heads": 2,
        "epochs": 1,
    }
    assert about["model"]["checkpoint"] == run_with_prior.checkpoint.name
    assert f"{bits['bits_per_token']:.3f}" in run_with_prior.result.out
    prior, classes = load_prior(load(run_with_prior))
    assert classes == []
    assert (
        metrics.mean_bits(prior, read_sequences(load(run_with_prior), False, 0).test)
        == bits["bits_per_token"]
    )


def test_help_names_the_defaults_of_few_and_of_many_codes(vq):
    text = " ".join(vq("prior", "--help").out.split())
    few, many = PriorConfig().filled(100, 10), PriorConfig().filled(10**6, 256)
    for name in ("layers", "width", "heads", "dropout", "epochs", "lr"):
        first, last = (f"{round(getattr(each, name), 3):g}" for each in (few, many))
        assert f"[default: {first} to {last}, by the amount of codes]" in text, name


def test_replacing_a_prior_needs_overwrite(run_with_prior, vq, tmp_path):
    path = shutil.copytree(run_with_prior.path, tmp_path / "run")
    result = vq("prior", path, *SMALL)
    assert result.code == 2
    assert "has a prior for step-00000012: to train another, add --overwrite" in result.err
    before = (path / "prior" / "model.safetensors").read_bytes()
    assert vq("prior", path, *SMALL, "--seed", 1, "--overwrite", "--classes", "--no-tied").code == 0
    assert (path / "prior" / "model.safetensors").read_bytes() != before
    assert vq("sample", path, "-n", 11).code == 0
    picture = Image.open(path / "prior" / "samples.png")
    assert picture.size == (10 * 34 + 2, 18 + 2 * 34 + 2)  # a column a class, with its name
    names = np.asarray(picture.convert("L"))[:18]
    assert all((names[:, 34 * column : 34 * column + 34] < 99).any() for column in range(10))
    assert [grid_columns(64, names) for names in ([], ["a", "b", "c"], ["a"] * 10, ["a"] * 30)] == [
        8,
        9,
        10,
        8,
    ]
    assert vq("sample", path, "-n", 4, "--class", "7").code == 0
    wrong = vq("sample", path, "--class", "ten")
    assert (wrong.code, "--class = 'ten': expected one of 0, 1, 2" in wrong.err) == (2, True)


@pytest.mark.parametrize(
    ("names", "columns", "size"),
    [
        (["a", "b", "a", "b", "a"], 2, (70, 18 + 3 * 34 + 2)),  # once above each column
        (["a", "b", "c", "d"], 2, (70, 2 * (18 + 34) + 2)),  # above each image
        (["a" * 90, "\x1b"], 2, (70, None)),  # upright, cut, escaped
    ],
)
def test_a_grid_names_the_classes(names, columns, size):
    values = torch.ones(len(names), 1, 32, 32)
    grid = grid_png(values, (0, 1), columns)
    picture = Image.open(io.BytesIO(with_labels(grid, names, columns, PADDING)))
    assert picture.size == (size[0], size[1] or picture.height)
    assert picture.height < 400
    assert np.asarray(picture).min() < 99


def test_a_prior_of_an_older_checkpoint_is_refused_and_replaced(
    run_with_prior, vq, resume, tmp_path
):
    run = type(run_with_prior)(shutil.copytree(run_with_prior.path, tmp_path / "run"), None)
    resume(run, "--max-steps", 14)
    result = vq("sample", run.path)
    assert result.code == 2
    assert (
        f"was trained on codes of other weights than {run.checkpoint}: vq prior {run.path} trains"
        in result.err
    )
    assert vq("prior", run.path, *SMALL).code == 0
    assert vq("sample", run.path).code == 0


def test_samples(run_with_prior, vq, tmp_path):
    path = shutil.copytree(run_with_prior.path, tmp_path / "run")
    assert vq("sample", path, "-n", 9).code == 0
    first = (path / "prior" / "samples.png").read_bytes()
    assert Image.open(path / "prior" / "samples.png").size == (
        3 * 34 + 2,
        3 * 34 + 2,
    )  # 8 pixels, four times as large
    options = ("-n", 9, "-o", "a.npy", "--indices", "codes.npy")
    assert vq("sample", path, *options).code == 0
    samples, codes = np.load("a.npy"), np.load("codes.npy")
    assert codes.shape == (9, 4, 4)
    model = load(run_with_prior).model
    assert torch.equal(model.decode(torch.from_numpy(codes)), torch.from_numpy(samples))
    again = vq("sample", path, "-n", 9, "-o", "b.png")
    assert (again.code, Path("b.png").read_bytes()) == (0, first)
    for arguments, message in {
        ("-o", "b.png"): "--output = 'b.png': expected a path where nothing exists yet",
        (
            "--indices",
            "codes.npy",
        ): "--indices = 'codes.npy': expected a path where nothing exists yet",
        ("-o", "a.jpg"): "--output = 'a.jpg': expected a name that ends in .png or .npy",
        ("--top-p", 2): "top_p = 2.0: expected more than 0 and at most 1",
        ("--class", "1"): "a prior that was trained with classes",
    }.items():
        result = vq("sample", path, *arguments)
        assert (result.code, message in result.err) == (2, True), result


def test_samples_that_are_not_images(train, vq):
    run = train(
        "--dataset",
        "trees",
        "--set",
        "dataset.depth=4",
        "--backbone",
        "mlp",
        "--set",
        "backbone.tokens=3",
    )
    without = vq("sample", run.path)
    assert without.code == 2
    assert f"{run.path} has no prior yet: train one with: vq prior {run.path}" in without.err
    result = vq("prior", run.path, *SMALL)
    assert "bits per value" in result.out
    assert vq("sample", run.path, "-n", 5).code == 0
    samples = np.load(run.path / "prior" / "samples.npy")
    assert samples.shape == (5, 15)
    assert ((samples > 0) & (samples < 1)).all()
    refused = vq("sample", run.path, "-o", "a.png")
    assert refused.code == 2
    assert "a name that ends in .npy for samples of shape (15,)" in refused.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("prior", "--classes"),
            "dataset = 'digits': expected a data set with labels, and this one has none",
        ),
        (("probe",), "dataset = 'digits': expected a data set with labels, and this one has none"),
    ],
)
def test_data_without_labels(complete_run, vq, monkeypatch, arguments, message):
    never = property(lambda split: None, lambda split, labels: None)
    monkeypatch.setattr(TensorSplit, "labels", never, raising=False)
    command, *options = arguments
    result = vq(command, complete_run.path, *options)
    assert (result.code, message in result.err) == (2, True), result


def test_ctrl_c_keeps_the_best_weights_so_far(copied_run, vq, monkeypatch):
    mean_bits = early_stopping.mean_bits

    def interrupted(*arguments):
        if not (copied_run.path / "sent").exists():
            (copied_run.path / "sent").touch()
            os.kill(os.getpid(), signal.SIGINT)
        return mean_bits(*arguments)

    monkeypatch.setattr(early_stopping, "mean_bits", interrupted)
    result = vq("prior", copied_run.path, *SMALL[:-1], 500)
    assert result.code == 130
    assert "interrupted; best after epoch 0" in result.out
    assert len((copied_run.path / "prior" / "metrics.jsonl").read_text().splitlines()) == 1
    assert vq("sample", copied_run.path).code == 0


RESUMED = ("--layers", 1, "--width", 16, "--heads", 2, "--dropout", 0.2, "--epochs", 3)


@pytest.fixture(scope="module")
def whole_prior(complete_run, tmp_path_factory):
    """A prior that was never interrupted."""
    path = shutil.copytree(complete_run.path, tmp_path_factory.mktemp("whole") / "run")
    options = {"layers": 1, "width": 16, "heads": 2, "dropout": 0.2, "epochs": 3}
    vq_prior.prior(path, **options)
    return path / "prior"


def lines_of(prior):
    lines = map(json.loads, (prior / "metrics.jsonl").read_text().splitlines())
    return [line | {"seconds": 0} for line in lines]


@pytest.mark.parametrize("how", ["interrupted", "killed within an epoch", "killed at its end"])
def test_a_prior_resumes_to_the_bit(how, whole_prior, copied_run, vq, monkeypatch):
    """21 steps an epoch: after 30 of them, and killed after 35 or 42."""
    step, run = PriorTrainer._train_step, copied_run.path

    def ended(self, rows):
        if how == "interrupted" and self.progress.step == 30:
            os.kill(os.getpid(), signal.SIGINT)
        elif self.progress.step == (42 if how == "killed at its end" else 35):
            raise KeyboardInterrupt  # no handler runs when a process is killed
        return step(self, rows)

    with monkeypatch.context() as patch:
        patch.setattr(PriorTrainer, "_train_step", ended)
        patch.setattr(trainer, "SAVE_EVERY", 1000 if how == "interrupted" else 30)
        if how == "interrupted":
            result = vq("prior", run, *RESUMED)
            assert result.code == 130
            assert f"interrupted; best after epoch 1, stored in {run / 'prior'}; " in result.out
            assert f"vq prior {run} --resume continues" in result.out
        else:
            with pytest.raises(KeyboardInterrupt):
                vq_prior.prior(run, layers=1, width=16, heads=2, dropout=0.2, epochs=3)
            assert not (run / "prior").exists()
    refused = vq("prior", run, *RESUMED)
    assert refused.code == 2
    assert "go on with --resume, or begin again with --overwrite" in refused.err
    assert vq("prior", run, "--resume").code == 0
    assert not (run / "prior-training").exists()
    assert lines_of(run / "prior") == lines_of(whole_prior)
    name = "model.safetensors"
    assert (run / "prior" / name).read_bytes() == (whole_prior / name).read_bytes()


def interrupted(vq, run, monkeypatch):
    step = PriorTrainer._train_step

    def signalled(self, rows):
        os.kill(os.getpid(), signal.SIGINT)
        return step(self, rows)

    with monkeypatch.context() as patch:
        patch.setattr(PriorTrainer, "_train_step", signalled)
        assert vq("prior", run, *SMALL).code == 130


def test_what_cannot_be_resumed_is_refused(copied_run, vq, monkeypatch):
    run = copied_run.path
    result = vq("prior", run, "--resume")
    assert result.code == 2
    assert (
        f"--resume: {run} has no unfinished prior for step-00000012; begin one with" in result.err
    )
    result = vq("prior", run, "--resume", "--lr", 1)
    assert (result.code, "leave out all but --device" in result.err) == (2, True)
    interrupted(vq, run, monkeypatch)
    state = run / "prior-training" / "state.pt"
    content = bytearray(state.read_bytes())
    content[len(content) // 2] ^= 1
    state.write_bytes(content)
    result = vq("prior", run, "--resume")
    assert (result.code, "state.pt: damaged" in result.err) == (1, True), result
    about = json.loads((run / "prior-training" / "manifest.json").read_text())
    about["training"]["layers"] = "many"
    (run / "prior-training" / "manifest.json").write_text(json.dumps(about))
    result = vq("prior", run, "--resume")
    assert result.code == 1
    assert "manifest.json: damaged: " in result.err
    assert "--overwrite begins the prior again" in result.err
    assert vq("prior", run, *SMALL, "--overwrite").code == 0
    assert not state.exists()


def test_a_prior_is_written_atomically(run_with_prior, vq, monkeypatch, tmp_path):
    path = shutil.copytree(run_with_prior.path, tmp_path / "run")
    before = {file.name: file.read_bytes() for file in (path / "prior").iterdir()}

    def full(*_arguments):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("vq_prior.prior_folder.write_flushed", full)
        result = vq("prior", path, *SMALL, "--overwrite")
    assert result.code == 1
    assert "cannot be written: No space left on device" in result.err
    assert {file.name: file.read_bytes() for file in (path / "prior").iterdir()} == before
    (path / "prior" / "model.safetensors").write_bytes(b"")
    damaged = vq("sample", path)
    assert damaged.code == 1
    assert "damaged" in damaged.err
    assert "--overwrite" in damaged.err


@pytest.mark.parametrize(
    ("place", "values", "expected"),
    [
        ((), {"classes": 3}, "damaged: TypeError"),
        ((), {"training": None}, "damaged: ValidationError"),
        (("training",), {"layers": 10**12}, "damaged: ValidationError"),
        (("training",), {"layers": 99}, "config.json and model.safetensors do not agree"),
        (("training",), {"width": 48}, "config.json and model.safetensors do not agree"),
        (("training",), {"heads": 3}, "config.json and model.safetensors do not agree"),
    ],
)
def test_a_received_prior(place, values, expected, run_with_prior, vq, tmp_path):
    path = shutil.copytree(run_with_prior.path, tmp_path / "run")
    file = path / "prior" / "config.json"
    about = json.loads(file.read_text())
    target = about[place[0]] if place else about
    target |= values
    file.write_text(json.dumps(about))
    result = vq("sample", path, "-n", 2)
    assert result.code == 1
    assert expected in result.err


def test_a_prior_whose_weights_changed_is_refused(run_with_prior, vq, tmp_path):
    run = shutil.copytree(run_with_prior.path, tmp_path / "run")
    file = run / "prior" / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    result = vq("sample", run, "-o", "new.png")
    assert result.code == 1
    assert "model.safetensors: damaged: its size and SHA-256 are not those" in result.err
    assert "--overwrite trains a new one" in result.err


def test_runs_without_codes_are_refused(train, vq):
    run = train("--bottleneck", "none")
    for command in ("prior", "sample", "probe"):
        result = vq(command, run.path)
        assert result.code == 2
        assert "this run has no codes" in result.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--layers", 0), "layers = 0: expected greater than 0"),
        (("--dropout", 1), "dropout = 1.0: expected less than 1"),
        (("--heads", 3), "heads = 3: expected a divisor of the width, 64"),
        (("--lr", 0), "lr = 0.0: expected greater than 0"),
    ],
)
def test_wrong_options(complete_run, vq, arguments, message):
    result = vq("prior", complete_run.path, *arguments)
    assert (result.code, message in result.err) == (2, True), result


def test_a_nan_loss_ends_training(copied_run, vq):
    result = vq("prior", copied_run.path, *SMALL, "--lr", 1e30)
    assert result.code == 1
    assert "the prior's loss is NaN or inf in epoch 0: lower --lr" in result.err
    assert not (copied_run.path / "prior").exists()


# -- from Python ------------------------------------------------------------


def test_the_python_functions_return_results_and_print_nothing(copied_run, tmp_path, capsys):
    lines = []
    options = {"layers": 1, "width": 16, "heads": 2, "epochs": 2, "classes": True}
    trained = vq_prior.prior(copied_run.path, log=lines.append, **options)
    assert trained.folder == copied_run.path / "prior"
    assert trained.metrics["bits_per_token"] < 4
    assert (trained.config.layers, len(trained.history), trained.exit_code) == (1, 2, 0)
    assert len(lines) == 3  # the setup and two epochs
    run = load(copied_run)
    samples = vq_prior.sample(run, 3, class_name="7", seed=1)
    assert (samples.values.shape, samples.codes.shape) == ((3, 1, 8, 8), (3, 4, 4))
    assert samples.classes == ["7"]
    samples.save(tmp_path / "new" / "sevens.png", indices=tmp_path / "sevens.npy")
    assert Image.open(tmp_path / "new" / "sevens.png").size == (2 * 34 + 2, 2 * 34 + 20)  # labelled
    assert np.array_equal(np.load(tmp_path / "sevens.npy"), samples.codes)
    of_path = vq_prior.sample(str(copied_run.path), 3, class_name="7", seed=1)
    assert torch.equal(of_path.codes, samples.codes)
    with pytest.raises(UsageError, match="has a prior for step-00000012"):
        vq_prior.prior(run, **options)
    with pytest.raises(UsageError, match="layerz"):
        vq_prior.prior(run, layerz=1)
    assert capsys.readouterr() == ("", "")


def test_importing_the_package_does_not_import_torch():
    code = "import sys, vq_prior, vq_prior.plugin; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
