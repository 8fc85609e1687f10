"""The layer: precision, choices, state, messages. With every quantizer: test_conformance.py."""

import copy
import warnings

import pytest
import torch
from torch import nn

from vqcore import LatentBatch, VectorQuantizer
from vqcore import layer as layer_module
from vqcore.errors import ComponentError, SettingError, UsageError
from vqcore.plugin.registry import default_registry


def layer(dim=8, codebook_size=16, **choices):
    torch.manual_seed(0)
    made = VectorQuantizer(dim=dim, codebook_size=codebook_size, **choices)
    width = (1,) * made.channel_first  # start the codes
    made(torch.randn(64, dim, *width))
    return made


def test_loss_is_the_sum_of_the_named_losses():
    made = layer(regularizers={"entropy": {"weight": 0.3}})
    out = made(torch.randn(32, 8))
    assert set(out.losses) == {"commitment", "codebook", "entropy"}
    torch.testing.assert_close(out.loss, sum(out.losses.values()))
    assert set(out.metrics) == {
        "perplexity",
        "codes_used",
        "quantization_error",
        "bad_tokens",
        "replaced_codes",
    }


def test_a_regularizers_weight_scales_its_term():
    z = torch.randn(32, 8)
    one, three = (
        layer(regularizers={"entropy": {"weight": w}})(z).losses["entropy"] for w in (1.0, 3.0)
    )
    torch.testing.assert_close(3 * one, three)


def test_regularizers_do_not_act_in_eval_and_keep_to_their_steps():
    made = layer(regularizers={"entropy": {"every": 2, "start": 2}})
    acted = []
    for _ in range(5):
        acted.append("entropy" in made(torch.randn(32, 8)).losses)
        made.update()
    assert acted == [False, False, True, False, True]
    assert "entropy" not in made.eval()(torch.randn(32, 8)).losses


def test_a_grouped_quantizer_is_regularized_once_per_codebook():
    z = torch.randn(64, 8)
    made = layer(
        quantizer={"name": "grouped", "groups": 2}, regularizers={"entropy": {"weight": 1}}
    )
    out = made(z)
    halves = []
    for g in range(2):
        one = made.inspect(z).assignments[g]
        single = LatentBatch(one.z, one.z_q, one.indices, one.codebook, made.manifold, 0, one.mask)
        halves.append(made.regularizers["entropy"](single))
    torch.testing.assert_close(out.losses["entropy"], sum(halves) / 2)


def test_the_decoder_is_called_on_the_codes_and_given_to_regularizers():
    made, decoder = (
        VectorQuantizer(dim=8, codebook_size=4, regularizers=["smoothness"], channel_first=True),
        nn.Conv2d(8, 1, 1),
    )
    z = torch.randn(2, 8, 3, 3)
    out = made(z, inputs=z, decode=decoder)
    torch.testing.assert_close(out.reconstruction, decoder(out.quantized))
    expected = nn.functional.mse_loss(decoder(z), decoder(out.quantized))
    torch.testing.assert_close(out.losses["smoothness"], 0.1 * expected)


def test_a_mask_equals_leaving_the_tokens_out():
    made = layer()
    z = torch.randn(2, 6, 8)
    mask = torch.tensor([[True] * 6, [True] * 2 + [False] * 4])
    masked, trimmed = made(z, mask=mask), made(torch.cat([z[0], z[1, :2]]))
    torch.testing.assert_close(masked.loss, trimmed.loss)
    assert torch.equal(masked.indices[mask], trimmed.indices)
    assert masked.metrics["bad_tokens"].item() == 0
    assert torch.equal(masked.counts, trimmed.counts)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_in_and_out_is_searched_in_float32(dtype):
    made = layer().eval()
    z = torch.randn(200, 8).to(dtype)
    out = made(z)
    assert out.quantized.dtype == dtype
    assert torch.equal(out.indices, made(z.float()).indices)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(made(z).indices, out.indices)


@pytest.mark.parametrize("quantizer", ["codebook", "ema", "random-projection", "fsq"])
def test_huge_float64_latents_do_not_overflow_float32_codes(quantizer):
    made = layer(quantizer=quantizer)
    z = torch.randn(64, 8, dtype=torch.float64)
    z[3, 3], z[4, 4] = 1e50, 1e13
    out = made(z)
    made.update()
    assert out.metrics["bad_tokens"].item() == 2
    assert out.loss.isfinite()
    assert all(value.isfinite().all() for value in made.state_dict().values())


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_the_limit_of_half_precision_latents_is_that_of_float32(precision):
    z = torch.full((3, 8), 60_000.0, dtype=precision)
    assert layer()(z).metrics["bad_tokens"].item() == 0
    z = torch.tensor([[1e15] + [0] * 7]).to(torch.bfloat16)
    assert layer()(z).metrics["bad_tokens"].item() == 1


