"""Bottlenecks other than vqcore's layer: baselines, the wrapped normal, several levels."""

import copy
import math

import pytest
import torch
from torch import nn

from vq.config.resolved_config import resolve_config
from vq.models.autoencoder import build_model
from vq.models.bottlenecks.continuous import Autoencoder, tangent_scale
from vq.models.bottlenecks.gaussian import Gaussian, normal_kl, translated, wrapped_log_density
from vq.training.objective import build_objective
from vq.training.training_pass import TrainingPass
from vqcore.errors import SettingError
from vqcore.interfaces.dataset import SampleSpec
from vqcore.plugin.registry import default_registry

REGISTRY = default_registry()
MANIFOLDS = REGISTRY.names("manifold")
#: Those for which the tests know the integral over the plane.
CURVED = [name for name in MANIFOLDS if name not in ("euclidean", "product")]
DIGITS, BITS = SampleSpec((1, 8, 8)), SampleSpec((15,), (0.0, 1.0), "bernoulli")
SMALL = {"hidden": 8, "residual_blocks": 1}


def manifold_of(name, **options):
    return REGISTRY.build(REGISTRY.resolve("manifold", {"name": name, **options})).double()


def model_of(samples=DIGITS, backbone="conv", **settings):
    options = {"name": backbone, **(SMALL if backbone in ("conv", "hierarchical") else {})}
    return build_model(
        resolve_config({"backbone": options, "codebook_size": 16, **settings}, REGISTRY),
        REGISTRY,
        samples,
    )


def losses_of(model, samples=DIGITS):
    """The pass of training of a model, with the losses that a run has by default."""
    objective = build_objective(resolve_config({}, REGISTRY), REGISTRY, samples)
    return TrainingPass(model, objective, samples)


def digits(count=8):
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1


# -- without codes ----------------------------------------------------------


@pytest.mark.parametrize("kind", ["none", "gaussian"])
@pytest.mark.parametrize("name", MANIFOLDS)
@pytest.mark.parametrize("backbone", ["conv", "hierarchical", "mlp", "patches", "vit"])
def test_a_baseline_trains_and_has_no_codes(kind, name, backbone):
    model = model_of(backbone=backbone, bottleneck=kind, manifold=name)
    assert model(digits()).reconstruction.shape == (8, 1, 8, 8)
    out = losses_of(model)(digits())
    assert set(out.losses) - {"reconstruction"} == {n for n in out.losses if n.endswith("kl")}
    assert torch.allclose(out.loss, sum(out.losses.values()))
    assert (model.has_codes, model.codebook_size, model.index_shape) == (False, 0, (0,))
    shown = out.bottleneck
    assert (shown.counts.numel(), shown.errors.numel(), shown.sizes.numel(), shown.metrics) == (
        0,
        0,
        0,
        {},
    )
    if out.loss.requires_grad:
        out.loss.backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    model.bottleneck.update()
    for refused in (
        lambda: model.encode(digits()),
        lambda: model.decode(torch.zeros(8, 0, dtype=torch.int64)),
    ):
        with pytest.raises(
            SettingError, match=f"bottleneck = '{kind}': expected vq: this run has no codes"
        ):
            refused()


def test_no_bottleneck_gives_the_tangent_vectors_of_the_latents():
    for name in MANIFOLDS:
        layer = Autoencoder(width=3, dim=3, manifold=manifold_of(name))
        z = 4 * torch.randn(5, 7, 3, dtype=torch.float64)
        assert torch.equal(layer(z).quantized, layer.manifold.tangent(z))
        assert torch.equal(layer.inspect(z).z_q, layer.manifold.tangent(z))


def test_code_dim_narrows_a_baseline():
    wide, narrow = (
        model_of(bottleneck="none", **more).bottleneck for more in ({}, {"code_dim": 2})
    )
    assert isinstance(wide.project_in, nn.Identity)
    assert (narrow.dim, narrow.project_in.out_features, narrow.project_out.out_features) == (
        2,
        2,
        8,
    )


