"""Parity with vector-quantize-pytorch, and each difference from it that docs/migrating.md states.

With equal settings both do the same: indices are equal in all of 50 training steps, losses agree to
1e-6 and codes to 2e-6 of coordinates near 1 (float32; sums are taken in another order).
"""

import inspect
import math
import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from vqcore import VectorQuantizer

peer = pytest.importorskip("vector_quantize_pytorch")

K, D, TOKENS, FEATURES, STEPS = 32, 8, 256, 16, 50
CLOSE = {"rtol": 1e-6, "atol": 2e-6}


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def autoencoder():
    """Encoder, decoder, a batch for each step, and codes to start from: the same at each call."""
    torch.manual_seed(0)
    encoder, decoder = nn.Linear(FEATURES, D), nn.Linear(D, FEATURES)
    batches = torch.randn(STEPS, TOKENS, FEATURES)
    return encoder, decoder, batches, encoder(batches[0])[:K].detach()


def their_layer(codes, **options):
    """Theirs, started from the codes (K, D); no dead-code replacement is its default."""
    layer = peer.VectorQuantize(
        dim=codes.shape[1], codebook_size=len(codes), **{"rotation_trick": False, **options}
    )
    layer._codebook.embed.data.copy_(codes)
    layer._codebook.embed_avg.copy_(codes)
    return layer


def our_layer(codes, quantizer="ema", estimator="straight-through", regularizers=(), **options):
    """Ours, started from the same codes, without dead-code replacement."""
    choice = {"name": quantizer, "dead_code_threshold": 0, **options}
    sizes = {"dim": codes.shape[1], "codebook_size": len(codes)}
    layer = VectorQuantizer(
        **sizes, quantizer=choice, estimator=estimator, regularizers=regularizers
    )
    layer.quantizer.set_points(torch.ones(len(codes), dtype=torch.bool), codes)
    layer.quantizer.started = True
    return layer


def of_theirs(layer):
    """What ``trained`` calls: z -> codes, indices, loss; and a no-op after the optimizer step."""
    return layer, lambda: None


def of_ours(layer):
    """The same of ours, with its update."""

    def quantize(z):
        out = layer(z)
        return out.quantized, out.indices, out.loss

    return quantize, layer.update


def trained(quantize, update, parameters=()):
    """Layer loss (S,), reconstruction loss (S,) and indices (S, N) of S training steps."""
    encoder, decoder, batches, _ = autoencoder()
    optimizer = torch.optim.Adam(
        [*encoder.parameters(), *decoder.parameters(), *parameters], lr=1e-2
    )
    steps = []
    for x in batches:
        codes, indices, loss = quantize(encoder(x))
        reconstruction = F.mse_loss(decoder(codes), x)
        optimizer.zero_grad()
        (reconstruction + loss).backward()
        optimizer.step()
        update()
        steps.append((loss.detach(), reconstruction.detach(), indices))
    return tuple(torch.stack(column) for column in zip(*steps, strict=True))


def smoothed(counts, epsilon):
    """Laplace smoothing as both do it: the total stays, no count is 0."""
    total = counts.sum()
    return (counts + epsilon) * total / (total + len(counts) * epsilon)


# -- training ---------------------------------------------------------------


@pytest.mark.parametrize("decay", [0.8, 0.99])
def test_fifty_ema_steps_are_the_same(decay):
    codes = autoencoder()[3]
    theirs = their_layer(codes, decay=decay, eps=1e-5, commitment_weight=0.25)
    ours = our_layer(codes, decay=decay, epsilon=1e-5, commitment_weight=0.25)
    their_loss, their_error, their_indices = trained(*of_theirs(theirs))
    our_loss, our_error, our_indices = trained(*of_ours(ours))
    assert torch.equal(our_indices, their_indices)
    torch.testing.assert_close(our_loss, their_loss, rtol=1e-6, atol=0)
    torch.testing.assert_close(our_error, their_error, rtol=1e-6, atol=0)
    mine, peer = ours.quantizer, theirs._codebook
    torch.testing.assert_close(mine.counts, peer.cluster_size[0], **CLOSE)
    torch.testing.assert_close(mine.sums, peer.embed_avg[0], rtol=2e-6, atol=1e-5)
    used = our_indices[-1].unique()
    torch.testing.assert_close(ours.codebook[used], theirs.codebook[used], **CLOSE)
    # codes that the last step did not use: theirs hold the smoothed quotient, ours stay in place
    torch.testing.assert_close(
        mine.sums / smoothed(mine.counts, 1e-5).unsqueeze(1), theirs.codebook, **CLOSE
    )


