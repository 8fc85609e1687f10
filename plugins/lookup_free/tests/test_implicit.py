"""What fsq, lfq and bsq share: indices of up to 62 bits, counts by parts, masks, compilation."""

import copy

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from vqcore import VectorQuantizer
from vqcore.codebook.usage import code_counts
from vqcore.errors import SettingError
from vqcore.plugin.registry import default_registry
from vqcore.testing.collectives import refused

NAMES = ["bsq", "fsq", "lfq"]
MANIFOLDS = default_registry().names("manifold")

pytestmark = pytest.mark.parametrize("name", NAMES)


def layer(name, codebook_size=64, dim=8, **choices):
    torch.manual_seed(0)
    return VectorQuantizer(dim=dim, codebook_size=codebook_size, quantizer=name, **choices)


@pytest.mark.parametrize("codebook_size", [2, 64, 2**16, 2**20, 2**62])
def test_indices_of_any_size_decode_to_the_bit(name, codebook_size):
    made = layer(name, codebook_size).quantizer
    assert made.codebook_size == codebook_size
    z = made.tangent(3 * torch.randn(200, made.dim))
    out = made(z)
    assert out.indices.min() >= 0
    assert out.indices.max() < codebook_size
    assert torch.equal(made.encode(z), out.indices)
    for decode in (made.decode, made.lookup):
        assert torch.equal(decode(out.indices), out.z_q)
    ends = torch.tensor([0, codebook_size - 1])
    assert torch.equal(made.encode(made.decode(ends)), ends)


def test_the_first_digit_is_the_least_significant(name):
    made = layer(name).quantizer
    codes = made.decode(torch.arange(made.codebook_size))
    step = codes[1] - codes[0]
    assert step[0] > 0
    assert step[1:].abs().max() == 0


def test_more_codes_than_can_be_counted_are_counted_by_parts(name):
    made = layer(name, 2**40).quantizer
    z = made.tangent(torch.randn(100, made.dim))
    mask = torch.arange(100) < 90
    out = made(z, mask)
    assert len(out.assignments) > 2
    widths = [assignment.z.shape[1] for assignment in out.assignments]
    assert sum(widths) == made.dim
    assert torch.equal(torch.cat([assignment.z_q for assignment in out.assignments], 1), out.z_q)
    for assignment in out.assignments:
        assert assignment.codebook is None
        assert assignment.counts.shape[0] <= 2**16
        assert assignment.counts.sum() == 90
        assert torch.equal(
            assignment.counts, code_counts(assignment.indices, assignment.counts.shape[0])
        )
        assert (assignment.indices[90:] == -1).all()
    # the parts' indices, put together, are the whole's
    whole, size = torch.zeros(90, dtype=torch.int64), 1
    for assignment in out.assignments:
        whole, size = whole + assignment.indices[:90] * size, size * assignment.counts.shape[0]
    assert torch.equal(whole, out.indices[:90])
    parts = iter([assignment.z_q for assignment in out.assignments])
    assert torch.equal(made.join(parts, (10, 10)), out.z_q.view(10, 10, -1))


def test_up_to_65536_codes_are_counted_one_by_one(name):
    made = layer(name, 2**16)
    out = made(torch.randn(50, 8))
    assert out.counts.shape == (1, 2**16)
    assert torch.equal(out.counts[0], code_counts(out.indices, 2**16))
    assert made.codebook is None


def test_training_with_62_bits_needs_no_memory_for_codes(name):
    made = layer(name, 2**62, dim=16)
    z = torch.randn(32, 16, requires_grad=True)
    out = made(z)
    (out.loss + out.quantized.square().sum()).backward()
    assert torch.isfinite(z.grad).all()
    assert z.grad.abs().max() > 0
    assert sum(buffer.numel() for buffer in made.buffers()) < 200


def test_larger_indices_than_62_bits_are_refused(name):
    with pytest.raises(SettingError, match="codebook_size"):
        layer(name, 2**63)
    if name == "fsq":
        with pytest.raises(SettingError, match=r"codebook_size = \d+: expected at most 2\*\*62"):
            layer({"name": "fsq", "levels": [2**16] * 4})


