"""The built-in regularizers by hand; what holds for all: test_conformance.py."""

import dataclasses

import pytest
import torch

from vqcore import VectorQuantizer
from vqcore.errors import UsageError
from vqcore.interfaces.latent_batch import LatentBatch
from vqcore.plugin.registry import default_registry

REGISTRY = default_registry()
EUCLIDEAN = REGISTRY.build(REGISTRY.resolve("manifold", "euclidean"))
every = pytest.mark.parametrize("name", REGISTRY.names("regularizer"))


def build(name, **options):
    return REGISTRY.build(REGISTRY.resolve("regularizer", {"name": name, **options}))


def space(name, **options):
    return REGISTRY.build(REGISTRY.resolve("manifold", {"name": name, **options}))


def batch(z, codebook, decode=None, step=0, inputs=None):
    if len(codebook):
        indices = torch.cdist(z.detach(), codebook.detach()).argmin(1)
        z_q = codebook[indices]
    else:
        indices, z_q = torch.full((len(z),), -1), torch.zeros_like(z)
    inputs = torch.arange(3.0 * len(z)).view(-1, 3).sin() if inputs is None else inputs
    return LatentBatch(z, z_q, indices, codebook, EUCLIDEAN, step, inputs=inputs, decode=decode)


@every
def test_a_codebook_without_codes_gives_no_nan(name):
    z, codebook = torch.ones(20, 4, requires_grad=True), torch.ones(0, 4, requires_grad=True)
    term = build(name)(batch(z, codebook, torch.nn.Linear(4, 3)))
    (term + 0 * z.sum()).backward()
    assert torch.isfinite(term)
    assert torch.isfinite(z.grad).all()
    assert codebook.grad is None or torch.isfinite(codebook.grad).all()


@every
@pytest.mark.parametrize("count", [0, 1, 2, 8])
def test_a_batch_without_tokens_gives_zero(name, count):
    z, codebook = torch.ones(0, 4, requires_grad=True), torch.randn(count, 4, requires_grad=True)
    term = build(name)(LatentBatch(
        z, z * 1, torch.zeros(0).long(), codebook, EUCLIDEAN, 0, torch.zeros(0).bool(),
        torch.zeros(0, 3), None, torch.nn.Linear(4, 3),
    ))  # fmt: skip
    (term + 0 * z.sum()).backward()
    assert torch.isfinite(term)
    assert term.item() == 0 or name == "orthogonal"  # which reads the codes
    assert codebook.grad is None or torch.isfinite(codebook.grad).all()


def both(name, mask, trimmed, *, manifold, quantizer="codebook", **options):
    """Value and latent gradient of the term on a masked batch, and on what the mask keeps."""
    torch.manual_seed(0)
    layer = VectorQuantizer(
        dim=4, codebook_size=8, manifold=manifold, quantizer=quantizer, regularizers={name: options}
    ).double()  # fmt: skip
    decoder = torch.nn.Linear(4, 3).double()
    z, x = torch.randn(6, 5, 4).double(), torch.randn(6, 7).double()
    layer(z, inputs=x, decode=decoder)
    found = []
    for select, kept in ((lambda t: t, mask), (trimmed, None)):
        latents = z.clone().requires_grad_()
        seen = x if kept is not None or select(z).ndim < 3 else x[: len(select(z))]
        term = layer(select(latents), mask=kept, inputs=seen, decode=decoder).losses[name]
        gradient = torch.autograd.grad(term, (latents, decoder.weight), allow_unused=True)
        found.append([term, *(g for g in gradient if g is not None)])
    return found


@every
@pytest.mark.parametrize("manifold", ["euclidean", "sphere"])
@pytest.mark.parametrize("quantizer", ["codebook", "ema"])
def test_masked_tokens_have_no_effect(name, manifold, quantizer):
    """Two samples and the others' last position masked, against four samples of four positions."""
    mask = torch.zeros(6, 5, dtype=torch.bool)
    mask[:4, :4] = True
    masked, trimmed = both(name, mask, lambda t: t[:4, :4], manifold=manifold, quantizer=quantizer)
    for one, other in zip(masked, trimmed, strict=True):
        torch.testing.assert_close(one, other)
    if name != "isometry":  # that needs samples
        ragged = torch.rand(6, 5) > 0.4
        masked, trimmed = both(
            name, ragged, lambda t: t[ragged], manifold=manifold, quantizer=quantizer
        )
        for one, other in zip(masked, trimmed, strict=True):
            torch.testing.assert_close(one, other)