def test_fifty_steps_of_a_learned_codebook_are_the_same_and_the_loss_is_twice_theirs():
    codes = autoencoder()[3]
    theirs = their_layer(codes, learnable_codebook=True, ema_update=False, commitment_weight=0.25)
    weights = {"commitment_weight": 0.25, "codebook_weight": 0.25}
    ours = our_layer(codes, "codebook", lr_scale=1, **weights)
    their_loss, their_error, their_indices = trained(*of_theirs(theirs), theirs.parameters())
    our_loss, our_error, our_indices = trained(*of_ours(ours), ours.parameters())
    assert torch.equal(our_indices, their_indices)
    torch.testing.assert_close(our_loss, 2 * their_loss, rtol=1e-6, atol=0)
    torch.testing.assert_close(our_error, their_error, rtol=1e-6, atol=0)
    torch.testing.assert_close(ours.codebook, theirs.codebook, rtol=1e-5, atol=1e-5)


def test_unused_codes_drift_to_the_origin_in_theirs_alone():
    codes = torch.tensor([[-50.0, -50.0], [10.0, 10.0]])
    theirs, ours = their_layer(codes, decay=0.5), our_layer(codes, decay=0.5)
    for _ in range(25):
        z = torch.randn(16, 2) - 50
        theirs(z)
        ours(z)
        ours.update()
    assert theirs.codebook[1, 0].item() < 0.1
    assert ours.codebook[1].tolist() == [10.0, 10.0]


def test_gradients_accumulate_into_one_ema_step_of_ours_and_into_one_for_each_forward_of_theirs():
    codes, z = autoencoder()[3], torch.randn(64, D)
    whole, halves, theirs, accumulating = our_layer(codes), our_layer(codes), *(
        their_layer(codes, decay=0.99) for _ in range(2)
    )  # fmt: skip
    whole(z)
    whole.update()
    halves(z[:32])
    halves(z[32:])
    halves.update()
    theirs(z[:32])
    theirs(z[32:])
    accumulating(z[:32], accum_ema_update=True)
    accumulating(z[32:])
    torch.testing.assert_close(halves.codebook, whole.codebook, **CLOSE)
    torch.testing.assert_close(accumulating._codebook.embed_avg[0], whole.quantizer.sums, **CLOSE)
    assert (theirs.codebook - whole.codebook).abs().max() > 1e-3


# -- gradients --------------------------------------------------------------


@pytest.mark.parametrize(
    ("estimator", "rotation"), [("straight-through", False), ("rotation", True)]
)
def test_the_input_gets_the_same_gradient(estimator, rotation):
    codes = autoencoder()[3]
    theirs = their_layer(codes, rotation_trick=rotation, commitment_weight=0.25)
    ours = our_layer(codes, estimator=estimator, commitment_weight=0.25)
    weight, gradients = torch.randn(TOKENS, D), []
    z = torch.randn(TOKENS, D, requires_grad=True)
    for quantize, _ in (of_theirs(theirs), of_ours(ours)):
        quantized, _, loss = quantize(z)
        gradients += torch.autograd.grad((weight * quantized).sum() + loss, z)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-5, atol=1e-5)


def test_their_default_is_the_rotation_trick():
    assert peer.VectorQuantize(dim=D, codebook_size=K).rotation_trick


def test_directional_reparametrization_gives_latents_and_codes_the_same_gradient():
    codes, z = autoencoder()[3], torch.randn(TOKENS, D, requires_grad=True)
    settings = {"directional_reparam": True, "threshold_ema_dead_code": 1e-9}
    theirs = their_layer(codes, directional_reparam_variance=0.25, **settings)
    ours = our_layer(
        codes, "codebook", {"name": "diveq", "noise": 0.5}, commitment_weight=0, codebook_weight=0
    )
    weight, found = torch.randn(TOKENS, D), []
    for quantize, table in ((theirs, theirs._codebook.embed), (ours, ours.quantizer.weight)):
        torch.manual_seed(1)
        quantized = quantize(z)[0] if quantize is theirs else quantize(z).quantized
        at_input, at_codes = torch.autograd.grad((weight * quantized).sum(), (z, table))
        found.append((quantized, at_input, at_codes.view(K, D)))
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-5)