def test_indices_out_of_range_are_refused_and_minus_one_is_zero(name):
    made = layer(name)
    assert made.quantizer.decode(torch.tensor([-1, 3, -1]))[[0, 2]].abs().max() == 0
    for bad in (64, -2):
        with pytest.raises(SettingError, match=f"indices = {bad}: expected codes 0 to 63"):
            made.decode(torch.tensor([bad]))


def test_masked_tokens_have_no_effect(name):
    made = layer(name)
    z = torch.randn(2, 20, 8)
    mask = torch.arange(20).expand(2, 20) < torch.tensor([[20], [7]])
    masked, trimmed = made(z, mask=mask), made(z[mask])
    assert torch.equal(masked.indices[mask], trimmed.indices)
    assert (masked.indices[~mask] == -1).all()
    assert masked.quantized[~mask].abs().max() == 0
    assert torch.equal(masked.counts, trimmed.counts)
    for key, value in trimmed.losses.items():
        torch.testing.assert_close(masked.losses[key], value)


@pytest.mark.parametrize("manifold", MANIFOLDS)
def test_the_grid_is_the_same_on_every_manifold(name, manifold):
    z = torch.randn(50, 8)
    flat, curved = layer(name)(z), layer(name, manifold=manifold)(z)
    assert torch.equal(curved.indices, flat.indices)
    assert torch.equal(curved.quantized, flat.quantized)


def test_float64_stays_float64(name):
    made = layer(name).double()
    z = torch.randn(30, 8, dtype=torch.float64)
    out = made(z)
    assert out.quantized.dtype == out.loss.dtype == torch.float64
    assert torch.equal(made.decode(out.indices), out.quantized)
    bare = made.quantizer.float()
    result = bare(bare.tangent(torch.randn(30, bare.dim, dtype=torch.float64)))
    assert result.z_q.dtype == torch.float64
    assert torch.equal(bare.decode(result.indices).double(), result.z_q)


def test_there_is_no_state_but_the_projections(name):
    made = layer(name)
    weights = {"project_in.weight", "project_in.bias", "project_out.weight", "project_out.bias"}
    assert set(made.state_dict()) == {*weights, "_extra_state"}
    twin = layer(name)
    twin.load_state_dict(made.state_dict())
    z = torch.randn(10, 8)
    assert torch.equal(twin(z).quantized, made(z).quantized)


def test_no_collective_is_entered(name):
    made = layer(name)
    z = torch.randn(10, 8, requires_grad=True)
    with refused("the quantizer"):
        made(z).quantized.sum().backward()
        made.update()
    assert z.grad.isfinite().all()


def test_compiled_whole_in_training_and_eval(name):
    torch._dynamo.reset()
    made = layer(name, 2**20)
    twin, counter = copy.deepcopy(made), CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(made, fullgraph=True, backend=counter)
    for mode in (True, False):
        made.train(mode)
        twin.train(mode)
        for seed in range(3):
            z = torch.randn(20, 8, generator=torch.Generator().manual_seed(seed))
            grads, outs = [], []
            for each in (compiled, twin):
                one = z.clone().requires_grad_()
                out = each(one)
                (out.loss + out.quantized.square().sum()).backward()
                grads.append(one.grad)
                outs.append(out)
            assert torch.equal(outs[0].indices, outs[1].indices)
            torch.testing.assert_close(outs[0].loss, outs[1].loss)
            torch.testing.assert_close(grads[0], grads[1])
            made.update()
            twin.update()
    assert counter.frame_count == 2  # one graph for training, one for eval


def test_exported_for_any_batch(name):
    made = layer(name).eval()
    batch = torch.export.Dim("batch", min=2)
    program = torch.export.export(made, (torch.randn(16, 8),), dynamic_shapes=({0: batch},))
    for count in (3, 40):
        z = torch.randn(count, 8)
        out, expected = program.module()(z), made(z)
        assert torch.equal(out.indices, expected.indices)
        torch.testing.assert_close(out.quantized, expected.quantized)
