"""The two losses by themselves: their numbers, against hand and float64; what they refuse."""

import copy

import pytest
import torch
from torch import nn

from vq.evaluation.lpips_network import read_lpips_network
from vq_perceptual.adversarial import GAMES, Adversarial
from vq_perceptual.patch_discriminator import PatchDiscriminator, default_layers
from vq_perceptual.perceptual import Perceptual
from vqcore.errors import SettingError
from vqcore.interfaces.dataset import SampleSpec
from vqcore.interfaces.loss import LossBatch
from vqcore.testing import LossConformance


def batch(inputs, reconstruction, step=0, value_range=(-1.0, 1.0)):
    return LossBatch(inputs, reconstruction, reconstruction, None, value_range, step)


def images(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def adversarial(shape=(3, 16, 16), value_range=(-1.0, 1.0), **options):
    torch.manual_seed(0)
    samples = SampleSpec(shape, value_range)
    return Adversarial(samples=samples, **{"channels": 4, **options})


class Slope(nn.Module):
    """D(x) = w x."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.tensor(1.0))

    def forward(self, x):
        return self.w * x


class TestPerceptual(LossConformance):
    samples = SampleSpec((3, 32, 32), (0.0, 1.0))

    def make(self, **options):
        options = {"weights": "random", "network": "squeeze", **options}
        return Perceptual(samples=self.samples, **options)


class TestAdversarial(LossConformance):
    def make(self, **options):
        return adversarial(self.samples.shape, self.samples.value_range, r1=0.1, **options)


# -- adversarial ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "model", "opponent", "slope"),
    [
        # real 0.5 and 2, fake -2 and 0.25: only 0.5 and 0.25 are within the margin
        ("hinge", 0.875, (0.25 + 0.625) / 2, (-0.25 + 0.125) / 2),
        ("least-squares", (9 + 0.5625) / 2, (0.625 + 2.03125) / 2, (-0.25 + 2.0 + 4.0625) / 2),
    ],
)
def test_the_game_and_its_gradient_by_hand(loss, model, opponent, slope):
    term = adversarial((1, 3), loss=loss)
    term.discriminator = Slope()
    played = batch(torch.tensor([[[0.5, 2.0]]]), torch.tensor([[[-2.0, 0.25]]]))
    assert term(played).item() == pytest.approx(model)
    value = term.opponent(played)
    assert value.item() == pytest.approx(opponent)
    value.backward()
    # least squares: mean of 2 (d - 1) x over real, of 2 d x over fake
    assert term.discriminator.w.grad.item() == pytest.approx(slope)


def test_the_non_saturating_game_is_cross_entropy():
    logits = torch.linspace(-30, 30, 7)
    ones, cross = torch.ones(7), nn.functional.binary_cross_entropy_with_logits
    game = GAMES["non-saturating"]
    for side, label in ((game.real, ones), (game.fake, 0 * ones), (game.model, ones)):
        expected = cross(logits, label, reduction="none")
        assert torch.allclose(side(logits), expected, atol=1e-6)


@pytest.mark.parametrize(("layers", "values"), [(1, 16), (2, 34), (3, 70)])
def test_a_logit_sees_a_patch(layers, values):
    x = torch.randn(1, 1, 128, 128, requires_grad=True)
    logits = PatchDiscriminator((1, 128, 128), layers, 1, normalized=False)(x)
    row, column = (side // 2 for side in logits.shape[2:])
    logits[0, 0, row, column].backward()
    seen = x.grad[0, 0].nonzero()
    assert (seen.amax(0) - seen.amin(0) + 1).tolist() == [values, values]


@pytest.mark.parametrize(
    ("sides", "layers"), [((256, 256), 3), ((64, 64), 3), ((32, 32), 2), ((28, 28), 1), ((8,), 1)]
)
def test_small_samples_take_fewer_layers(sides, layers):
    assert default_layers(sides) == layers


@pytest.mark.parametrize(
    "shape", [(1, 3, 3), (3, 32, 32), (1, 28, 40), (2, 500), (3, 3, 16, 16), (3, 8, 32, 32)]
)
def test_signals_images_and_clips_have_patches(shape):
    term = adversarial(shape, layers=3, channels=1)
    x = images(2, *shape).requires_grad_()
    term(batch(x.detach(), x)).backward()
    assert x.grad.isfinite().all()
    assert (x.grad != 0).any()


@pytest.mark.parametrize("normalized", [True, False])
def test_r1_is_the_squared_gradient_and_its_own_gradient_is_right(normalized):
    term = adversarial((1, 6, 6), channels=2, spectral_norm=normalized, r1=1.0)
    x = images(2, 1, 6, 6)
    penalty = term._gradient_penalty(x)
    penalty.backward()
    network, step = copy.deepcopy(term.discriminator).double().layers, 1e-5
    network.requires_grad_(False)

    def measured():
        """The same from differences of D, in float64; D is linear but for its kinks."""
        moved = step * torch.eye(36, dtype=torch.float64).view(36, 1, 6, 6)
        differences = [(network(one + moved) - network(one - moved)).sum((1, 2, 3)) for one in x]
        return (torch.stack(differences) / (2 * step)).square().sum(1).mean()

    assert penalty.item() == pytest.approx(measured().item(), rel=1e-4)
    for mine, theirs in zip(term.discriminator.layers[::2], network[::2], strict=True):
        stored = mine.parametrizations.weight if normalized else mine
        weight = theirs.parametrizations.weight.original if normalized else theirs.weight
        gradient = (stored.original if normalized else stored.weight).grad.flatten()
        largest = gradient.abs().argmax()
        ends = []
        for sign in (1, -1):
            weight.view(-1)[largest] += sign * 1e-4
            ends.append(measured())
            weight.view(-1)[largest] -= sign * 1e-4
        found = (ends[0] - ends[1]) / 2e-4
        assert gradient[largest].item() == pytest.approx(found.item(), rel=1e-2)


def test_r1_acts_on_every_nth_step_as_many_times():
    term, x, y = adversarial(r1=2.0, r1_every=4), images(2, 3, 16, 16), images(2, 3, 16, 16, seed=1)
    values = [term.opponent(batch(x, y, step)).item() for step in range(5)]
    penalty = term._gradient_penalty(x).item()
    assert values[0] == values[4] == pytest.approx(values[1] + 4 * penalty, rel=1e-5)
    assert values[1] == values[2] == values[3]


def test_spectral_norm_follows_the_weights_by_steps_of_the_optimizer_alone():
    term = adversarial(lr=2e-4)
    x, y = images(2, 3, 16, 16), images(2, 3, 16, 16, seed=1)
    term.train()
    before = copy.deepcopy(term.state_dict())
    for _ in range(3):
        term.opponent(batch(x, y)).backward()
    assert all(torch.equal(value, before[name]) for name, value in term.state_dict().items())
    for _ in range(60):
        term.optimizer.zero_grad()
        term.opponent(batch(x, y)).backward()
        term.optimizer.step()
    for layer in term.discriminator.layers[::2]:
        assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(1, 0.05)


@pytest.mark.parametrize("options", [{}, {"r1": 1.0}, {"loss": "non-saturating"}])
def test_parts_of_a_batch_add_up(options):
    term, x, y = adversarial(**options), images(4, 3, 16, 16), images(4, 3, 16, 16, seed=1)
    for play in (term, term.opponent):
        halves = [play(batch(x[rows], y[rows])) for rows in (slice(0, 2), slice(2, 4))]
        assert torch.allclose(sum(halves) / 2, play(batch(x, y)), rtol=1e-5, atol=1e-7)


def test_the_discriminator_learns_to_tell():
    term, x = adversarial(lr=1e-2, channels=8), images(16, 3, 16, 16)
    played = batch(x, nn.functional.avg_pool2d(x, 3, 1, 1))
    first = term.opponent(played).item()
    for _ in range(20):
        term.optimizer.zero_grad()
        term.opponent(played).backward()
        term.optimizer.step()
    assert term.opponent(played).item() < first - 0.3


def test_the_range_of_the_data_does_not_matter():
    x, y = images(2, 3, 16, 16), images(2, 3, 16, 16, seed=1)
    term, other = adversarial(r1=1.0), adversarial(value_range=(0.0, 255.0), r1=1.0)
    scaled = batch((x + 1) * 127.5, (y + 1) * 127.5)
    for one, two in ((term, other), (term.opponent, other.opponent)):
        assert one(batch(x, y)).item() == pytest.approx(two(scaled).item(), rel=1e-4)


@pytest.mark.parametrize("shape", [(64,), (1, 2, 16), (1, 2)])
def test_samples_without_patches_are_refused(shape):
    with pytest.raises(SettingError, match=r"adversarial'.*sides of at least 3.*shape \("):
        adversarial(shape)


# -- perceptual -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """SqueezeNet's file in torchvision's format, with random weights in it."""
    import torchvision

    torch.manual_seed(0)
    state = torchvision.models.squeezenet1_1(weights=None).state_dict()
    path = tmp_path_factory.mktemp("weights") / "squeezenet.pth"
    torch.save(state, path)
    return path


def perceptual(shape=(3, 32, 32), value_range=(-1.0, 1.0), **options):
    options = {"weights": "random", "network": "squeeze", **options}
    return Perceptual(samples=SampleSpec(shape, value_range), **options)


def test_it_is_torchmetrics_lpips(file):
    x, y = images(2, 3, 32, 32), images(2, 3, 32, 32, seed=1).requires_grad_()
    value = perceptual(weights=str(file))(batch(x, y))
    (gradient,) = torch.autograd.grad(value, y)
    _, network = read_lpips_network(file, "weights")
    expected = network(x, y).mean()
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)
    (reference,) = torch.autograd.grad(expected, y)
    assert torch.allclose(gradient, reference, rtol=1e-3, atol=1e-8)


@pytest.mark.parametrize("value_range", [(0.0, 1.0), (-3.0, 5.0)])
def test_ranges_and_grey_images(value_range):
    low, high = value_range
    x, y = images(2, 1, 32, 32), 2 * images(2, 1, 32, 32, seed=1)  # out of range, and not clipped
    expected = perceptual()(batch(x.expand(-1, 3, -1, -1), y.expand(-1, 3, -1, -1)))
    scaled = batch(*((image + 1) / 2 * (high - low) + low for image in (x, y)))
    found = perceptual((1, 32, 32), value_range)(scaled)
    assert found.item() == pytest.approx(expected.item(), rel=1e-4)


def test_random_weights_are_those_of_their_seed():
    state = torch.get_rng_state()
    x, y = images(2, 3, 32, 32), images(2, 3, 32, 32, seed=1)
    one, same, other = (perceptual(seed=seed)(batch(x, y)).item() for seed in (0, 0, 1))
    assert one == same != other
    assert perceptual()(batch(x, x)).item() == 0
    near = perceptual()(batch(x, 0.9 * x + 0.1 * y)).item()
    assert 0 < near < one
    assert torch.equal(state, torch.get_rng_state())


def test_only_the_reconstruction_has_a_gradient():
    term = perceptual()
    x = torch.zeros(2, 3, 32, 32)
    y = x.clone().requires_grad_()
    term(batch(x, y)).backward()  # equal and constant: the gradient is finite
    assert y.grad.isfinite().all()
    assert not any(each.requires_grad or each.grad is not None for each in term.parameters())


@pytest.mark.parametrize("make", [perceptual, adversarial])
def test_in_bfloat16_the_term_is_float32(make):
    x, y = images(2, 3, 32, 32), images(2, 3, 32, 32, seed=1).requires_grad_()
    term = make((3, 32, 32))
    exact = term(batch(x, y))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = term(batch(x, y))
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(exact.item(), rel=0.02, abs=0.02)
    value.backward()
    assert y.grad.isfinite().all()


@pytest.mark.parametrize("shape", [(64,), (2, 32, 32), (3, 8, 32, 32)])
def test_samples_that_are_no_pictures_are_refused(shape):
    with pytest.raises(SettingError, match=r"perceptual'.*1 or 3 channels, found samples of"):
        perceptual(shape)


def test_images_too_small_for_the_network_are_refused():
    with pytest.raises(
        SettingError,
        match=r"losses = .perceptual.: expected a network that takes images of 4 x 4; squeeze",
    ):
        perceptual((3, 4, 4))


def test_the_file_of_another_network_is_refused(file):
    with pytest.raises(SettingError, match=r"VGG16.*found those of squeeze.*vgg16\("):
        perceptual(weights=str(file), network="vgg")
