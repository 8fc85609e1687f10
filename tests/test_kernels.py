"""A composed quantizer launches at most the kernels of its parts, and tables far fewer."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from vqcore import VectorQuantizer
from vqcore.plugin.registry import default_registry

SINGLE = sorted({*default_registry().names("quantizer")} - {"grouped", "residual"})
#: Those computed as one.
TABLES = {"codebook", "ema", "simvq"}
#: What composing adds, whatever the number of parts.
COMPOSING = 30


class Kernels(TorchDispatchMode):
    """Counts the operators that compute something: views of a tensor are free."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        shared = [each.alias_info for each in func._schema.returns]
        views = any(alias is not None and not alias.is_write for alias in shared)
        self.count += not views and "empty" not in func._schema.name
        return func(*args, **(kwargs or {}))


def kernels(quantizer, manifold):
    """Of the second training step of a layer, update included; codes start in the first."""
    torch.manual_seed(0)
    layer = VectorQuantizer(dim=16, codebook_size=16, manifold=manifold, quantizer=quantizer)
    for _ in range(2):
        z = torch.randn(32, 16).requires_grad_()
        with Kernels() as counter:
            out = layer(z)
            (out.quantized.square().sum() + out.loss).backward()
            layer.update()
    return counter.count


@pytest.mark.parametrize(("wrapped", "count"), [("residual", "stages"), ("grouped", "groups")])
@pytest.mark.parametrize("name", SINGLE)
def test_stages_and_groups_cost_at_most_as_much_as_one_by_one(name, wrapped, count):
    manifold = "poincare" if count == "stages" else "euclidean"
    single = kernels(name, manifold)
    two, four = (kernels({"name": wrapped, count: n, "inner": name}, manifold) for n in (2, 4))
    assert two <= 2 * single + COMPOSING
    assert four <= 4 * single + COMPOSING
    if name in TABLES:  # only the search, and what leads to it, is once for each
        assert four - two <= 0.6 * single
