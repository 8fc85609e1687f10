"""The prior over codes: a proper causal distribution, trained and stopped on the right data, kept whole, sampled."""

import json
import math
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vq.data.splits import ArraySplit
from vq.interrupt import Interrupt
from vq.runs.trained_run import load_run
from vq.tokens.codes import books_of, codes_of
from vq_prior import train as training
from vq_prior.codes import Sequences, read_codes
from vq_prior.files import build_prior, load_prior
from vq_prior.model import Cache, CodePrior
from vq_prior.prior_config import PriorConfig
from vq_prior.sample import draw, narrowed, pick
from vq_prior.write import Wanted, _columns
from vqcore.errors import SettingError
from vqcore.numerics import counter_rng

SMALL = ("--layers", 1, "--width", 16, "--heads", 2, "--epochs", 1)
K, BOOKS = 5, [0, 1, 0, 1, 2, 2]


def random_prior(classes=0, tied=False, books=BOOKS):
    """A prior whose every weight matters."""
    torch.manual_seed(0)
    prior = CodePrior(
        books=books, codebook_size=K, layers=2, width=16, heads=4, classes=classes, tied=tied
    ).eval()
    for value in prior.parameters():
        torch.nn.init.normal_(value, std=0.5)
    return prior


@pytest.fixture(scope="module")
def tokens():
    return torch.randint(K, (7, len(BOOKS)), generator=torch.Generator().manual_seed(1))


def load(run):
    return load_run(run.path)


# -- the model --------------------------------------------------------------


@pytest.mark.parametrize("tied", [False, True])
@torch.no_grad()
def test_a_later_token_never_changes_earlier_logits(tokens, tied):
    prior = random_prior(tied=tied)
    before = prior(tokens)
    for t in range(len(BOOKS)):
        changed = tokens.clone()
        changed[:, t] = (changed[:, t] + 1) % K
        after = prior(changed)
        assert torch.equal(after[:, : t + 1], before[:, : t + 1])
        if t + 1 < len(BOOKS):
            assert (after[:, t + 1 :] - before[:, t + 1 :]).abs().amin(0).amax() > 1e-4


@torch.no_grad()
def test_the_chances_of_all_sequences_add_up_to_one():
    prior = random_prior(books=[0, 1, 1])
    every = torch.cartesian_prod(*[torch.arange(K)] * 3)
    assert torch.exp2(-prior.bits(every).double().sum(1)).sum().item() == pytest.approx(1, abs=1e-5)


@torch.no_grad()
def test_before_training_every_code_is_as_likely(tokens):
    prior = CodePrior(books=BOOKS, codebook_size=K, layers=2, width=16, heads=4).eval()
    assert torch.allclose(prior.bits(tokens), torch.full(tokens.shape, math.log2(K)))


@pytest.mark.parametrize("classes", [0, 3])
@torch.no_grad()
def test_one_position_at_a_time_gives_the_same_logits(tokens, classes):
    prior = random_prior(classes)
    labels = torch.arange(len(tokens)) % 3 if classes else None
    whole, cache = prior(tokens, labels), Cache(prior, len(tokens))
    for t in range(prior.length):
        logits = prior.step(tokens[:, t - 1] if t else None, labels, cache)
        assert torch.allclose(logits, whole[:, t], atol=1e-5)


def test_labels_where_there_are_classes_and_only_there(tokens):
    with pytest.raises(
        SettingError, match="labels = None: expected a class of each sequence, below 3"
    ):
        random_prior(classes=3)(tokens)
    with pytest.raises(SettingError, match="labels = 'given': expected None: no class was learned"):
        random_prior()(tokens, torch.zeros(len(tokens), dtype=torch.int64))


# -- drawing ----------------------------------------------------------------


@torch.no_grad()
def test_draws_equal_those_that_compute_everything_anew():
    prior, count, seed = random_prior(), 40, 3
    numbers = counter_rng.uniform(counter_rng.key_of(seed), count, prior.length)
    found = torch.zeros(count, prior.length, dtype=torch.int64)
    for t in range(prior.length):
        found[:, t] = pick(prior(found)[:, t].double().softmax(1), numbers[:, t])
    assert torch.equal(draw(prior, count, seed=seed), found)


