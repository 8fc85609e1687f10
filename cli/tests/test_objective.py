"""The losses of a run: which they are, how they add up, and what the model's output follows."""

import json

import pytest
import torch

import vq
from vq.config.resolved_config import resolve_config
from vq.models.autoencoder import build_model
from vq.training.objective import Objective, build_objective
from vq.training.training_pass import TrainingPass
from vqcore import Loss, TrainedLoss
from vqcore.errors import SettingError
from vqcore.interfaces.dataset import SampleSpec
from vqcore.interfaces.loss import LossBatch
from vqcore.plugin.registry import default_registry

REGISTRY = default_registry()
DIGITS, BITS = SampleSpec((1, 8, 8)), SampleSpec((15,), (0.0, 1.0), "bernoulli")
#: Samples that a loss takes, and options without a default.
SHAPES = {"spectral": (1, 40), "perceptual": (3, 32, 32), "links": (12, 12)}
REQUIRED = {"perceptual": {"weights": "random", "network": "squeeze"}}


def objective(samples=DIGITS, losses=None):
    return build_objective(resolve_config({"losses": losses or {}}, REGISTRY), REGISTRY, samples)


def batch(x, y):
    return LossBatch(x, y, y, None, (0.0, 1.0), 0)


def values(shape, count=4, seed=0):
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("samples", "losses", "names", "likelihood"),
    [
        (DIGITS, [], ["mse"], "gaussian"),
        (BITS, [], ["bernoulli"], "bernoulli"),
        (BITS, ["l1"], ["l1"], "gaussian"),
        (BITS, ["l1", "bernoulli"], ["l1", "bernoulli"], "bernoulli"),
    ],
)
def test_the_losses_that_a_config_means(samples, losses, names, likelihood):
    found = objective(samples, losses)
    assert list(found.losses) == names
    assert found.likelihood == likelihood


@pytest.mark.parametrize("name", sorted({*REGISTRY.names("loss")} - {"cross-entropy"}))
def test_weights_and_empty_batches(name):
    """An empty batch has terms of 0, and a gradient of 0: DDP waits for one in each process."""
    shape = SHAPES.get(name, (3, 16, 16))
    options = REQUIRED.get(name, {})
    chosen = {"mse": {}, name: {**options, "weight": 3.0}}
    if name == "adversarial":
        chosen[name]["adaptive"] = False
    made = objective(SampleSpec(shape, (0.0, 1.0)), chosen)
    x, y = values(shape), values(shape, seed=1).requires_grad_()
    terms = made(batch(x, y))
    own = made.losses[name](batch(x, y))
    torch.testing.assert_close(terms[name if name != "mse" else "reconstruction"], 3 * own)
    for term in made(batch(x[:0], y[:0])).values():
        assert term == 0
        assert torch.equal(torch.autograd.grad(term, y, retain_graph=True)[0], 0 * y)


def test_terms_are_the_sum_that_is_trained():
    settings = {"backbone": "mlp", "losses": {"l1": {"weight": 0.5}, "mse": {}, "ssim": {}}}
    settings["losses"]["ssim"] = {"start": 1}
    config = resolve_config(settings, REGISTRY)
    model = build_model(config, REGISTRY, DIGITS)
    made = build_objective(config, REGISTRY, DIGITS)
    training = TrainingPass(model, made, DIGITS)
    x = values((1, 8, 8))
    out = training(x)
    assert list(out.losses)[:3] == ["reconstruction", "l1", "mse"]
    torch.testing.assert_close(out.losses["reconstruction"], out.losses["l1"] + out.losses["mse"])
    torch.testing.assert_close(out.loss, out.losses["reconstruction"] + out.bottleneck.loss)
    assert (made.phase, made.unrecordable) == (("l1", "mse"), ())
    made.update()
    assert "ssim" in training(x).losses
    assert made.phase == ("l1", "mse", "ssim")


class Opposed(TrainedLoss):
    """A term whose gradient is known, in proportion to the others."""

    adaptive = True

    def forward(self, batch):
        return 5 * batch.reconstruction.mean()

    def opponent(self, batch):
        return batch.reconstruction.mean()


def test_a_weight_scales_a_term_in_proportion():
    """Its gradient in the last layer is ``weight`` times as long as that of the rest."""
    x, y = values((6,)), values((6,), seed=1).requires_grad_()
    losses = {"mse": objective().losses["mse"], "opposed": Opposed(samples=DIGITS, weight=0.25)}
    terms = Objective(losses)(batch(x, y))
    lengths = [
        torch.autograd.grad(terms[name], y)[0].norm().item()
        for name in ("reconstruction", "opposed")
    ]
    assert lengths[1] == pytest.approx(0.25 * lengths[0], rel=1e-3)


class Reading(Loss):
    """One that a CUDA graph cannot hold."""

    def forward(self, batch):
        return batch.reconstruction.mean() * float(batch.inputs.mean())


def test_a_loss_that_cannot_be_replayed_is_named():
    assert Objective({"reading": Reading(samples=DIGITS)}).unrecordable == ("reading",)


def test_a_loss_with_the_name_of_another_term_is_refused():
    model = build_model(resolve_config({"backbone": "mlp"}, REGISTRY), REGISTRY, DIGITS)
    losses = {name: Reading(samples=DIGITS) for name in ("commitment", "other")}
    with pytest.raises(SettingError, match="losses = 'commitment': expected a name that no term"):
        TrainingPass(model, Objective(losses), DIGITS)(values((1, 8, 8)))


def test_a_loss_with_the_name_of_a_sum_is_refused():
    losses = {name: Reading(samples=DIGITS) for name in ("reconstruction", "other")}
    with pytest.raises(SettingError, match="losses = 'reconstruction': expected names other"):
        Objective(losses)


def test_nothing_to_compare_is_refused():
    with pytest.raises(SettingError, match="losses = 'mse': expected one with a weight"):
        objective(losses={"mse": {"weight": 0}})


def test_what_a_decoder_emits_follows_the_losses(train):
    """Also where the model is loaded, without its losses."""
    choices = ("--dataset", "trees", "--backbone", "mlp", "--max-steps", 2)
    plain = train(*choices, "--loss", "mse", run="plain")
    bits = train(*choices, "--loss", "l1", "--loss", "bernoulli", run="bits")
    for run, likelihood in ((plain, "gaussian"), (bits, "bernoulli")):
        assert json.loads((run.path / "data.json").read_text())["likelihood"] == likelihood
        assert vq.load(run.path).likelihood == likelihood
    assert plain.path.joinpath("log.txt").read_text().count("trees-euclidean-codebook-mse:") == 1