def test_synchronized_reaches_the_codes_in_ours_and_the_encoder_once_more_in_theirs():
    codes, z = autoencoder()[3], torch.randn(TOKENS, D, requires_grad=True)
    settings = {"learnable_codebook": True, "ema_update": False, "commitment_weight": 0.0}
    theirs = their_layer(codes, sync_update_v=0.5, **settings)
    ours = our_layer(
        codes, "codebook", synchronized=0.5, commitment_weight=0.0, codebook_weight=0.0
    )
    table = theirs._codebook.embed
    at_input, at_codes = torch.autograd.grad(theirs(z)[0].sum(), (z, table), allow_unused=True)
    assert at_input.unique().tolist() == [1.5]
    assert at_codes is None
    at_input, at_codes = torch.autograd.grad(ours(z).quantized.sum(), (z, ours.quantizer.weight))
    assert at_input.unique().tolist() == [1.0]
    torch.testing.assert_close(at_codes.sum(), torch.tensor(0.5 * TOKENS * D))


@pytest.mark.parametrize(("fraction", "expected"), [(0.0, 3.0), (1.0, 1.0)])
def test_the_gradient_of_a_residual_quantizer_is_one_in_ours_whatever_the_stages(
    fraction, expected
):
    settings = {"dim": D, "num_quantizers": 3, "codebook_size": K, "rotation_trick": False}
    theirs = peer.ResidualVQ(**settings, quant_grad_frac=fraction)
    ours = VectorQuantizer(
        dim=D, codebook_size=K, quantizer={"name": "residual", "stages": 3, "inner": "ema"}
    )
    z = torch.randn(1, TOKENS, D, requires_grad=True)
    quantized, _, stages = theirs(z)
    at_input = torch.autograd.grad(quantized.sum(), z, retain_graph=True)[0]
    torch.testing.assert_close(at_input, torch.full_like(z, expected))
    torch.testing.assert_close(
        torch.autograd.grad(ours(z).quantized.sum(), z)[0], torch.ones_like(z)
    )
    if (
        fraction == 1.0
    ):  # what stops the gradient from growing also stops that of the later stages' losses
        assert not torch.autograd.grad(stages[1:].sum(), z)[0].any()


# -- layouts, losses, masks -------------------------------------------------


def test_residual_indices_agree_and_our_loss_is_the_mean_of_their_stages():
    theirs = peer.ResidualVQ(
        dim=D,
        num_quantizers=3,
        codebook_size=K,
        rotation_trick=False,
        decay=0.99,
        commitment_weight=0.25,
    )
    ours = VectorQuantizer(
        dim=D, codebook_size=K, quantizer={"name": "residual", "stages": 3, "inner": "ema"}
    )
    for stage, codes in zip(ours.quantizer.inner, theirs.codebooks, strict=True):
        stage.set_points(torch.ones(K, dtype=torch.bool), codes)
        stage.started = True
    z = torch.randn(2, 16, D, requires_grad=True)
    out, (quantized, indices, losses) = ours(z), theirs(z)
    assert torch.equal(out.indices, indices)
    torch.testing.assert_close(out.quantized, quantized, **CLOSE)
    torch.testing.assert_close(out.loss, losses.mean(), **CLOSE)
    at_input = [torch.autograd.grad(loss, z)[0] for loss in (out.loss, losses.mean())]
    torch.testing.assert_close(*at_input, **CLOSE)  # of every stage, not of the first alone
    ours.update()  # theirs have moved in their forward: only now do both hold the same codes
    torch.testing.assert_close(
        ours.lookup(out.indices).movedim(-2, 0), theirs.get_codes_from_indices(indices)
    )


def test_groups_of_stages_are_first_in_their_indices_and_before_the_stages_in_ours():
    theirs = peer.GroupedResidualVQ(dim=D, groups=2, num_quantizers=3, codebook_size=K)
    inner = {"name": "residual", "stages": 3, "inner": "ema"}
    ours = VectorQuantizer(
        dim=D, codebook_size=K, quantizer={"name": "grouped", "groups": 2, "inner": inner}
    )
    z = torch.randn(5, 16, D)
    assert theirs(z)[1].shape == (2, 5, 16, 3)
    assert ours(z).indices.shape == (5, 16, 2, 3)


