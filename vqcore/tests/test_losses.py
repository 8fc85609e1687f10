"""The built-in losses by hand; what holds for all: test_conformance.py."""

import math

import pytest
import torch
import torch.nn.functional as F
from torchmetrics.functional.image import structural_similarity_index_measure

from vqcore.errors import SettingError
from vqcore.interfaces.dataset import SampleSpec
from vqcore.interfaces.loss import LossBatch
from vqcore.plugin.registry import default_registry

REGISTRY = default_registry()
UNIT = (0.0, 1.0)


def build(name, shape=(3, 16, 16), value_range=(-1.0, 1.0), likelihood="gaussian", **options):
    samples = SampleSpec(shape, value_range, likelihood)
    return REGISTRY.build(REGISTRY.resolve("loss", {"name": name, **options}), samples=samples)


def batch(x, y, decoded=None):
    return LossBatch(x, y, y if decoded is None else decoded, None, (-1.0, 1.0), 0)


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_errors_by_hand():
    x, y = torch.tensor([[0.0, 1.0], [0.5, -1.0]]), torch.tensor([[0.5, 1.0], [0.5, 1.0]])
    assert build("mse", (2,))(batch(x, y)).item() == pytest.approx((0.25 + 4) / 4)
    assert build("l1", (2,))(batch(x, y)).item() == pytest.approx(2.5 / 4)


def test_cross_entropy_by_hand():
    x, logits = torch.tensor([[1.0, 0.0, 0.25]]), torch.tensor([[2.0, -1.0, 0.0]])
    found = build("bernoulli", (3,), UNIT)(batch(x, logits.sigmoid(), logits))
    expected = math.log(1 + math.exp(-2)) + math.log(1 + math.exp(-1)) + math.log(2)
    assert found.item() == pytest.approx(expected / 3)


@pytest.mark.parametrize("value_range", [(-1.0, 1.0), (0.0, 255.0)])
def test_values_that_are_no_probabilities_are_refused(value_range):
    with pytest.raises(SettingError, match=r"losses = 'bernoulli': expected samples in \[0, 1\]"):
        build("bernoulli", value_range=value_range)
    build("bernoulli", value_range=value_range, likelihood="bernoulli")  # the data set's own word


# -- structural similarity ----------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 16, 20), (1, 8, 8), (2, 11, 40), (4, 3, 3)])
@pytest.mark.parametrize("value_range", [(-1.0, 1.0), UNIT])
def test_dissimilarity_is_that_of_torchmetrics(shape, value_range):
    low, high = value_range
    x, y = (low + (high - low) * noise(5, *shape, seed=seed) for seed in (0, 1))
    y = 0.7 * x + 0.3 * y
    side = min(11, *shape[1:])
    side -= 1 - side % 2
    similarity = structural_similarity_index_measure(
        y.double(), x.double(), sigma=1.5 * side / 11, data_range=high - low
    )
    found = build("ssim", shape, value_range)(batch(x, y))
    assert found.item() == pytest.approx(1 - similarity.item(), abs=1e-5)


def test_frames_of_a_clip_are_images():
    x, y = noise(2, 3, 4, 16, 16), noise(2, 3, 4, 16, 16, seed=1)
    frames = [each.transpose(1, 2).flatten(0, 1) for each in (x, y)]
    found = build("ssim", (3, 4, 16, 16))(batch(x, y))
    torch.testing.assert_close(found, build("ssim")(batch(*frames)))


@pytest.mark.parametrize("shape", [(64,), (1, 64), (3, 2, 16)])
def test_what_has_no_structure_is_refused(shape):
    with pytest.raises(SettingError, match="losses = 'ssim': expected images or clips of 3 x 3"):
        build("ssim", shape)


# -- spectra ------------------------------------------------------------------


