"""Ways to copy a layer's weights, beyond those of the kit: the codes that arrive stay.

``QuantizerConformance.test_copied_weights_keep_the_codes`` holds every quantizer to the usual ways.
"""

import copy

import pytest
import torch
from torch import nn
from torch.distributed.checkpoint.state_dict import get_model_state_dict, set_model_state_dict
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from vqcore import VectorQuantizer
from vqcore.plugin.registry import default_registry

RIEMANNIAN = {"name": "poincare", "codes": "riemannian"}
CHOICES = [*((name, "euclidean") for name in default_registry().names("quantizer"))]
every = pytest.mark.parametrize(("quantizer", "manifold"), [*CHOICES, ("codebook", RIEMANNIAN)])
tables = pytest.mark.parametrize("quantizer", ["codebook", "ema", "simvq"])


def build(quantizer="codebook", codebook_size=16, seed=0, **options):
    torch.manual_seed(seed)
    return VectorQuantizer(dim=8, codebook_size=codebook_size, quantizer=quantizer, **options)


def latents(seed=0, count=64):
    return torch.randn(count, 8, generator=torch.Generator().manual_seed(seed))


def trained(layer, steps=1):
    for step in range(steps):
        layer(latents(step))
        layer.update()
    return layer


def assert_keeps_codes(layer, other):
    """The other layer has the codes of the first one, and keeps them in a training forward."""
    indices = layer.encode(latents(1))
    for mode in (False, True):
        other.train(mode)(latents(2) + 3)
        assert torch.equal(other.decode(indices), layer.decode(indices))


@every
def test_a_layer_built_on_meta_takes_the_weights_it_is_assigned(quantizer, manifold):
    layer = trained(build(quantizer, manifold=manifold))
    with torch.device("meta"):
        other = build(quantizer, manifold=manifold)
    other.load_state_dict(layer.state_dict(), assign=True)
    assert_keeps_codes(layer, other)
    other.update()


@every
def test_a_layer_emptied_on_a_device_takes_the_weights_it_loads(quantizer, manifold):
    layer = trained(build(quantizer, manifold=manifold))
    other = build(quantizer, manifold=manifold).to("meta").to_empty(device="cpu")
    other.load_state_dict(layer.state_dict())
    assert_keeps_codes(layer, other)


@every
def test_the_state_dict_of_distributed_checkpoints(quantizer, manifold):
    layer, other = (build(quantizer, manifold=manifold, seed=seed) for seed in (0, 1))
    set_model_state_dict(other, get_model_state_dict(trained(layer)))
    assert_keeps_codes(layer, other)


@tables
def test_an_average_that_began_before_the_codes_started(quantizer):
    layer = build(quantizer)
    averaged = AveragedModel(layer, use_buffers=True)
    twin = copy.deepcopy(layer)
    averaged.update_parameters(trained(layer))
    assert_keeps_codes(layer, averaged.module)
    twin.load_state_dict(layer.state_dict())
    assert_keeps_codes(layer, twin)


@tables
def test_a_table_loaded_by_its_name_alone_has_started(quantizer):
    layer = build(quantizer)
    layer(latents())
    state = layer.quantizer.state_dict()
    table = [layer.quantizer.code_tensors[0], *state.keys() & {"weight_scale"}]
    for names in (table, [*table, "_extra_state"]):
        other = build(quantizer, seed=1)
        other.quantizer.load_state_dict({each: state[each] for each in names}, strict=False)
        assert other.quantizer.started
        assert_keeps_codes(layer, other)


def test_ema_codes_loaded_alone_get_the_sums_of_codes_that_were_set():
    layer, other = trained(build("ema")), build("ema", seed=1)
    codes = layer.codebook.clone()
    other.load_state_dict({"quantizer.tangents": codes}, strict=False)
    assert torch.equal(other.quantizer.sums, codes)
    assert torch.equal(other.quantizer.counts, torch.ones(16))