@pytest.mark.parametrize(
    ("name", "options"), [("entropy", {"max_tokens": 7}), ("isometry", {"max_samples": 3}),
                          ("orthogonal", {"max_codes": 5}),
                          ("orthogonal", {"max_codes": 5, "active_only": True})]
)  # fmt: skip
def test_masked_tokens_have_no_effect_on_subsampled_terms(name, options):
    mask = torch.zeros(6, 5, dtype=torch.bool)
    mask[:4, :4] = True
    masked, trimmed = both(name, mask, lambda t: t[:4, :4], manifold="euclidean", **options)
    for one, other in zip(masked, trimmed, strict=True):
        torch.testing.assert_close(one, other)


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


def test_entropy_uses_at_most_max_tokens():
    torch.manual_seed(0)
    z, codebook = torch.randn(1000, 3, requires_grad=True), torch.randn(8, 3)
    build("entropy", max_tokens=50)(batch(z, codebook)).backward()
    assert 0 < (z.grad.abs().sum(1) > 0).sum() <= 50


def test_entropy_passes_a_finite_difference_check():
    torch.manual_seed(0)
    z, codebook = (
        torch.randn(12, 3, dtype=torch.float64),
        torch.randn(4, 3, dtype=torch.float64, requires_grad=True),
    )
    module = build("entropy")
    scale = batch(
        z, codebook
    )  # the temperature's scale is held constant by a term that depends on nothing moved
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
    z, codebook = (
        torch.tensor([[1.0, 0.0]], requires_grad=True),
        torch.tensor([[3.0, 0.0]], requires_grad=True),
    )
    decoder = torch.nn.Linear(2, 1, bias=False)
    torch.nn.init.ones_(decoder.weight)
    term = build("smoothness")(batch(z, codebook, decoder))
    term.backward()
    assert term.item() == pytest.approx(4.0)  # (1 - 3)^2
    assert z.grad is None
    assert codebook.grad is None
    assert decoder.weight.grad is not None


def test_smoothness_without_a_decoder_explains_the_fix():
    with pytest.raises(UsageError, match="decode=your_decoder"):
        build("smoothness")(batch(torch.randn(3, 2), torch.randn(2, 2)))


# -- orthogonal codes -------------------------------------------------------


def mean_cosine(codes, power=2):
    unit = torch.nn.functional.normalize(codes, dim=1)
    cosines = (unit @ unit.T).abs() ** power
    return (cosines.sum() - cosines.diagonal().sum()) / (len(codes) * (len(codes) - 1))


def test_orthogonal_by_hand():
    z = torch.randn(5, 2)
    for codes, expected in (
        ([[1.0, 0.0], [3.0, 3.0]], 0.5),
        ([[1.0, 0.0], [0.0, -2.0]], 0.0),
        ([[1.0, 0.0], [-2.0, 0.0]], 1.0),
        ([[1.0, 0.0], [0.0, 2.0], [0.0, 3.0]], 1 / 3),
        ([[1.0, 0.0], [0.0, 0.0]], 0.0),
    ):
        assert build("orthogonal")(batch(z, torch.tensor(codes))).item() == pytest.approx(
            expected, abs=1e-6
        )


@pytest.mark.parametrize(("count", "dim"), [(3, 8), (8, 3)])
def test_orthogonal_is_the_mean_over_pairs_whichever_product_is_built(count, dim):
    torch.manual_seed(0)
    z, codes = torch.randn(20, dim).double(), torch.randn(count, dim).double().requires_grad_()
    term = build("orthogonal")(batch(z, codes))
    torch.testing.assert_close(term, mean_cosine(codes))
    (mine,), (theirs,) = (torch.autograd.grad(f, codes) for f in (term, mean_cosine(codes)))
    torch.testing.assert_close(mine, theirs)
    torch.testing.assert_close(
        (mine * codes).sum(1), torch.zeros(count).double()
    )  # lengths are left alone