def spectrum(x, n):
    """Magnitudes of signals (B, T), frame by frame, in float64."""
    padded = F.pad(x.double(), (n // 2, n // 2), mode="reflect")
    window = torch.hann_window(n, dtype=torch.float64)
    return torch.fft.rfft(padded.unfold(-1, n, n // 4) * window).abs() / math.sqrt(n)


def test_distance_of_spectra_by_hand():
    x, y = noise(2, 100) - 0.5, noise(2, 100, seed=1) - 0.5
    expected = 0.0
    for n in (64, 32):
        a, b = spectrum(x, n), spectrum(y, n)
        logs = (a.clamp(min=1e-5).log() - b.clamp(min=1e-5).log()).abs().mean()
        expected += ((a - b).abs().mean() + 0.5 * logs) / 2
    loss = build("spectral", (1, 100), windows=[64, 32], log_weight=0.5)
    found = loss(batch(x.unsqueeze(1), y.unsqueeze(1)))
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


def test_windows_are_those_that_fit():
    assert build("spectral", (2, 600)).windows == (512, 256, 128, 64)
    assert build("spectral", (2, 40)).windows == (16,)
    with pytest.raises(SettingError, match=r"windows = \(64,\): expected no window longer than"):
        build("spectral", (2, 40), windows=[64])


@pytest.mark.parametrize("shape", [(64,), (3, 16, 16), (1, 8)])
def test_what_is_no_signal_is_refused(shape):
    with pytest.raises(SettingError, match="losses = 'spectral': expected signals"):
        build("spectral", shape)


def test_links_by_hand():
    """Root 0 with children 1 and 2, and 3 below 1; 2 and 3 are in one place."""
    above = torch.tensor([[1.0, 0, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0], [1, 1, 0, 1]]).unsqueeze(0)
    apart = torch.tensor([[0.0, 1, 2, 3], [1, 0, 4, 2], [2, 4, 0, 0], [3, 2, 0, 0]]).unsqueeze(0)
    logits = (-apart).requires_grad_()
    loss = build("links", (4, 4), UNIT)(batch(above, logits.sigmoid(), logits))
    # of 1 against 2; of 2 against 1; of 3 to 0 and 1 against nothing, since 2 is in its place
    terms = [math.log1p(math.exp(1 - 4)), math.log1p(math.exp(2 - 4)), 0, 0]
    assert loss.item() == pytest.approx(sum(terms) / 4)
    (slopes,) = torch.autograd.grad(loss, logits)
    assert slopes[0].nonzero().tolist() == [[1, 0], [1, 2], [2, 0], [2, 1]]


@pytest.mark.parametrize(
    ("shape", "value_range"), [((4, 5), UNIT), ((1, 4, 4), UNIT), ((4, 4), (-1.0, 1.0))]
)
def test_what_relates_no_nodes_is_refused(shape, value_range):
    with pytest.raises(SettingError, match="losses = 'links': expected samples of n x n"):
        build("links", shape, value_range)


# -- gradients ----------------------------------------------------------------

SHAPES = {"spectral": (2, 40), "ssim": (2, 12, 12)}


@pytest.mark.parametrize("name", ["mse", "l1", "bernoulli", "ssim", "spectral"])
def test_gradients_are_those_of_finite_differences(name):
    shape = SHAPES.get(name, (6,))
    loss = build(name, shape, UNIT).double()
    x, y = (noise(2, *shape, seed=seed).double() for seed in (0, 1))
    y.requires_grad_()
    # in float64, where the loss keeps to the types that it is given
    value = loss(batch(x, y))
    (found,) = torch.autograd.grad(value, y)
    direction = noise(2, *shape, seed=2).double() - 0.5
    step = 1e-5 if value.dtype == torch.float64 else 1e-3
    with torch.no_grad():
        ends = [loss(batch(x, y + sign * step * direction)).double() for sign in (1, -1)]
    slope = ((ends[0] - ends[1]) / (2 * step)).item()
    assert (found * direction).sum().item() == pytest.approx(slope, rel=1e-3, abs=1e-6)