@tables
@pytest.mark.parametrize("started", [False, True])
def test_a_state_dict_of_version_0_1_says_in_its_extra_state_whether_codes_started(
    quantizer, started
):
    layer, other = build(quantizer), build(quantizer, seed=1)
    if started:
        trained(layer)
    state = layer.state_dict()
    del state["quantizer.has_started"]
    extra = torch.tensor([layer.quantizer.seed, layer.quantizer.step, int(started)])
    old = state | {
        "quantizer._extra_state": extra,
        "quantizer.unused_steps": state["quantizer.unused_steps"].long(),
        "quantizer.replaced": state["quantizer.replaced"].long(),
    }
    for assign in (False, True):
        other = build(quantizer, seed=1)
        other.load_state_dict(old, strict=True, assign=assign)
        assert other.quantizer.started == started
        if started:
            assert_keeps_codes(layer, other)
        other.to(torch.float32).update()


@tables
def test_codes_that_a_filter_by_shape_left_out_start_from_data(quantizer):
    z = 40 + 8 * latents(count=512)
    choice = {"name": quantizer, "init": "data"}
    small, fresh = build(choice), build(choice, codebook_size=64)
    large = build(choice, codebook_size=64, seed=1)
    small(z), small.update()
    own = large.state_dict()
    fitting = {
        name: value for name, value in small.state_dict().items() if value.shape == own[name].shape
    }
    assert large.load_state_dict(fitting, strict=False).missing_keys
    assert not large.quantizer.started
    error = large(z).metrics["quantization_error"]
    assert error < 1.2 * fresh(z).metrics["quantization_error"]
    assert error < small(z).metrics["quantization_error"]


def test_an_average_of_a_grid_keeps_its_levels():
    """0.7 x 5 + 0.3 x 5 is below 5 in floating point: a whole number would be rounded down."""
    layer = build({"name": "fsq", "levels": [5, 6, 7, 8]})
    averaged = AveragedModel(layer, multi_avg_fn=get_ema_multi_avg_fn(0.7), use_buffers=True)
    for _ in range(20):
        averaged.update_parameters(layer)
    indices = torch.arange(5 * 6 * 7 * 8)
    assert torch.equal(averaged.module.quantizer.decode(indices), layer.quantizer.decode(indices))


@pytest.mark.parametrize("manifold", ["euclidean", "lorentz"])
def test_averaged_ema_codes_evaluate_well_and_train_on(manifold):
    layer = build({"name": "ema", "decay": 0.9}, manifold=manifold)
    averaged = AveragedModel(layer, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    for step in range(60):
        layer(latents(step, 256))
        layer.update()
        if step >= 20:
            averaged.update_parameters(layer)
    held_out, module = latents(1000, 2048), averaged.module
    errors = [one.eval()(held_out).metrics["quantization_error"].item() for one in (layer, module)]
    assert errors[1] < 1.02 * errors[0]
    before = module.codebook.clone()
    module.train()(latents(61, 256))
    module.update()
    moved = (module.codebook - before).norm(dim=1).mean()
    assert moved < 0.2 * before.norm(dim=1).mean()  # sums and counts belong to the codes
    assert module.eval()(held_out).metrics["quantization_error"] < 1.02 * errors[1]


@pytest.mark.parametrize("quantizer", ["fsq", "lfq"])
def test_a_grid_follows_buffers_that_are_moved_one_by_one(quantizer):
    """As FSDP does."""
    made = build(quantizer).quantizer
    made.like = torch.empty(0, device="meta")
    assert (made.levels.device.type, made.basis.device.type) == ("meta", "meta")
    made.like = torch.empty(0)
    assert made.levels.tolist() == list(made._levels)


def test_a_sharded_table_stays_the_same_parameter_when_it_is_loaded():
    """An optimizer or FSDP may hold it already."""

    class Sharded(torch.Tensor):
        pass

    layer = build()
    table = nn.Parameter(layer.codebook.detach().clone().as_subclass(Sharded))
    layer.quantizer.weight = table
    layer.load_state_dict(build(seed=1).state_dict())
    assert layer.quantizer.weight is table