def test_draws_depend_on_the_seed_and_their_number_alone():
    prior = random_prior()
    assert torch.equal(draw(prior, 300, seed=1)[:20], draw(prior, 20, seed=1))
    assert not torch.equal(draw(prior, 20, seed=2), draw(prior, 20, seed=1))


@torch.no_grad()
def test_draws_come_as_often_as_they_are_likely():
    prior = random_prior(books=[0, 0])
    found = draw(prior, 20_000)
    shares = torch.bincount(found[:, 0] * K + found[:, 1], minlength=K * K) / len(found)
    expected = torch.exp2(
        -prior.bits(torch.cartesian_prod(torch.arange(K), torch.arange(K))).sum(1)
    )
    assert torch.allclose(
        shares, expected, atol=0.012
    )  # four standard deviations of a share of one half


def test_narrowed_distributions():
    logits = torch.tensor([[0.5, 0.2, 0.2, 0.1]]).log()
    assert torch.allclose(narrowed(logits, 1, None, None), logits.double().exp())
    assert (
        narrowed(logits, 1, 1, None).tolist()
        == narrowed(logits, 0, None, None).tolist()
        == [[1, 0, 0, 0]]
    )
    assert torch.allclose(narrowed(logits, 0.5, None, None), (logits.double() * 2).softmax(1))
    assert torch.allclose(
        narrowed(logits, 1, None, 0.69)[0, 0], torch.tensor(5 / 7).double()
    )  # 0.5 and one 0.2
    assert (narrowed(logits, 1, None, 0.71) > 0).sum() == 3
    assert (narrowed(logits, 1, 2, 0.4) > 0).sum() == 1
    assert torch.equal(narrowed(logits, 1, 9, 1.0), narrowed(logits, 1, None, None))


def test_a_number_falls_on_the_code_below_it():
    chances = torch.tensor([[0.25, 0.0, 0.75]]).double().expand(5, 3)
    numbers = torch.tensor([0.0, 0.2499, 0.25, 0.9, 1 - 2**-53]).double()
    assert pick(chances, numbers).tolist() == [0, 0, 2, 2, 2]


@pytest.mark.parametrize(
    "wrong", [{"temperature": -1}, {"temperature": math.nan}, {"top_k": 0}, {"top_p": 0.0}]
)
def test_what_cannot_be_drawn(wrong):
    with pytest.raises(SettingError, match=next(iter(wrong))):
        draw(random_prior(), 1, **wrong)


# -- training ---------------------------------------------------------------


def counting(count, length=6):
    """Sequences that count up from a first token which says everything; it is their label too."""
    first = torch.arange(count) % K
    return Sequences((first.unsqueeze(1) + torch.arange(length)) % K, first)


def fit(classes=0, **options):
    config = PriorConfig(
        **{"layers": 1, "width": 32, "heads": 4, "epochs": 12, "lr": 3e-3, **options}
    ).filled(500, 6)
    data = counting(500)
    data = data if classes else Sequences(data.tokens, None)
    prior = CodePrior(
        books=[0] * 6, codebook_size=K, layers=1, width=32, heads=4, dropout=0.0, classes=classes
    )
    lines = training.train_prior(
        prior, data, Sequences(*data.at(torch.arange(100))), config, Interrupt(), print
    )
    return prior, lines, data


def test_it_learns_what_follows_from_the_tokens_before():
    prior, lines, data = fit()
    assert training.mean_bits(prior, data) == pytest.approx(
        math.log2(K) / 6, abs=0.03
    )  # only the first is uncertain
    assert [line["epoch"] for line in lines] == list(range(len(lines)))


def test_it_learns_what_follows_from_the_class():
    prior, _, data = fit(classes=K)
    assert training.mean_bits(prior, data) < 0.05
    assert draw(prior, 5, labels=torch.arange(5))[:, 0].tolist() == [0, 1, 2, 3, 4]


def test_it_keeps_the_best_and_stops_when_there_is_no_progress(monkeypatch):
    judged, weights = iter([3.0, 1.0, 2.0, 2.5, 0.5]), []

    def mean_bits(prior, _sequences):
        weights.append(prior.token.detach().clone())
        return next(judged)

    monkeypatch.setattr(training, "mean_bits", mean_bits)
    prior, lines, _ = fit(patience=2)
    assert [line["aside_bits"] for line in lines] == [3.0, 1.0, 2.0, 2.5]
    assert torch.equal(prior.token, weights[1])


