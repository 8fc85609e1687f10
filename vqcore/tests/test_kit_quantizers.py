"""For every rule for quantizers there is a quantizer that breaks it, and the kit finds it."""

import copy
from dataclasses import replace

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F

from vqcore.builtin.manifolds.euclidean import Euclidean
from vqcore.builtin.manifolds.sphere import Sphere
from vqcore.builtin.quantizers.codebook import GradientCodebook
from vqcore.codebook.losses import squared_error
from vqcore.codebook.table import CodebookQuantizer
from vqcore.numerics.stable import masked_mean
from vqcore.testing import ConformanceError, QuantizerConformance, rules, violations


class Means(CodebookQuantizer):
    """Each code becomes the centroid of its tokens since the last update: a good quantizer."""

    code_tensors = ("points",)

    def __init__(self, **options):
        super().__init__(**options)
        self.register_buffer("points", self._starting_points().detach())
        self.gathered = None

    def codes(self):
        return self.manifold.logmap0(self.points), self.points

    def set_points(self, rows, points, optimizer=None):
        self.points.copy_(torch.where(rows.unsqueeze(1), points.to(self.points), self.points))

    def losses(self, x, chosen, mask):
        return {"commitment": squared_error(self.manifold, x, chosen, mask, self.dim)}

    def gather(self, x, indices):
        ambient = self.manifold.to_ambient(x)
        sums = ambient.new_zeros(self.codebook_size + 1, ambient.shape[1]).index_add(
            0, indices + 1, ambient
        )[1:]
        self.gathered = sums if self.gathered is None else self.gathered + sums

    def learn(self, counts):
        if self.gathered is not None:
            mean = self.gathered / counts.clamp(min=1).unsqueeze(1)
            self.set_points(counts > 0, self.manifold.from_ambient(mean))
        self.gathered = None


def with_forward(change):
    """A forward that changes the good one's result: ``change(self, z, result)``."""
    return {
        "forward": lambda self, z, mask=None: change(
            self, z, GradientCodebook.forward(self, z, mask)
        )
    }


def with_assignment(**changes):
    """Entries of ``assignments`` changed: name -> function of the assignment."""

    def change(self, z, result):
        made = tuple(
            replace(assignment, **{name: f(assignment) for name, f in changes.items()})
            for assignment in result.assignments
        )
        return replace(result, assignments=made)

    return with_forward(change)


def with_losses(losses):
    return {"losses": lambda self, x, chosen, mask: losses(x, chosen, mask)}


def unmasked(self, z, mask=None):
    """Shifts the mask by a token before it is used."""
    return GradientCodebook.forward(self, z, None if mask is None else mask.roll(1, -1))


def crashing_lookup(self, indices):
    return F.embedding(indices, self.weight)


def unchecked(self, indices):
    return F.embedding(indices.clamp(0, self.codebook_size - 1), self.weight) * (
        indices >= 0
    ).unsqueeze(-1)


def at_work(self, z, result, training):
    """Asks the other processes in forward."""
    if self.training == training and dist.is_initialized():
        dist.all_reduce(result.assignments[0].counts)
    return result


def drifting(self, z, result):
    with torch.no_grad():
        self.weight += 0.01 * self.training
    return result


def learn_in_eval(self, z, result):
    if not self.training:
        self.usage += 1
    return result


def shrink(self, optimizer=None):
    GradientCodebook.update(self, optimizer)
    with torch.no_grad():
        self.weight *= 0.9


def count_forwards(self, z, result):
    if self.training:
        self.usage += 1
    return result


def anneal(self, optimizer=None):
    GradientCodebook.update(self, optimizer)
    self.commitment_weight *= 0.9


def means_of_the_last_batch(self, x, indices):
    self.gathered = None
    Means.gather(self, x, indices)


def gather_everything(self, x, indices):
    Means.gather(self, x, indices.clamp(min=0))


def in_one_type(self, z, mask=None):
    torch.cdist(z.reshape(-1, self.dim).float(), self.weight)
    return GradientCodebook.forward(self, z, mask)


def start_by_an_attribute(self, z, mask=None):
    if self.training and not getattr(self, "has_seen_a_batch", False):
        self.weight.data.copy_(z.detach()[: self.codebook_size])
        self.has_seen_a_batch = True
    return GradientCodebook.forward(self, z, mask)


