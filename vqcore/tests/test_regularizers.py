"""What holds for every registered regularizer, and the built-in ones by hand."""

import pytest
import torch

from vqcore.errors import UsageError
from vqcore.latent import LatentBatch
from vqcore.registry import default_registry

REGISTRY = default_registry()
EUCLIDEAN = REGISTRY.build(REGISTRY.resolve("manifold", "euclidean"))
every = pytest.mark.parametrize("name", REGISTRY.names("regularizer"))


def build(name, **options):
    return REGISTRY.build(REGISTRY.resolve("regularizer", {"name": name, **options}))


def batch(z, codebook, decode=None, step=0):
    distance = torch.cdist(z.detach(), codebook.detach())
    indices = distance.argmin(1)
    return LatentBatch(z, codebook[indices], indices, codebook, EUCLIDEAN, step, decode=decode)


@every
def test_a_term_is_a_finite_scalar_with_a_finite_gradient(name):
    torch.manual_seed(0)
    z, codebook = torch.randn(64, 4, requires_grad=True), torch.randn(16, 4, requires_grad=True)
    decoder = torch.nn.Linear(4, 3)
    term = build(name)(batch(z, codebook, decoder))
    term.backward()
    assert term.shape == ()
    assert torch.isfinite(term)
    gradients = [t.grad for t in (z, codebook, decoder.weight) if t.grad is not None]
    assert gradients
    assert all(torch.isfinite(g).all() for g in gradients)


@every
@pytest.mark.parametrize("count", [1, 2, 8])
def test_a_collapsed_codebook_gives_no_nan(name, count):
    z, codebook = torch.ones(20, 4, requires_grad=True), torch.ones(count, 4, requires_grad=True)
    term = build(name)(batch(z, codebook, torch.nn.Linear(4, 3)))
    (term + 0 * z.sum()).backward()
    assert torch.isfinite(term)
    assert torch.isfinite(z.grad).all()
    assert codebook.grad is None or torch.isfinite(codebook.grad).all()


@every
def test_every_and_start_say_on_which_steps_a_term_acts(name):
    module = build(name, every=3, start=4)
    assert [step for step in range(13) if module.acts_on(step)] == [6, 9, 12]
    assert not any(build(name, weight=0).acts_on(step) for step in range(5))


def test_entropy_is_zero_for_equal_usage_and_one_on_collapse():
    codebook = 10 * torch.eye(4)
    even = build("entropy", temperature=0.01)(batch(codebook + 0.1, codebook))
    one = build("entropy", temperature=0.01)(batch(codebook[:1].repeat(4, 1) + 0.1, codebook))
    assert even.item() == pytest.approx(0.0, abs=1e-5)
    assert one.item() == pytest.approx(1.0, abs=1e-5)
    half = build("entropy", temperature=0.01)(batch(codebook[:2] + 0.1, codebook))
    assert half.item() == pytest.approx(0.5, abs=1e-5)  # two of four codes: log 2 / log 4


def test_entropy_is_unchanged_when_everything_is_scaled():
    torch.manual_seed(0)
    z, codebook = torch.randn(100, 3), torch.randn(8, 3)
    small, large = (build("entropy")(batch(s * z, s * codebook)) for s in (1.0, 50.0))
    torch.testing.assert_close(small, large)


def test_entropy_looks_at_no_more_tokens_than_it_may():
    torch.manual_seed(0)
    z, codebook = torch.randn(1000, 3, requires_grad=True), torch.randn(8, 3)
    build("entropy", max_tokens=50)(batch(z, codebook)).backward()
    assert 0 < (z.grad.abs().sum(1) > 0).sum() <= 50


def test_entropy_passes_a_finite_difference_check():
    torch.manual_seed(0)
    z, codebook = torch.randn(12, 3, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    module = build("entropy")
    scale = batch(z, codebook)  # the temperature's scale is held constant by a term that depends on nothing moved
    fixed = torch.cdist(z, codebook.detach()).amin(1).square().mean()

    def term(codes):
        return module(LatentBatch(z, codes[scale.indices], scale.indices, codes, EUCLIDEAN, 0))

    def reference(codes):
        soft = torch.softmax(-torch.cdist(z, codes).square() / fixed, 1).mean(0)
        return 1 + (soft * soft.log()).sum() / torch.log(torch.tensor(4.0, dtype=torch.float64))

    torch.testing.assert_close(term(codebook), reference(codebook))
    (mine,), (theirs,) = (torch.autograd.grad(f(codebook), codebook) for f in (term, reference))
    torch.testing.assert_close(mine, theirs)


def test_smoothness_by_hand_moves_the_decoder_only():
    z, codebook = torch.tensor([[1.0, 0.0]], requires_grad=True), torch.tensor([[3.0, 0.0]], requires_grad=True)
    decoder = torch.nn.Linear(2, 1, bias=False)
    torch.nn.init.ones_(decoder.weight)
    term = build("smoothness")(batch(z, codebook, decoder))
    term.backward()
    assert term.item() == pytest.approx(4.0)  # (1 - 3)^2
    assert z.grad is None
    assert codebook.grad is None
    assert decoder.weight.grad is not None


def test_smoothness_without_a_decoder_says_what_to_do():
    with pytest.raises(UsageError, match="decode=your_decoder"):
        build("smoothness")(batch(torch.randn(3, 2), torch.randn(2, 2)))
