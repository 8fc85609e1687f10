"""Codes without a token follow the mean move of the others."""

import pytest
import torch

from vqcore import VectorQuantizer
from vqcore.codebook.drift import followed
from vqcore.errors import SettingError

EMA = {"name": "ema", "decay": 0.5, "epsilon": 1e-12}
CODES = torch.tensor([[0.0, 0.0], [5.0, 0.0], [0.0, 9.0]])


def build(quantizer, inner=None, **options):
    options = {"init": "normal", "dead_code_threshold": 0, "drift": 1.0, **options}
    choice = ({"name": quantizer} if isinstance(quantizer, str) else quantizer) | options
    made = VectorQuantizer(dim=2, codebook_size=3, quantizer=inner(choice) if inner else choice)
    for table in (made.quantizer, *made.quantizer.inner_quantizers()):
        if hasattr(table, "set_points"):
            table.set_points(torch.ones(3, dtype=torch.bool), CODES)
            table.started = True
    return made


def step(made, z, optimizer):
    optimizer.zero_grad()
    loss = made(z.requires_grad_()).loss
    loss.backward()
    optimizer.step()
    made.update()


def test_the_move_by_hand():
    before = torch.zeros(4, 2)
    after = torch.tensor([[4.0, 0.0], [0.0, 8.0], [1.0, 1.0], [1.0, 1.0]])
    counts = torch.tensor([3, 1, 0, 0])
    assert torch.equal(followed(before, after, counts, 0.0), after)
    expected = after.clone()
    expected[2:] = torch.tensor([3.0, 2.0])  # (3 x (4, 0) + (0, 8)) / 4
    assert torch.equal(followed(before, after, counts, 1.0), expected)
    expected[2:] = torch.tensor([2.0, 1.5])
    assert torch.equal(followed(before, after, counts, 0.5), expected)
    assert torch.equal(followed(before, after, counts * 0, 1.0), after)
    assert torch.equal(
        followed(before.expand(2, 4, 2), after.expand(2, 4, 2), counts.expand(2, 4), 0.5)[1],
        expected,
    )


@pytest.mark.parametrize("quantizer", ["codebook", EMA], ids=str)
def test_a_code_that_no_token_chose_moves_as_those_that_some_chose(quantizer):
    made = build(quantizer)
    optimizer = torch.optim.Adam([torch.zeros(1), *made.parameters()], lr=0.01)
    z = CODES[:2].repeat(8, 1) + torch.tensor([0.5, 0.25])
    for _ in range(3):
        step(made, z, optimizer)
    moved = made.codebook.detach() - CODES
    assert (moved[:2] > 0.1).all()
    torch.testing.assert_close(moved[2], moved[:2].mean(0))
    # and it can be chosen where it is now, from where it learns on
    step(made, made.codebook.detach()[2:] + 0.1, optimizer)
    assert (made.codebook.detach()[2] > CODES[2] + moved[2]).all()


@pytest.mark.parametrize("quantizer", ["codebook", EMA], ids=str)
def test_several_forwards_count_as_one_step(quantizer):
    made, other = build(quantizer), build(quantizer)
    z = CODES[:2].repeat(8, 1) + 0.5
    for each, parts in ((made, [z]), (other, [z[:8], z[8:]])):
        optimizer = torch.optim.SGD([torch.zeros(1), *each.parameters()], lr=0.5)
        for part in parts:
            (each(part).loss / len(parts)).requires_grad_().backward()
        optimizer.step()
        each.update()
    torch.testing.assert_close(made.codebook, other.codebook)
    assert (made.codebook[2] != CODES[2]).all()


@pytest.mark.parametrize("quantizer", ["codebook", EMA], ids=str)
def test_each_stage_has_a_drift_of_its_own(quantizer):
    made = build(quantizer, lambda choice: {"name": "residual", "stages": 2, "inner": choice})
    optimizer = torch.optim.Adam([torch.zeros(1), *made.parameters()], lr=0.01)
    step(made, torch.tensor([[4.0, 1.0]]).repeat(4, 1), optimizer)  # then -1, 1 of code 0
    first, second = made.codebook.detach() - CODES
    torch.testing.assert_close(first, first[1].expand(3, 2))
    torch.testing.assert_close(second, second[0].expand(3, 2))
    assert first[0, 0] < 0
    assert second[0, 0] < 0 < second[0, 1]


def test_codes_stored_as_points_have_no_mean_move():
    manifold = {"name": "poincare", "codes": "riemannian"}
    with pytest.raises(SettingError, match="drift"):
        VectorQuantizer(
            dim=2, codebook_size=3, manifold=manifold, quantizer={"name": "codebook", "drift": 1.0}
        )