def test_evaluating_a_baseline_is_deterministic_and_draws_nothing():
    model = model_of(bottleneck="gaussian", manifold="poincare").eval()
    before = torch.get_rng_state()
    first, again = model(digits()), model(digits())
    model.bottleneck.inspect(model.backbone.encode(digits()))
    assert torch.equal(first.reconstruction, again.reconstruction)
    assert torch.equal(first.bottleneck.loss, again.bottleneck.loss)
    alone = torch.cat([model(one).reconstruction for one in digits().split(3)])
    assert torch.allclose(first.reconstruction, alone, atol=1e-5)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_baseline_computes_in_full_precision():
    layer = Gaussian(width=8, dim=4, manifold=manifold_of("poincare"), channel_first=True)
    out = layer(torch.randn(2, 8, 3, 3).bfloat16(), inputs=torch.zeros(2, 1, 6, 6))
    assert out.quantized.dtype == torch.bfloat16
    assert out.loss.dtype == torch.float32


# -- the wrapped normal -----------------------------------------------------

CENTRE = torch.tensor([0.5, -0.3], dtype=torch.float64)
SIGMA = torch.tensor([0.5, 0.35], dtype=torch.float64)


def grid(name, points=500):
    """Tangent vectors (n, 2) at the origin over the whole manifold, and the area of each."""
    reach = math.pi if name == "sphere" else 6.0
    radius = (torch.arange(points, dtype=torch.float64) + 0.5) / points * reach
    angle = (torch.arange(points, dtype=torch.float64) + 0.5) / points * 2 * math.pi
    r, a = torch.meshgrid(radius, angle, indexing="ij")
    u = torch.stack([r * a.cos(), r * a.sin()], -1).flatten(0, 1)
    return u, (r * (reach / points) * (2 * math.pi / points)).flatten()


def log_density(manifold, u, mean, sigma):
    """Of a wrapped normal around expmap0(mean) at expmap0(u), against the volume."""
    point = manifold.translate(manifold.negate(manifold.expmap0(mean)), manifold.expmap0(u))
    return wrapped_log_density(manifold, manifold.logmap0(point), sigma)


@pytest.mark.parametrize("name", CURVED)
@pytest.mark.parametrize("curvature", [1.0, 0.4])
def test_densities_integrate_to_one(name, curvature):
    """Over the manifold's volume, whose measure in tangent coordinates is exp(log_volume) du."""
    manifold = manifold_of(name, curvature=curvature)
    u, area = grid(name)
    if name == "sphere":
        u, area = u / curvature**0.5, area / curvature
    volume = manifold.log_volume(u).exp() * area
    for mean, sigma in ((torch.zeros(2, dtype=torch.float64), SIGMA), (CENTRE.expand_as(u), SIGMA)):
        total = (log_density(manifold, u, mean.expand_as(u), sigma).exp() * volume).sum()
        assert total.item() == pytest.approx(1, abs=2e-3)


@pytest.mark.parametrize("name", CURVED)
def test_the_divergence_is_the_integral_of_q_log_q_over_p(name):
    manifold = manifold_of(name)
    layer = Gaussian(width=4, dim=2, manifold=manifold).double()
    raw = torch.log(torch.expm1(SIGMA / layer.prior_scale - 1e-4))
    scale = tangent_scale(manifold.tangent, 2)
    torch.manual_seed(0)
    drawn = layer(
        torch.cat([CENTRE / scale, raw]).expand(40_000, 4), inputs=torch.zeros(40_000, 1)
    ).losses["kl"]
    u, area = grid(name)
    log_q = log_density(manifold, u, CENTRE.expand_as(u), SIGMA)
    log_p = wrapped_log_density(
        manifold, u, torch.full((2,), layer.prior_scale, dtype=torch.float64)
    )
    integral = (log_q.exp() * (log_q - log_p) * manifold.log_volume(u).exp() * area).sum()
    assert integral > 0.1
    assert drawn.item() == pytest.approx(integral.item(), rel=0.02)


def test_on_flat_space_the_closed_form_agrees_with_draws():
    manifold = manifold_of("euclidean")
    torch.manual_seed(0)
    v = SIGMA * torch.randn(100_000, 2, dtype=torch.float64)
    u = translated(manifold, CENTRE.expand_as(v), v)
    drawn = wrapped_log_density(manifold, v, SIGMA) - wrapped_log_density(
        manifold, u, torch.ones_like(u)
    )
    normal = torch.distributions.Normal
    exact = torch.distributions.kl_divergence(normal(CENTRE, SIGMA), normal(0.0, 1.0)).sum()
    assert normal_kl(CENTRE, SIGMA).item() == pytest.approx(exact.item(), rel=1e-12)
    assert drawn.mean().item() == pytest.approx(exact.item(), rel=0.02)