def test_training_repeats_to_the_bit():
    first, second = (fit(epochs=2, dropout=0.3)[0].state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_seed_alone_decides_the_first_weights(complete_run):
    run, config = load(complete_run), PriorConfig(layers=1, width=8, heads=2, dropout=0)
    first = build_prior(run, config, 0).token
    torch.rand(3)
    assert torch.equal(build_prior(run, config, 0).token, first)
    assert not torch.equal(build_prior(run, config.model_copy(update={"seed": 1}), 0).token, first)


def test_the_same_bits_however_many_are_judged_at_a_time(tokens, monkeypatch):
    prior, data = random_prior(), Sequences(tokens, None)
    whole = training.mean_bits(prior, data)
    monkeypatch.setattr(training, "_PROBABILITIES", 2 * len(BOOKS) * K)
    assert training.mean_bits(prior, data) == pytest.approx(whole, rel=1e-6)


def test_unigram_bits_by_hand():
    train, test = (
        Sequences(torch.tensor([[0, 1], [0, 1], [1, 0]]), None),
        Sequences(torch.tensor([[0, 0]]), None),
    )
    # book 0 counts 2, 1 and book 1 counts 1, 2, each raised by one: 3/5 and 2/5
    assert training.unigram_bits(train, test, [0, 1], 2) == pytest.approx(
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


def test_what_it_is_trained_stopped_and_judged_on(complete_run):
    run = load(complete_run)
    data = read_codes(run, classes=True, seed=0)
    assert [len(each) for each in (data.train, data.aside, data.test)] == [1295, 143, 359]
    assert data.classes == 10
    whole = codes_of(run, "train").flatten(1)
    labels = run.source.split("train").labels
    both = (
        torch.cat([data.aside.tokens, data.train.tokens]),
        torch.cat([data.aside.labels, data.train.labels]),
    )
    rows = {(*tokens.tolist(), int(label)) for tokens, label in zip(*both, strict=True)}
    assert rows == {
        (*tokens.tolist(), int(label)) for tokens, label in zip(whole, labels, strict=True)
    }
    assert torch.equal(data.test.tokens, codes_of(run, "test").flatten(1))


@pytest.mark.parametrize(
    ("options", "books"),
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
def test_each_codebook_has_a_table_of_its_own(train, vq, options, books):
    options = (*options, "--max-steps", 2)
    run = train(*options)
    model = load(run).model
    found = books_of(model)
    assert len(found) == math.prod(model.index_shape)
    if books is None:
        first = 2 * math.prod(model.latent_shapes[0])
        books = [0, 1] * (first // 2) + [2, 3] * ((len(found) - first) // 2)
    assert found == books
    assert vq("prior", run.path, *SMALL).code == 0
    assert vq("sample", run.path, "-n", 3).code == 0


# -- the commands -----------------------------------------------------------


def test_what_vq_prior_leaves_behind(run_with_prior):
    folder = run_with_prior.path / "prior"
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json",
        "metrics.jsonl",
        "model.safetensors",
    ]
    about = json.loads((folder / "config.json").read_text())
    figures = about["figures"]
    assert figures["uniform_bits_per_token"] == 4
    assert figures["bits_per_token"] < figures["unigram_bits_per_token"] < 4
    assert figures["bits_per_pixel"] == pytest.approx(figures["bits_per_token"] * 16 / 64)
    assert about["training"] == about["training"] | {
        "layers": 1,
        "width": 16,
        "heads": 2,
        "epochs": 1,
    }
    assert about["model"]["checkpoint"] == run_with_prior.checkpoint.name
    assert f"{figures['bits_per_token']:.3f}" in run_with_prior.result.out
    prior, classes = load_prior(load(run_with_prior))
    assert classes == []
    assert (
        training.mean_bits(prior, read_codes(load(run_with_prior), False, 0).test)
        == figures["bits_per_token"]
    )


def test_another_prior_is_asked_for(run_with_prior, vq, tmp_path):
    path = shutil.copytree(run_with_prior.path, tmp_path / "run")
    result = vq("prior", path, *SMALL)
    assert result.code == 2
    assert "has a prior for step-00000012: to train another, add --overwrite" in result.err
    before = (path / "prior" / "model.safetensors").read_bytes()
    assert vq("prior", path, *SMALL, "--seed", 1, "--overwrite", "--classes", "--no-tied").code == 0
    assert (path / "prior" / "model.safetensors").read_bytes() != before
    assert vq("sample", path, "-n", 11).code == 0
    assert Image.open(path / "prior" / "samples.png").size == (
        10 * 34 + 2,
        2 * 34 + 2,
    )  # a column a class
    assert [
        _columns(Wanted(64), names) for names in ([], ["a", "b", "c"], ["a"] * 10, ["a"] * 30)
    ] == [8, 9, 10, 8]
    assert vq("sample", path, "-n", 4, "--class", "7").code == 0
    wrong = vq("sample", path, "--class", "ten")
    assert (wrong.code, "--class = 'ten': expected one of 0, 1, 2" in wrong.err) == (2, True)


def test_a_prior_of_an_older_checkpoint_is_refused_and_replaced(
    run_with_prior, vq, resume, tmp_path
):
    run = type(run_with_prior)(shutil.copytree(run_with_prior.path, tmp_path / "run"), None)
    resume(run, "--max-steps", 14)
    result = vq("sample", run.path)
    assert result.code == 2
    assert (
        f"was trained on codes of other weights than {run.checkpoint}: vq prior {run.path} trains anew"
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
        ("-o", "b.png"): "--output = 'b.png': expected a place where nothing is yet",
        (
            "--indices",
            "codes.npy",
        ): "--indices = 'codes.npy': expected a place where nothing is yet",
        ("-o", "a.jpg"): "--output = 'a.jpg': expected a name that ends in .png or .npy",
        ("--top-p", 2): "top_p = 2.0: expected more than 0 and at most 1",
        ("--class", "1"): "a prior that knows classes",
    }.items():
        result = vq("sample", path, *arguments)
        assert (result.code, message in result.err) == (2, True), result


def test_samples_that_are_no_pictures(train, vq):
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
    assert "samples of shape (15,) are no pictures" in refused.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("prior", "--classes"),
            "classes = True: expected a data set with labels, and digits has none; leave out",
        ),
        (
            ("probe",),
            "dataset = 'digits': expected a run on a data set with labels, and this one's has none",
        ),
    ],
)
def test_data_without_labels(complete_run, vq, monkeypatch, arguments, message):
    monkeypatch.setattr(ArraySplit, "labels", None)
    command, *options = arguments
    result = vq(command, complete_run.path, *options)
    assert (result.code, message in result.err) == (2, True), result


