"""Growing and shrinking by hand. The kit holds every quantizer to ``test_resizing_keeps_codes``."""

import pytest
import torch

from vqcore import VectorQuantizer
from vqcore.errors import SettingError, UsageError

tables = pytest.mark.parametrize("quantizer", ["codebook", "ema", "simvq"])


def build(quantizer="codebook", codebook_size=8, dim=4, **options):
    torch.manual_seed(0)
    return VectorQuantizer(dim=dim, codebook_size=codebook_size, quantizer=quantizer, **options)


def latents(seed=0, count=256, dim=4):
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))


def step(layer, optimizer, z=None):
    out = layer((latents() if z is None else z).requires_grad_())
    optimizer.zero_grad()
    (out.loss + out.quantized.square().mean()).backward()
    optimizer.step()
    layer.update(optimizer)
    return out


def from_latents(codes, z):
    """The largest distance of a code from its nearest latent."""
    mode = "donot_use_mm_for_euclid_dist"
    return torch.cdist(codes.detach(), z, compute_mode=mode).amin(1).max()


def error(layer, z):
    return layer(z).metrics["quantization_error"].item()


@tables
def test_new_codes_are_near_the_most_used_ones_until_data_starts_them(quantizer):
    layer = build({"name": quantizer, "init": "data"})
    z = latents()
    layer(z), layer.update()
    layer.quantizer.usage.copy_(torch.tensor([1.0, 5, 1, 1, 9, 1, 1, 1]))
    before, old_error = layer.codebook.detach().clone(), error(layer.eval(), z)
    assert layer.resize_codebook(10).tolist() == list(range(8))
    apart = (layer.codebook[8:] - before[[4, 1]]).norm(dim=1) / before[[4, 1]].norm(dim=1)
    assert apart.min() > 0
    assert apart.max() < 0.05
    assert error(layer, z) < 1.001 * old_error
    layer.train()(z)
    assert from_latents(layer.codebook[8:], z) < 1e-5  # as ``init: data`` says
    assert torch.equal(layer.codebook[:8], before)
    assert layer.quantizer.started
    assert error(layer.eval(), z) < old_error


def test_a_grown_codebook_is_as_good_as_a_large_one():
    """The case of a table loaded into a larger layer, which used 10 of 32 codes."""
    z = 40 + 8 * latents(count=1024)
    small, large = build("ema", codebook_size=16), build("ema", codebook_size=32)
    for layer in (small, large):
        for _ in range(5):
            layer(z), layer.update()
    small.resize_codebook(32)
    for _ in range(5):
        out = small(z)
        small.update()
    assert out.metrics["codes_used"] == 32
    assert error(small.eval(), z) < 1.1 * error(large.eval(), z)


@tables
def test_the_most_used_codes_are_kept_in_their_order(quantizer):
    layer = build(quantizer)
    layer(latents()), layer.update()
    layer.quantizer.usage.copy_(torch.tensor([3.0, 0, 4, 0, 1, 0, 2, 0.5]))
    before = layer.codebook.detach().clone()
    assert layer.resize_codebook(3).tolist() == [0, -1, 1, -1, -1, -1, 2, -1]
    torch.testing.assert_close(layer.codebook.detach(), before[[0, 2, 6]])
    assert layer.quantizer.usage.tolist() == [3, 4, 2]
    assert layer.quantizer.started


def test_sums_and_counts_follow_their_codes():
    layer = build("ema")
    layer(latents()), layer.update()
    quantizer = layer.quantizer
    counts, sums = quantizer.counts.clone(), quantizer.sums.clone()
    layer.resize_codebook(9)
    assert torch.equal(quantizer.counts[:8], counts)
    assert quantizer.counts[8] == 1
    assert torch.equal(quantizer.sums[:8], sums)
    torch.testing.assert_close(quantizer.sums[8], quantizer.tangents[8])