@pytest.mark.parametrize(
    ("factors", "spread"), [("euclidean,euclidean", 0.0), ("poincare,euclidean", 0.7)]
)
def test_flat_factors_of_a_product_have_the_closed_form(factors, spread):
    """The mean of all draws in float64, with less spread than they have, or none."""
    manifold = manifold_of("product", factors=factors)
    layer = Gaussian(width=8, dim=4, manifold=manifold).double()
    torch.manual_seed(0)
    mean = manifold.tangent(torch.tensor([0.8, -0.3, 1.5, -1.2], dtype=torch.float64))
    sigma = layer.prior_scale * torch.tensor([0.6, 0.9, 0.4, 0.5], dtype=torch.float64)
    mean, sigma = mean.expand(200_000, 4), sigma.expand(200_000, 4)
    v = sigma * torch.randn_like(sigma)
    u = translated(manifold, mean, v)
    prior = torch.ones_like(sigma) * layer.prior_scale
    drawn = wrapped_log_density(manifold, v, sigma) - wrapped_log_density(manifold, u, prior)
    found = layer._divergence(mean, sigma, v, u)
    error = 4 * drawn.std().item() / len(v) ** 0.5
    assert found.mean().item() == pytest.approx(drawn.mean().item(), abs=error)
    assert found.std() <= spread * drawn.std() + 1e-12


@pytest.mark.parametrize("name", MANIFOLDS)
def test_in_eval_the_latent_is_the_expectation_of_the_draws(name):
    layer = Gaussian(width=6, dim=3, manifold=manifold_of(name)).double()
    z = torch.tensor([[1.0, -0.5, 0.8, 0.0, 0.0, 0.0]], dtype=torch.float64)
    torch.manual_seed(0)
    drawn, _ = layer.vectors(z.expand(50_000, 6), 1)
    expected, _ = layer.eval().vectors(z, 1)
    assert torch.allclose(expected[0], drawn.mean(0), atol=0.08)
    centre = layer.manifold.tangent(z[:, :3])
    if name == "euclidean":
        assert torch.equal(expected, centre)
    elif name not in ("sphere", "product"):
        assert expected.norm() > 1.15 * centre.norm()


@pytest.mark.parametrize("name", MANIFOLDS)
def test_tangent_scale_is_the_factor_of_tangent(name):
    manifold = manifold_of(name)
    z = 0.1 * torch.randn(6, 5, dtype=torch.float64)
    scale = tangent_scale(manifold.tangent, 5)
    assert isinstance(scale, torch.Tensor if name == "product" else float)
    assert torch.allclose(manifold.tangent(z), z * scale)


def test_the_loss_is_the_evidence_lower_bound_per_value():
    """Bernoulli likelihood: both terms are divided by the number of values of a sample."""
    model = model_of(BITS, "mlp", bottleneck="gaussian", dim=3)
    x = torch.randint(0, 2, (6, 15)).float()
    training = losses_of(model, BITS)
    torch.manual_seed(3)
    out = training(x)
    torch.manual_seed(3)
    logits = model(x).reconstruction
    mean, raw = model.backbone.encode(x).chunk(2, -1)
    divergence = normal_kl(mean, nn.functional.softplus(raw) + 1e-4).flatten(1).sum(1)
    likelihood = -nn.functional.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1)
    bound = (likelihood - divergence).mean()
    assert out.loss.item() == pytest.approx(-bound.item() / 15, rel=1e-5)


def test_the_weight_of_the_divergence():
    def divergence(**settings):
        torch.manual_seed(0)
        return model_of(bottleneck="gaussian", **settings)(digits()).bottleneck.losses["kl"].item()

    assert divergence(kl_weight=0) == 0
    assert divergence(kl_weight=1) == pytest.approx(10 * divergence(kl_weight=0.1), rel=1e-5)
    assert divergence() == pytest.approx(divergence(kl_weight=0.1))


def test_regularizers_of_codes_are_refused_without_codes():
    with pytest.raises(
        SettingError, match=r"regularizers = 'entropy': expected none with bottleneck = 'gaussian'"
    ):
        resolve_config({"bottleneck": "gaussian", "regularizers": ["entropy"]}, REGISTRY)


# -- several levels ---------------------------------------------------------