def test_as_many_codes_as_dimensions_can_be_made_orthogonal():
    torch.manual_seed(0)
    codes = torch.randn(4, 4, requires_grad=True)
    optimizer = torch.optim.Adam([codes], lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        build("orthogonal")(batch(torch.zeros(1, 4), codes)).backward()
        optimizer.step()
    assert mean_cosine(codes) < 1e-4


def test_codes_without_gradient_pull_on_the_latents_that_chose_them():
    torch.manual_seed(0)
    z, codes = torch.randn(30, 3).double().requires_grad_(), torch.randn(5, 3).double()
    seen = batch(z, codes)
    build("orthogonal")(seen).backward()
    leaf = codes.clone().requires_grad_()
    (at_codes,) = torch.autograd.grad(mean_cosine(leaf), leaf)
    counts = torch.bincount(seen.indices, minlength=5)
    torch.testing.assert_close(z.grad, (at_codes / counts.clamp(min=1).unsqueeze(1))[seen.indices])


def test_a_learned_curvature_is_not_taken_for_a_learned_codebook():
    torch.manual_seed(0)
    layer = VectorQuantizer(
        dim=4, codebook_size=6, quantizer="ema",
        manifold={"name": "sphere", "learn_curvature": True},
        regularizers=["orthogonal"],
    )  # fmt: skip
    z = torch.randn(40, 4, requires_grad=True)
    layer(z).losses["orthogonal"].backward()
    assert z.grad.abs().max() > 0


def test_orthogonal_uses_max_codes_drawn_by_the_step():
    torch.manual_seed(0)
    z, codes, module = torch.randn(20, 3), torch.randn(50, 3), build("orthogonal", max_codes=10)

    def compared(step):
        leaf = codes.clone().requires_grad_()
        (grad,) = torch.autograd.grad(module(batch(z, leaf, step=step)), leaf)
        return set((grad.abs().sum(1) > 0).nonzero().flatten().tolist())

    assert len(compared(0)) == 10
    assert compared(0) == compared(0)
    assert compared(0) != compared(1)


@pytest.mark.parametrize("limit", [2, 1024])
def test_orthogonal_can_use_active_codes_alone(limit):
    codes = torch.tensor([[1.0, 0.0], [9.0, 9.0], [1.0, 1.0], [-9.0, 9.0]])
    module = build("orthogonal", active_only=True, max_codes=limit)
    assert module(batch(codes[[0, 2, 2]], codes)).item() == pytest.approx(0.5)
    assert module(batch(codes[[0]], codes)).item() == 0


@pytest.mark.parametrize("quantizer", ["ema", "codebook"])
def test_the_orthogonal_term_acts_in_training_with_ema_codes_too(quantizer):
    found = []
    for regularizers in ((), ["orthogonal"]):
        torch.manual_seed(0)
        options = {"name": quantizer, "dead_code_threshold": 0} | (
            {"decay": 0.8} if quantizer == "ema" else {}
        )
        layer = VectorQuantizer(
            dim=8, codebook_size=8, quantizer=options, regularizers=regularizers
        )
        encoder, decoder = torch.nn.Linear(16, 8), torch.nn.Linear(8, 16)
        optimizer = torch.optim.Adam(
            [*encoder.parameters(), *decoder.parameters(), *layer.parameters()], lr=0.01
        )
        x = torch.randn(8, 16)[torch.arange(256) % 8] + 0.1 * torch.randn(256, 16)
        for _ in range(100):
            out = layer(encoder(x))
            optimizer.zero_grad()
            ((decoder(out.quantized) - x).square().mean() + out.loss).backward()
            optimizer.step()
            layer.update(optimizer)
        found.append(mean_cosine(layer.codebook, power=1).item())
    off, on = found
    assert on < 0.7 * off


# -- isometry ---------------------------------------------------------------


def samples(z, inputs, mask=None, manifold=EUCLIDEAN):
    return LatentBatch(z, z, torch.zeros(z.shape[:-1]).long(), None, manifold, 0, mask, inputs)


def plain_isometry(latent, reference):
    """The term from lists of distances of the same pairs."""
    latent, reference = torch.stack(latent), torch.stack(reference)
    return (latent / latent.mean() - reference / reference.mean()).square().mean()


def test_isometry_by_hand():
    """Distances 1, 3, 2 against 1, 2, 1: quotients 1/2, 3/2, 1 against 3/4, 3/2, 3/4."""
    z, x = torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]])
    assert build("isometry")(samples(z, x)).item() == pytest.approx((1 / 16 + 0 + 1 / 16) / 3)


def test_isometry_is_zero_if_latents_are_scaled_inputs():
    x = torch.randn(20, 2, 3) + 100
    assert build("isometry")(samples(5 * x - 3, x)).item() == pytest.approx(0, abs=1e-6)