def test_ctrl_c_keeps_the_best_so_far(copied_run, vq, monkeypatch):
    judge = training.mean_bits

    def interrupted(*arguments):
        if not (copied_run.path / "sent").exists():
            (copied_run.path / "sent").touch()
            os.kill(os.getpid(), signal.SIGINT)
        return judge(*arguments)

    monkeypatch.setattr(training, "mean_bits", interrupted)
    result = vq("prior", copied_run.path, *SMALL[:-1], 500)
    assert result.code == 130
    assert "interrupted; best after epoch 0" in result.out
    assert len((copied_run.path / "prior" / "metrics.jsonl").read_text().splitlines()) == 1
    assert vq("sample", copied_run.path).code == 0


def test_a_prior_is_written_whole_or_not_at_all(run_with_prior, vq, monkeypatch, tmp_path):
    path = shutil.copytree(run_with_prior.path, tmp_path / "run")
    before = {file.name: file.read_bytes() for file in (path / "prior").iterdir()}

    def full(*_arguments):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("vq_prior.files.save_file", full)
        result = vq("prior", path, *SMALL, "--overwrite")
    assert result.code == 1
    assert "cannot be written: No space left on device" in result.err
    assert {file.name: file.read_bytes() for file in (path / "prior").iterdir()} == before
    (path / "prior" / "model.safetensors").write_bytes(b"")
    damaged = vq("sample", path)
    assert damaged.code == 1
    assert "damaged" in damaged.err
    assert "--overwrite" in damaged.err


def test_what_has_no_codes_has_no_prior(train, vq):
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


def test_a_loss_that_is_no_number_ends_it(copied_run, vq):
    result = vq("prior", copied_run.path, *SMALL, "--lr", 1e30)
    assert result.code == 1
    assert "the prior's loss is NaN or inf in epoch 0: lower --lr" in result.err
    assert not (copied_run.path / "prior").exists()
