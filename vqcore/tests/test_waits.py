"""What the kit takes for a wait for the device, on a CPU that stands for one."""

import pytest
import torch

from vqcore.testing.waits import device, no_waits, waits

WAITING = {
    "item": lambda x: x.sum().item(),
    "a branch": lambda x: 1 if x.any() else 0,
    "index of a list": lambda x: [1, 2][(x[0] > 9).long()],
    "text": lambda x: f"{x[0]:.1f}",
    "equal": lambda x: torch.equal(x, x),
    "nonzero": lambda x: x.nonzero(),
    "where without values": lambda x: torch.where(x > 0),
    "a mask as index": lambda x: x[x > 0],
    "values under a mask": lambda x: x.index_put_((x == x,), x.clone()),
    "masked_select": lambda x: x.masked_select(x > 0),
    "unique": lambda x: x.unique(),
    "bincount": lambda x: x.long().abs().bincount(),
    "repeats": lambda x: x.repeat_interleave(x.long().abs()),
    "one_hot": lambda x: torch.nn.functional.one_hot(x.long().abs()),
    "numbers on the device": lambda x: torch.tensor([1.0, 2.0], device=x.device),
    "numbers like a tensor's": lambda x: x.new_tensor([1.0]),
    "a list as index": lambda x: x[[0, 2]],
    "cpu": lambda x: x.cpu(),
    "to the host": lambda x: x.to("cpu"),
    "numpy": lambda x: x.detach().numpy(),
    "tolist": lambda x: x.tolist(),
    "moved to the device": lambda x: torch.arange(6).to(x.device),
    "copied to the device": lambda x: x.copy_(torch.ones(6)),
    "indexed from the host": lambda x: x[torch.arange(3)],
}
FREE = {
    "arithmetic": lambda x: (2 * x + 1).softmax(0).sum(),
    "where": lambda x: torch.where(x > 0, x, 0).sum(),
    "filling a mask": lambda x: x.masked_fill(x > 0, 0),
    "a number under a slice": lambda x: x.__setitem__(slice(2), 1.0),
    "a number under a mask": lambda x: x.__setitem__(x > 0, 1.0),
    "filling": lambda x: x.new_full((), 2) + torch.zeros(6, device=x.device),
    "gathering": lambda x: x[x.argsort()],
    "slices": lambda x: x[1:3] + x[-1],
    "a draw on the host": lambda x: int(torch.arange(3).sum()) + len((1 - torch.ones(3)).tolist()),
    "a factor from the host": lambda x: x * torch.tensor(2.0),
    "sent ahead": lambda x: torch.arange(6).to(x.device, non_blocking=True) + x,
    "fetched without waiting": lambda x: x.to("cpu", non_blocking=True).tolist(),
    "what a CPU alone does": lambda x: x.tolist() if x.device.type == "cpu" else [],
}


pytestmark = pytest.mark.skipif(device().type != "cpu", reason="a GPU needs no stand-in")


def found(use):
    x = torch.randn(6)
    with waits() as each:
        use(x)
    return each


@pytest.mark.parametrize("name", WAITING)
def test_a_wait_is_found_with_its_line(name):
    assert found(WAITING[name])[0].endswith(f"{__name__}:{WAITING[name].__code__.co_firstlineno})")


@pytest.mark.parametrize("name", FREE)
def test_what_waits_for_nothing_is_not_found(name):
    assert found(FREE[name]) == []


def test_lines_of_the_kit_are_named_only_where_there_are_no_others():
    def reading(module):
        space = {"__name__": module}
        exec("def read(x):\n    return x.sum().item()", space)
        return space["read"]

    theirs, kits = reading("their_package.term"), reading("vqcore.testing.latent_batches")
    x = torch.ones(2)
    for calls, named in ([theirs, kits], "their_package.term:2"), ([kits], "latent_batches:2"):
        with pytest.raises(AssertionError) as caught, no_waits("a step"):
            [call(x) for call in calls]
        assert named in str(caught.value)
        assert str(caught.value).count(":2") == 1


def test_backward_passes_are_watched():
    class Reading(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            return gradient * gradient.sum().item()

    x = torch.randn(6, requires_grad=True)
    with pytest.raises(AssertionError, match="the loss waits for the device"), no_waits("the loss"):
        Reading.apply(x).sum().backward()