def test_squared_distances_of_binary_inputs_are_hamming_distances():
    """Three codewords at Hamming distances 1, 2, 1, and latents that repeat them."""
    x, z = torch.tensor([[0, 0], [1, 0], [1, 1]]), torch.tensor([[0.0], [1.0], [2.0]])
    assert build("isometry", reference="squared")(samples(z, x)).item() == pytest.approx(
        0, abs=1e-6
    )
    assert build("isometry")(samples(z, x)).item() > 0.01


@pytest.mark.parametrize("manifold", REGISTRY.names("manifold"))
@pytest.mark.parametrize("masked", [False, True])
def test_isometry_uses_manifold_distances_over_common_positions(manifold, masked):
    torch.manual_seed(0)
    where = space(manifold)
    z, x = (
        where.tangent(torch.randn(6, 5, 3).double()).requires_grad_(),
        torch.randn(6, 4, 4).double(),
    )
    mask = torch.rand(6, 5) > 0.4 if masked else torch.ones(6, 5).bool()
    mask[2], mask[3] = False, torch.tensor([True, False, False, False, False])
    latent, reference = [], []
    for i in range(6):
        for j in range(i):
            common = mask[i] & mask[j]
            if common.any():
                a, b = (where.expmap0(z[k][common]) for k in (i, j))
                latent.append(where.squared_dist(a, b).mean().sqrt())
                reference.append((x[i] - x[j]).norm())
    expected = plain_isometry(latent, reference)
    term = build("isometry")(samples(z, x, mask, where))
    torch.testing.assert_close(term, expected)
    (mine,), (theirs,) = (torch.autograd.grad(f, z) for f in (term, expected))
    torch.testing.assert_close(mine, theirs)


def test_isometry_passes_a_finite_difference_check_and_keeps_the_scale():
    torch.manual_seed(0)
    z, x = torch.randn(5, 2, 3).double().requires_grad_(), torch.randn(5, 4).double()
    module = build("isometry")
    assert torch.autograd.gradcheck(lambda u: module(samples(u, x)), (z,))
    (grad,) = torch.autograd.grad(module(samples(z, x)), z)
    assert (grad * z).sum().abs() < 1e-12


def test_isometry_skips_samples_without_a_reference_and_batches_without_a_difference():
    torch.manual_seed(0)
    z, x = torch.randn(8, 3, requires_grad=True), torch.randn(8, 4)
    broken = x.clone()
    broken[5, 1] = float("nan")
    rest = [0, 1, 2, 3, 4, 6, 7]
    term = build("isometry")(samples(z, broken))
    torch.testing.assert_close(term, build("isometry")(samples(z[rest], x[rest])))
    for odd in (samples(z, x[:1].expand(8, 4)), samples(z[:1], x[:1]), samples(0 * z + 1, x)):
        term = build("isometry")(odd)
        (grad,) = torch.autograd.grad(term, z)
        assert torch.isfinite(term)
        assert grad.abs().max() == 0


def test_isometry_uses_at_most_max_samples():
    z = torch.randn(50, 3, requires_grad=True)
    build("isometry", max_samples=7)(samples(z, torch.randn(50, 4))).backward()
    assert (z.grad.abs().sum(1) > 0).sum() == 7


def test_isometry_without_inputs_or_samples_explains_the_fix():
    z = torch.randn(6, 3)
    with pytest.raises(UsageError, match="inputs=your_inputs"):
        build("isometry")(samples(z, None))
    with pytest.raises(UsageError, match="2 inputs and 6 latents"):
        build("isometry")(samples(z, torch.randn(2, 4)))


def test_isometry_reads_the_factors_of_a_latent_as_positions():
    torch.manual_seed(0)
    z, inputs = torch.randn(10, 3, 4), torch.randn(10, 7)
    made = LatentBatch(
        z, z, torch.zeros(10, 3, dtype=torch.int64), None, EUCLIDEAN, 0, None, inputs
    )
    mask = torch.rand(10, 3) > 0.3
    for given in (made, dataclasses.replace(made, mask=mask)):
        kept = None if given.mask is None else mask.repeat_interleave(2, 1)
        apart = dataclasses.replace(given, z=z.reshape(10, 6, 2), mask=kept)
        torch.testing.assert_close(
            build("isometry")(dataclasses.replace(given, factors=2)), build("isometry")(apart)
        )