@pytest.mark.parametrize(
    "manifold", ["euclidean", {"name": "poincare", "codes": "riemannian"}], ids=["flat", "points"]
)
@pytest.mark.parametrize("size", [6, 11])
def test_the_optimizer_continues_with_the_new_parameter(size, manifold):
    layer = build(manifold=manifold)
    kind = type(layer.quantizer.weight)
    extra = torch.nn.Parameter(torch.zeros(3))
    groups = [{"params": [extra]}, {"params": layer.parameters(), "lr": 0.05}]
    optimizer = torch.optim.Adam(groups, lr=0.01)
    for _ in range(3):
        out = step(layer, optimizer)  # its graph is still there while the codebook grows
    old = layer.quantizer.weight
    moments = optimizer.state[old]["exp_avg"].clone()
    kept = layer.resize_codebook(size, optimizer) >= 0
    weight = layer.quantizer.weight
    assert type(weight) is kind
    assert weight.shape[0] == size
    assert [list(group["params"]) for group in optimizer.param_groups] == [[extra], [weight]]
    assert old not in optimizer.state
    count = int(kept.sum())
    assert torch.equal(optimizer.state[weight]["exp_avg"][:count], moments[kept])
    assert not optimizer.state[weight]["exp_avg"][count:].any()
    before = weight.detach().clone()
    out = step(layer, optimizer)
    assert out.loss.isfinite()
    assert not torch.equal(weight, before)
    assert optimizer.state[weight]["step"] == 4


def test_a_state_that_is_not_by_row_starts_afresh():
    layer = build()
    optimizer = torch.optim.Adafactor(layer.parameters())
    step(layer, optimizer)
    layer.resize_codebook(12, optimizer)
    assert layer.quantizer.weight not in optimizer.state
    step(layer, optimizer)
    assert optimizer.state[layer.quantizer.weight]["row_var"].shape == (12, 1)


def test_each_stage_and_group_keeps_its_own_codes():
    layer = build({"name": "residual", "stages": 2, "inner": {"name": "grouped", "groups": 2}})
    layer(latents()), layer.update()
    moved = layer.resize_codebook(5)
    assert moved.shape == (2, 2, 8)
    assert (moved >= 0).sum(-1).tolist() == [[5, 5], [5, 5]]
    assert layer.codebook_size == layer.quantizer.codebook_size == 5
    assert layer.codebook.shape == (2, 2, 5, 2)
    assert layer(latents()).counts.shape == (4, 5)


def test_codes_that_have_not_started_all_start_together():
    layer = build()
    layer.resize_codebook(12)
    assert not layer.quantizer.started
    z = latents()
    layer(z)
    assert from_latents(layer.codebook, z) < 1e-5


def test_the_size_of_a_checkpoint_is_changed_after_loading_it():
    layer, other = build("ema"), build("ema")
    layer(latents()), layer.update()
    other.load_state_dict(layer.state_dict())
    other.resize_codebook(12)
    assert torch.equal(other.codebook[:8], layer.codebook)
    larger = build("ema", codebook_size=12)
    larger.load_state_dict(other.state_dict())  # before the new codes have started
    assert not larger.quantizer.started


def test_a_grid_and_a_size_of_zero_are_refused_by_name():
    with pytest.raises(UsageError, match="FSQ: its codebook cannot be resized: its codes are a gr"):
        build("fsq").resize_codebook(4)
    with pytest.raises(UsageError, match="LFQ: its codebook"):
        build({"name": "residual", "inner": "lfq"}).resize_codebook(4)
    for name in ("codebook", "random-projection"):
        with pytest.raises(SettingError, match="codebook_size = 0: expected a whole number of at"):
            build(name).resize_codebook(0)


@pytest.mark.parametrize("size", [0, 2.5, True, "8", 10**30, None])
@pytest.mark.parametrize("name", ["codebook", "random-projection"])
def test_a_size_is_a_whole_number(name, size):
    with pytest.raises(SettingError, match=r"codebook_size = .*: expected a whole number of at"):
        build(name).resize_codebook(size)
    if size is not None:
        with pytest.raises(SettingError, match=r"^dim = .*: expected a whole number of at least 1"):
            VectorQuantizer(dim=size, codebook_size=4)