@pytest.mark.parametrize("dim", [8, 1])
@pytest.mark.parametrize("positions", [(5,), (3, 4), (1, 1), (2, 3, 4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_channels_first_is_contiguous_or_channels_last_as_the_input(dim, positions, dtype):
    made = layer(dim=dim, channel_first=True)
    z = torch.randn(2, dim, *positions).to(dtype)
    inputs = [z, torch.stack([z, z], -1)[..., 0]]
    last = {2: torch.channels_last, 3: torch.channels_last_3d}.get(len(positions))
    if last is not None:
        inputs.append(z.contiguous(memory_format=last))
    for mode in (True, False):
        for given in inputs:
            found = made.train(mode)(given).quantized
            if given.is_contiguous() or given is inputs[1]:
                found.view(2, -1)
            else:
                assert found.stride() == given.stride()
    indices = made.encode(z)
    assert indices.is_contiguous()
    decoded = made.decode(indices)
    assert decoded.is_contiguous()
    assert torch.equal(decoded.to(dtype), made(inputs[-1]).quantized)


def test_float64_stays_float64():
    made = VectorQuantizer(dim=8, codebook_size=4, regularizers=["entropy"]).double()
    out = made(torch.randn(32, 8, dtype=torch.float64))
    assert out.quantized.dtype == out.loss.dtype == torch.float64


def test_eval_changes_nothing():
    made = layer(quantizer="ema").eval()
    before = copy.deepcopy(made.state_dict())
    made(torch.randn(100, 8))
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())


def test_modules_and_mappings_are_choices_too():
    manifold = default_registry().build(default_registry().resolve("manifold", "sphere"))
    made = VectorQuantizer(
        dim=4, codebook_size=8, manifold=manifold, quantizer={"name": "codebook", "init": "normal"}
    )
    assert made.manifold is manifold
    assert made.quantizer.init == "normal"


def test_a_built_quantizer_must_fit_the_layer():
    registry = default_registry()
    space = registry.build(registry.resolve("manifold", "euclidean"))
    built = registry.build(
        registry.resolve("quantizer", "codebook"), dim=5, codebook_size=8, manifold=space
    )
    with pytest.raises(SettingError, match="one built for dim = 4, found 5"):
        VectorQuantizer(dim=4, codebook_size=8, manifold=space, quantizer=built)
    with pytest.raises(SettingError, match="one built for manifold"):
        VectorQuantizer(dim=5, codebook_size=8, manifold="sphere", quantizer=built)
    assert (
        VectorQuantizer(dim=5, codebook_size=8, manifold=space, quantizer=built).quantizer is built
    )


def test_inspecting_changes_nothing_in_training_mode():
    made = VectorQuantizer(dim=8, codebook_size=4)
    before = copy.deepcopy(made.state_dict())
    made.inspect(torch.randn(50, 8))
    assert made.training
    assert made.quantizer.training
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())


def test_regularizers_compute_in_full_precision_under_autocast():
    made = layer(regularizers=["entropy"])
    z = torch.randn(64, 8)
    plain = copy.deepcopy(made)(z).losses["entropy"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(made(z).losses["entropy"], plain)


def test_one_regularizer_may_be_named_without_a_list():
    assert list(VectorQuantizer(dim=4, codebook_size=4, regularizers="entropy").regularizers) == [
        "entropy"
    ]
    with pytest.raises(SettingError, match="a mapping with a name in it"):
        VectorQuantizer(dim=4, codebook_size=4, regularizers=[{"weight": 1.0}])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"manifold": "poincarre"}, "manifold = 'poincarre'"),
        ({"quantizer": {"name": "codebook", "betta": 1}}, "quantizer.betta: unknown setting"),
        (
            {"quantizer": {"name": "grouped", "inner": torch.nn.Linear(2, 2)}},
            "quantizer.inner = 'Linear': expected the name of a component",
        ),
        (
            {"manifold": {"name": "sphere", "max_angle": torch.nn.Linear(2, 2)}},
            r"manifold.max_angle = Linear\(.*expected a valid number",
        ),
        (
            {"quantizer": {"name": "grouped", "groups": 3}},
            "quantizer.groups = 3: expected a divisor of dim = 8",
        ),
        ({"codebook_size": 0}, "codebook_size = 0"),
        (
            {"regularizers": ["entropy", "entropy"]},
            "regularizers = 'entropy': expected each name once",
        ),
    ],
)
def test_bad_choices_raise_with_their_path(changes, message):
    with pytest.raises((SettingError, UsageError, ComponentError), match=message):
        VectorQuantizer(**{"dim": 8, "codebook_size": 16, **changes})


def test_an_error_about_the_width_names_the_axis_that_fits():
    with pytest.raises(SettingError, match=r"dim = 8 on axis -1; axis 1 fits: see channel_first"):
        layer()(torch.randn(2, 8, 4, 4))
    with pytest.raises(SettingError, match=r"a shape that ends in \(2,\)"):
        layer(quantizer={"name": "grouped", "groups": 2}).decode(
            torch.zeros(5, 3, dtype=torch.int64)
        )