@pytest.mark.parametrize("shared", [True, False])
def test_heads_are_groups_of_a_projected_latent(shared):
    theirs = peer.VectorQuantize(
        dim=D, codebook_size=K, heads=2, separate_codebook_per_head=not shared
    )
    choice = {"name": "grouped", "groups": 2, "shared": shared, "inner": "ema"}
    ours = VectorQuantizer(dim=D, codebook_size=K, code_dim=2 * D, quantizer=choice)
    assert theirs.project_in.weight.shape == ours.project_in.weight.shape == (2 * D, D)
    assert theirs.codebook.shape == ours.codebook.shape
    z = torch.randn(5, 16, D)
    assert theirs(z)[1].shape == ours(z).indices.shape == (5, 16, 2)


def test_masked_tokens_have_the_same_index_value_and_loss():
    codes = autoencoder()[3]
    theirs, ours = their_layer(codes, commitment_weight=0.25), our_layer(codes)
    z, lengths = torch.randn(2, 8, D), torch.tensor([5, 8])
    quantized, indices, loss = theirs(z, lens=lengths)
    out = ours(z, lengths=lengths)
    assert torch.equal(out.indices, indices)
    assert indices[0, 5:].tolist() == [-1] * 3
    torch.testing.assert_close(out.quantized, quantized)
    torch.testing.assert_close(out.loss, loss)


def test_an_index_of_minus_one_is_their_last_code_and_our_zero():
    codes, padding = autoencoder()[3], torch.tensor([[-1]])
    assert torch.equal(their_layer(codes).get_codes_from_indices(padding)[0, 0], codes[-1])
    assert not our_layer(codes).decode(padding).any()


def test_eval_has_no_loss_and_no_gradient_in_theirs():
    codes, z = autoencoder()[3], torch.randn(16, D, requires_grad=True)
    quantized, _, loss = their_layer(codes).eval()(z)
    out = our_layer(codes).eval()(z)
    assert (loss.item(), quantized.requires_grad) == (0.0, False)
    assert out.loss > 0
    assert out.quantized.requires_grad


def test_a_nan_spoils_their_codes_and_is_left_out_of_ours():
    codes, z = autoencoder()[3], torch.randn(16, D)
    z[0, 0] = torch.nan
    theirs, ours = their_layer(codes), our_layer(codes)
    theirs(z)
    out = ours(z)
    ours.update()
    assert theirs.codebook.isnan().any()
    assert out.indices[0] == -1
    assert ours.codebook.isfinite().all()


def test_their_codes_start_uniform_in_a_bound_that_ours_can_be_given():
    theirs = peer.VectorQuantize(dim=64, codebook_size=512).codebook
    options = {"name": "ema", "init": "uniform", "init_scale": (2 / (64 * 512)) ** 0.5}
    ours = VectorQuantizer(dim=64, codebook_size=512, quantizer=options)
    ours(torch.randn(16, 64))
    bound = (6 / (64 * 512)) ** 0.5
    for codes in (theirs, ours.codebook):
        assert codes.abs().max().item() == pytest.approx(bound, rel=1e-2)


def test_a_frozen_codebook_still_has_a_loss():
    ours = our_layer(autoencoder()[3])
    before = ours.codebook.clone()
    ours.freeze_codes()
    assert ours(torch.randn(16, D)).loss > 0
    ours.update()
    assert torch.equal(ours.codebook, before)


def test_a_sphere_that_clips_every_latent_to_one_angle_searches_as_their_cosine_similarity_does():
    theirs = peer.VectorQuantize(dim=D, codebook_size=K, use_cosine_sim=True, rotation_trick=False)
    ours = VectorQuantizer(
        dim=D, codebook_size=K, manifold={"name": "sphere", "gain": 1000}, quantizer="ema"
    )
    length = ours.manifold.max_angle
    points = ours.manifold.expmap0(length * theirs.codebook)
    ours.quantizer.set_points(torch.ones(K, dtype=torch.bool), points)
    ours.quantizer.started = True
    z = torch.randn(TOKENS, D)
    (codes, indices, _), out = theirs(z), ours(z)
    assert torch.equal(out.indices, indices)
    torch.testing.assert_close(out.quantized, length * codes, rtol=1e-5, atol=1e-5)