#: Rule -> what is changed in the codebook learned by gradients.
BROKEN = {
    "index-layout": with_forward(
        lambda self, z, result: replace(result, indices=result.indices.int())
    ),
    "index-range": with_forward(
        lambda self, z, result: replace(result, indices=result.indices + self.codebook_size)
    ),
    "encode-is-the-eval-forward": {
        "encode": lambda self, z: torch.zeros(z.shape[:-1], dtype=torch.int64)
    },
    "decode-inverts-encode": {"decode": lambda self, indices: 1.001 * self.lookup(indices)},
    "layouts-agree": {
        "encode": lambda self, z: GradientCodebook.encode(self, z.flip(1) if z.ndim > 2 else z)
    },
    "lookup-layout": {"lookup": crashing_lookup, "decode": GradientCodebook.lookup},
    "join-restores-the-whole": {
        "join": lambda self, parts, shape: next(parts).view(*shape, self.dim) * 0
    },
    "minus-one-decodes-to-zero": {
        "decode": lambda self, indices: F.embedding(indices.clamp(min=0), self.weight)
    },
    "out-of-range-is-refused": {"decode": unchecked},
    "assignments-cover-all-tokens": with_assignment(
        counts=lambda assignment: assignment.counts * 2
    ),
    "assignments-hold-their-codes": with_assignment(
        z_q=lambda assignment: assignment.z * assignment.mask.unsqueeze(1)
    ),
    "codebook-layout": {"codebook": property(lambda self: self.weight.T)},
    "input-is-untouched": {
        "forward": lambda self, z, mask=None: GradientCodebook.forward(self, z.mul_(1), mask)
    },
    "mask-is-trimming": with_losses(
        lambda x, chosen, mask: {"commitment": (x - chosen).square().mean()}
    ),
    "masked-tokens-are-minus-one-and-zero": {"forward": unmasked},
    "no-token-is-no-loss": with_losses(
        lambda x, chosen, mask: {"commitment": (x - chosen)[mask].square().mean()}
    ),
    "bad-tokens-are-left-out": (Means, {"gather": gather_everything}),
    "the-largest-tokens-are-finite": with_losses(
        lambda x, chosen, mask: {"commitment": masked_mean((x - chosen).pow(4).mean(1), mask)}
    ),
    "losses-are-scalars": with_losses(
        lambda x, chosen, mask: {"commitment": (x - chosen).square().mean(-1)}
    ),
    "losses-are-means": with_losses(
        lambda x, chosen, mask: {"commitment": (x - chosen)[mask].square().sum()}
    ),
    "losses-have-unique-names": with_losses(lambda x, chosen, mask: {"entropy": x.sum() * 0}),
    "finite-at-the-edges": with_losses(
        lambda x, chosen, mask: {"commitment": (x - chosen).square().sum(-1)[mask].sqrt().sum()}
    ),
    "float64-stays-float64": with_forward(
        lambda self, z, result: replace(result, z_q=result.z_q.float())
    ),
    "half-precision-and-back": {"forward": in_one_type},
    "eval-changes-nothing": with_forward(learn_in_eval),
    "eval-enters-no-collective": with_forward(
        lambda self, z, result: at_work(self, z, result, False)
    ),
    "forward-enters-no-collective": with_forward(
        lambda self, z, result: at_work(self, z, result, True)
    ),
    "no-step-waits": with_losses(
        lambda x, chosen, mask: {"commitment": (x - chosen)[mask].square().sum() / mask.sum()}
    ),
    "only-update-moves-codes": with_forward(drifting),
    "update-needs-no-forward": {"update": shrink},
    "codes-stay-on-the-manifold": (Means, {"learn": lambda self, counts: self.points.mul_(1.01)}),
    "gradients-accumulate": (Means, {"gather": means_of_the_last_batch}),
    "activation-checkpointing": with_forward(count_forwards),
    "draws-ignore-the-global-seed": with_losses(
        lambda x, chosen, mask: {"commitment": (x - chosen).mean() * 0 + torch.rand(())}
    ),
    "state-is-complete": {"update": anneal},
    "state-can-be-saved": {
        "get_extra_state": lambda self: {"step": 3, "name": object},
        "set_extra_state": lambda self, state: None,
    },
    "copies-are-independent": {"__deepcopy__": lambda self, memo: copy.copy(self)},
    "copied-weights-keep-the-codes": {"forward": start_by_an_attribute},
    "frozen-codes-stay": {"codes_frozen": property(lambda self: not self.training)},
    "any-batch-can-be-exported": {
        "encode": lambda self, z: torch.stack([GradientCodebook.encode(self, x) for x in z])
    },
    "compiling-changes-nothing": with_losses(
        lambda x, chosen, mask: {
            "commitment": (1 + torch.compiler.is_compiling()) * (x - chosen).square().mean()
        }
    ),
    "resizing-keeps-codes": {
        "resize_codebook": lambda self, size, optimizer=None: GradientCodebook.resize_codebook(
            self, size, optimizer
        ).flip(0)
    },
}
#: The layer turns lengths into a mask, autocast off and indices into int64: no quantizer alone can
#: break these.
HELD_BY_THE_LAYER = {
    "autocast-changes-no-index",
    "indices-of-any-integer-type",
    "lengths-are-a-mask",
}
#: Rules whose broken example needs a curved space.
CURVED = {"codes-stay-on-the-manifold", "bad-tokens-are-left-out"}


def case_of(cls, space=Euclidean):
    class Case(QuantizerConformance):
        def make(self, **injected):
            return cls(**injected)

        def manifolds(self):
            return [space()]

    return Case()


@pytest.mark.parametrize("rule", BROKEN)
def test_a_broken_quantizer_violates_its_rule(rule):
    good, changes = (
        BROKEN[rule] if isinstance(BROKEN[rule], tuple) else (GradientCodebook, BROKEN[rule])
    )
    space = Sphere if rule in CURVED else Euclidean
    check = f"test_{rule.replace('-', '_')}"
    getattr(case_of(good, space), check)()
    with pytest.raises(ConformanceError) as caught:
        getattr(case_of(type("Broken", (good,), changes), space), check)()
    assert caught.value.rule == rule
    assert rules(QuantizerConformance)[rule] in str(caught.value)
    assert f"on {space.__name__}" in caught.value.detail


def test_every_rule_has_a_violation():
    assert set(BROKEN) | HELD_BY_THE_LAYER == set(rules(QuantizerConformance))


@pytest.mark.parametrize("space", [Euclidean, Sphere])
def test_a_good_quantizer_breaks_nothing(space):
    assert violations(case_of(Means, space)) == []