def test_a_forgotten_update_warns_once(monkeypatch):
    monkeypatch.setattr(layer_module, "PATIENCE", 3)
    made = VectorQuantizer(dim=2, codebook_size=4)
    made(torch.randn(10, 2))
    made(torch.randn(10, 2))
    with pytest.warns(UserWarning, match=r"update\(\) was not called in 3 training steps"):
        made(torch.randn(10, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(5):
            made(torch.randn(10, 2))
            made.update()


def test_deepcopy_is_independent():
    made = layer(quantizer="ema")
    twin = copy.deepcopy(made)
    before = made.codebook.clone()
    twin(torch.randn(100, 8))
    twin.update()
    assert torch.equal(made.codebook, before)
    assert not torch.equal(twin.codebook, before)


def test_the_output_goes_from_latents_to_codes_over_the_blend_steps():
    torch.manual_seed(0)
    made = VectorQuantizer(dim=4, codebook_size=8, blend_steps=3)
    z = torch.randn(32, 4)
    for step in range(5):
        out = made(z)
        share = min(1, (step + 1) / 4)
        codes = made.decode(out.indices).detach()
        torch.testing.assert_close(out.quantized.detach(), z + share * (codes - z))
        made.update()
    assert torch.equal(out.quantized, codes)


def test_blending_stops_in_eval_and_goes_on_from_a_state():
    made = VectorQuantizer(dim=4, codebook_size=8, blend_steps=4)
    z = torch.randn(32, 4)
    for _ in range(2):
        made(z)
        made.update()
    again = VectorQuantizer(dim=4, codebook_size=8, blend_steps=4)
    again.load_state_dict(made.state_dict())
    assert torch.equal(again(z).quantized, made(z).quantized)
    made.eval()
    out = made(z)
    assert torch.equal(out.quantized, made.decode(out.indices))


def test_masked_tokens_stay_zero_while_the_output_blends():
    made = VectorQuantizer(dim=4, codebook_size=8, blend_steps=4)
    mask = torch.arange(32) < 20
    assert not made(torch.randn(32, 4), mask=mask).quantized[20:].any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
@pytest.mark.parametrize("codes", [torch.bfloat16, torch.float32, torch.float64])
def test_latents_and_codes_of_different_types_blend(dtype, codes):
    made = VectorQuantizer(dim=4, codebook_size=8, blend_steps=4).to(codes)
    assert made(torch.randn(32, 4, dtype=dtype)).quantized.dtype == dtype


@pytest.mark.parametrize("steps", [-1, 2.5])
@pytest.mark.parametrize("name", ["blend_steps", "quantize_start"])
def test_blend_steps_and_quantize_start_are_numbers_of_steps(name, steps):
    with pytest.raises(SettingError, match=name):
        VectorQuantizer(dim=4, codebook_size=8, **{name: steps})


@pytest.mark.parametrize("quantizer", default_registry().names("quantizer"))
def test_before_quantize_start_the_encoder_trains_as_if_there_were_no_codes(quantizer):
    torch.manual_seed(0)
    made = VectorQuantizer(dim=8, codebook_size=16, quantizer=quantizer, quantize_start=2)
    for step in range(4):
        z = torch.randn(64, 8, requires_grad=True)
        out = made(z)
        free = made._project_back(made._quantizer_input(z, None)[0], torch.ones(64).bool())
        (loss,) = torch.autograd.grad(out.loss, z, retain_graph=True)
        assert bool(loss.any()) == (step >= 2 and out.losses != {})
        if step < 2:
            assert torch.equal(out.quantized, free)
            found, expected = (torch.autograd.grad(x.sum(), z)[0] for x in (out.quantized, free))
            assert torch.equal(found, expected)
        else:
            assert torch.equal(out.quantized, made.decode(out.indices))
        made.update()


@pytest.mark.parametrize("quantizer", ["codebook", {"name": "ema", "decay": 0.8}])
def test_codes_follow_the_latents_before_quantize_start(quantizer):
    torch.manual_seed(0)
    made = VectorQuantizer(dim=4, codebook_size=8, quantizer=quantizer, quantize_start=99)
    optimizer = torch.optim.Adam([torch.zeros(1), *made.parameters()], lr=0.01)
    z = torch.randn(64, 4, requires_grad=True)
    for _ in range(30):
        optimizer.zero_grad()
        made(z).loss.backward()
        optimizer.step()
        made.update()
        z = (z + 0.05).detach().requires_grad_()
    out = made.eval()(z)
    assert torch.equal(out.quantized, made.decode(out.indices))  # eval quantizes all along
    assert torch.nn.functional.mse_loss(out.quantized, z) < 0.8  # of 1.5^2 behind, if they stayed


def test_blending_begins_at_quantize_start_and_goes_on_from_a_state():
    options = {"dim": 4, "codebook_size": 8, "blend_steps": 3, "quantize_start": 2}
    made, z = VectorQuantizer(**options), torch.randn(32, 4)
    for share in (0, 0, 0.25, 0.5, 0.75, 1):
        again = VectorQuantizer(**options)
        again.load_state_dict(made.state_dict())
        out = made(z)
        codes = made.decode(out.indices).detach()
        torch.testing.assert_close(out.quantized.detach(), z + share * (codes - z))
        if made.step:  # the first step starts the codes, with draws of each layer's own
            assert torch.equal(again(z).quantized, out.quantized)
        made.update()