@pytest.mark.parametrize("quantizer", ["codebook", "grouped", "residual", "fsq"])
@pytest.mark.parametrize("levels", [2, 3])
def test_levels_are_one_sequence_of_tokens(quantizer, levels):
    model = model_of(backbone="hierarchical", quantizer=quantizer)
    if levels == 3:
        settings = {
            "backbone": {"name": "hierarchical", "levels": 3, **SMALL},
            "quantizer": quantizer,
        }
        model = build_model(resolve_config(settings, REGISTRY), REGISTRY, DIGITS)
    x = digits()
    model(x)  # codes start with the first training batch
    model.bottleneck.update()
    model.eval()
    with torch.no_grad():
        out = model(x)
    tokens = sum(math.prod(shape) for shape in model.latent_shapes)
    assert model.latent_shapes == ((1, 1), (2, 2), (4, 4))[3 - levels :]
    assert model.index_shape == (tokens, *model.bottleneck.levels[0].quantizer.index_shape)
    indices = model.encode(x)
    assert indices.shape == (8, *model.index_shape)
    assert torch.equal(indices, out.bottleneck.indices)
    assert torch.equal(model.decode(indices), out.reconstruction)
    found = model.bottleneck.inspect(model.backbone.encode(x))
    assert torch.equal(found.indices, indices)
    assert torch.equal(
        torch.stack([assignment.counts for assignment in found.assignments]), out.bottleneck.counts
    )
    assert out.bottleneck.counts.sum() == indices.numel()


def test_losses_are_named_by_level_and_add_up():
    model = model_of(backbone="hierarchical", regularizers=["entropy", "smoothness", "isometry"])
    out = losses_of(model)(digits())
    parts = {f"level{n}_{name}" for n in (1, 2) for name in ("commitment", "codebook", "entropy")}
    assert set(out.losses) == {"reconstruction", *parts, "level2_smoothness", "level2_isometry"}
    assert torch.allclose(out.loss, sum(out.losses.values()))
    out.loss.backward()
    assert all(p.grad is not None for p in model.parameters())


def test_metrics_of_levels_are_those_of_all_codebooks():
    torch.manual_seed(0)
    model = model_of(backbone="hierarchical")
    model(digits())
    out = model.eval()(digits()).bottleneck
    assert out.counts.shape == (2, 16)
    assert out.counts.sum(1).tolist() == [8 * 4, 8 * 16]
    assert out.sizes.tolist() == [16, 16]
    assert out.metrics["codes_used"] == (out.counts > 0).sum(1).double().mean()
    share = out.counts.sum(1) / out.counts.sum()
    assert out.metrics["quantization_error"].item() == pytest.approx(
        (out.errors * share).sum().item(), rel=1e-5
    )


def test_a_finer_level_depends_on_the_codes_of_the_coarser_ones():
    model = model_of(backbone="hierarchical")
    features = model.backbone.encode(digits())
    top = model.backbone.refine(0, features[0], ())
    fine = [
        model.backbone.refine(1, features[1], (codes,)) for codes in (top, torch.zeros_like(top))
    ]
    assert not torch.allclose(*fine)
    decoded = [model.backbone.decode((codes, fine[0])) for codes in (top, torch.zeros_like(top))]
    assert not torch.allclose(*decoded)


def test_update_reaches_every_level_and_a_copy_is_independent():
    model = model_of(backbone="hierarchical", quantizer="ema")
    twin = copy.deepcopy(model)
    before = copy.deepcopy(model.state_dict())
    twin(digits())
    twin.bottleneck.update()
    assert all(level.step == 1 for level in twin.bottleneck.levels)
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in before.items())
    assert twin.bottleneck.refine.__self__ is twin.backbone
    model.load_state_dict(twin.state_dict())
    assert torch.equal(model.encode(digits()), twin.encode(digits()))


def test_inspecting_restores_the_mode():
    model = model_of(backbone="hierarchical").train()
    model.bottleneck.inspect(model.backbone.encode(digits()))
    assert all(module.training for module in model.modules())


def test_describe_latents():
    assert model_of().describe_latents() == "4 x 4 tokens of 16 codes"
    assert (
        model_of(backbone="hierarchical").describe_latents() == "2 x 2 + 4 x 4 tokens of 16 codes"
    )
    assert (
        model_of(backbone="patches", bottleneck="none").describe_latents()
        == "2 x 2 latents of 16 dimensions"
    )
    assert (
        model_of(BITS, "mlp", bottleneck="gaussian", dim=3).describe_latents()
        == "1 latents of 3 dimensions"
    )