def test_orthogonality_is_a_mean_over_pairs_in_ours_and_over_all_entries_in_theirs():
    codes = autoencoder()[3]
    theirs = their_layer(
        codes, orthogonal_reg_weight=1.0, learnable_codebook=True, ema_update=False
    )
    ours = our_layer(codes, "codebook", regularizers=["orthogonal"])
    z = torch.randn(16, D)
    term = theirs(z, return_loss_breakdown=True)[3].orthogonal_reg
    torch.testing.assert_close(
        ours(z).losses["orthogonal"], term * K / (K - 1), rtol=1e-5, atol=1e-6
    )


# -- quantizers without a table of codes ------------------------------------


def test_fsq_gives_the_same_codes_indices_and_gradient():
    levels = [8, 5, 5, 4]
    theirs = peer.FSQ(levels)
    ours = VectorQuantizer(
        dim=4, codebook_size=math.prod(levels), quantizer={"name": "fsq", "levels": levels}
    )
    z = torch.randn(2, 64, 4, requires_grad=True)
    weight = torch.randn(2, 64, 4)
    (codes, indices), out = theirs(z), ours(z)
    assert torch.equal(out.indices, indices.long())
    torch.testing.assert_close(out.quantized, codes)
    assert torch.equal(theirs.indices_to_codes(indices), ours.decode(out.indices))
    both = [torch.autograd.grad((weight * value).sum(), z)[0] for value in (codes, out.quantized)]
    torch.testing.assert_close(both[0], both[1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("name", "spherical"), [("lfq", False), ("bsq", True)])
def test_sign_quantizers_give_the_same_codes_with_the_bits_of_an_index_the_other_way_round(
    name, spherical
):
    bits = 6
    theirs = peer.LFQ(
        dim=bits,
        codebook_size=2**bits,
        spherical=spherical,
        commitment_loss_weight=0.25,
        entropy_loss_weight=0.1,
    )
    magnitude = bits**-0.5 if spherical else 1.0
    choice = {
        "name": name,
        "commitment_weight": 0.25,
        "entropy_weight": 0.1,
        "temperature": 1 / (1.5 * magnitude**2),
    }
    ours = VectorQuantizer(dim=bits, codebook_size=2**bits, quantizer=choice)
    z = torch.randn(2, 64, bits)
    (codes, indices, loss), out = theirs(z, inv_temperature=1.5), ours(z)
    torch.testing.assert_close(out.quantized, codes)
    reversed_bits = sum((indices >> place & 1) << (bits - 1 - place) for place in range(bits))
    assert torch.equal(out.indices, reversed_bits.long())
    constant = 0.1 * bits * math.log(2)  # ours is 0 where theirs is at its least
    torch.testing.assert_close(out.loss, loss + constant, rtol=1e-3, atol=1e-3)


def test_simvq_has_the_same_loss_from_the_same_codes():
    theirs = peer.SimVQ(dim=D, codebook_size=K, rotation_trick=False)
    ours = VectorQuantizer(
        dim=D,
        codebook_size=K,
        quantizer={"name": "simvq", "commitment_weight": 0.25, "lr_scale": 1},
    )
    ours.quantizer.frozen.copy_(theirs.frozen_codebook)
    ours.quantizer.weight.data.copy_(theirs.code_transform.weight)
    ours.quantizer.started = True
    z = torch.randn(2, 64, D)
    (codes, indices, loss), out = theirs(z), ours(z)
    assert torch.equal(out.indices, indices)
    torch.testing.assert_close(out.quantized, codes)
    torch.testing.assert_close(out.loss, loss)


@pytest.mark.parametrize(
    "name",
    [
        "VectorQuantize",
        "ResidualVQ",
        "GroupedResidualVQ",
        "FSQ",
        "LFQ",
        "SimVQ",
        "RandomProjectionQuantizer",
    ],
)
def test_the_page_names_every_argument_of_theirs(name):
    page = "self, x, z, " + (Path(__file__).parent.parent / "docs" / "migrating.md").read_text(
        encoding="utf-8"
    )
    for method in ("__init__", "forward"):
        arguments = inspect.signature(getattr(getattr(peer, name), method)).parameters.values()
        named = [each.name for each in arguments if each.kind is not each.VAR_KEYWORD]
        assert [each for each in named if not re.search(rf"\b{each}\b", page)] == []
