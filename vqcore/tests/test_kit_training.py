"""For every rule for data sets, backbones and optimizers there is one that breaks it."""

import pytest
import torch
from torch import nn

from vqcore.data.augment import augment
from vqcore.data.dataset_split import DatasetSplit
from vqcore.data.tensor_split import TensorSplit
from vqcore.errors import SettingError
from vqcore.interfaces.backbone import Backbone
from vqcore.interfaces.dataset import DataSource
from vqcore.testing import (
    BackboneConformance,
    ConformanceError,
    DatasetConformance,
    OptimizerConformance,
    rules,
    violations,
)
from vqcore.testing.samples import normal


def assert_broken(case, rule):
    with pytest.raises(ConformanceError) as caught:
        getattr(case, f"test_{rule.replace('-', '_')}")()
    assert caught.value.rule == rule
    assert rules(case)[rule] in str(caught.value)
    return caught.value.detail


# -- data sets --------------------------------------------------------------


class Noise(DataSource):
    """Pictures of noise in two classes, flipped in training: a good data set."""

    shape, classes = (1, 4, 6), ("even", "odd")

    def __init__(self, count=9):
        if count < 1:
            raise SettingError("count", count, "1 or more")
        self.count = count

    def split(self, name):
        data = normal(self.count, *self.shape, seed=len(name)).tanh()
        return TensorSplit(data, torch.arange(self.count) % 2)

    def augment(self, batch, key, positions):
        return augment(batch, key, positions, flip=True)


class Rows(torch.utils.data.Dataset):
    def __init__(self, row):
        self.row = row

    def __len__(self):
        return 9

    def __getitem__(self, number):
        return self.row(number)


def split_of(**changes):
    """A ``split`` whose splits are changed."""
    return {"split": lambda self, name: type("Other", (TensorSplit,), changes)(*_parts(self, name))}


def _parts(source, name):
    split = Noise.split(source, name)
    return split.data, split.labels


def drawn(self, chosen, device):
    return (batch + 0.1 * torch.rand(()) for batch in TensorSplit.batches(self, chosen, device))


def sorted_batches(self, chosen, device):
    return TensorSplit.batches(self, (each.sort().values for each in chosen), device)


def unlike(self):
    """Another data set at each call."""
    Noise.made = getattr(Noise, "made", 0) + 1
    return Noise.made


DATASETS = {
    "samples-are-as-declared": {"value_range": (-0.1, 0.1)},
    "description-is-complete": {"describe": lambda self: {"shape": self.shape}},
    "splits-are-sequences-of-samples": split_of(names=["one"]),
    "labels-are-classes": {"classes": ("even",)},
    "batches-are-the-samples-asked-for": split_of(batches=sorted_batches),
    "samples-are-always-the-same": {
        "split": lambda self, name: TensorSplit(normal(9, 1, 4, 6, seed=unlike(self)).tanh())
    },
    "no-global-number-is-drawn": {
        "augment": lambda self, batch, key, positions: batch * torch.rand(len(batch), 1, 1, 1)
    },
    "training-follows-the-key": {
        "augment": lambda self, batch, key, positions: batch - batch.mean(0)
    },
    "training-samples-fit": {"augment": lambda self, batch, key, positions: batch.add_(0.5)},
    "splits-are-disjoint": {"split": lambda self, name: Noise.split(self, "train")},
    "restoring-changes-no-sample": {
        "restore": lambda self, described: setattr(self, "count", self.count - 1)
    },
    "workers-get-what-can-be-pickled": {
        "split": lambda self, name: DatasetSplit(
            Rows(lambda number: torch.full((1, 4, 6), number / 9))
        )
    },
    "options-that-do-not-fit-are-refused": {"__init__": lambda self, count=9: Noise.__init__(self)},
}


def dataset_case(cls):
    class Case(DatasetConformance):
        refused = ({"count": 0},)

        def make(self, **options):
            return cls(**options)

    return Case()


@pytest.mark.parametrize("rule", DATASETS)
def test_a_broken_data_set_violates_its_rule(rule):
    assert_broken(dataset_case(type("Broken", (Noise,), DATASETS[rule])), rule)


def test_a_held_out_sample_is_found_anywhere_in_training():
    data = normal(100, 1, 4, 6, seed=1).tanh()
    splits = {"train": TensorSplit(data), "test": TensorSplit(data.flip(0)[:9])}
    case = dataset_case(type("Broken", (Noise,), {"split": lambda self, name: splits[name]}))
    case.read = 9
    found = assert_broken(case, "splits-are-disjoint")
    assert found.endswith("set `disjoint = False` on the class Broken if samples may be in both")


# -- backbones --------------------------------------------------------------


class Linear(Backbone):
    """One linear layer each way: a good backbone."""

    latent_shape = ()

    def __init__(self, shape, dim):
        super().__init__()
        self.shape = shape
        size = torch.Size(shape).numel()
        self.encoder, self.decoder = nn.Linear(size, dim), nn.Linear(dim, size)

    @property
    def last_layer(self):
        return self.decoder.weight

    def encode(self, x):
        return self.encoder(x.flatten(1))

    def decode(self, z):
        return self.decoder(z).unflatten(1, self.shape)


class Strided(Backbone):
    """Strided convolutions without an activation."""

    channel_first = True

    def __init__(self, shape, dim):
        super().__init__()
        self.latent_shape = tuple(side // 2 for side in shape[1:])
        self.encoder = nn.Conv2d(shape[0], dim, 2, stride=2)
        self.decoder = nn.ConvTranspose2d(dim, shape[0], 2, stride=2)

    def encode(self, x):
        return self.encoder(x)

    def decode(self, z):
        return self.decoder(z)


def with_unused(self, shape, dim):
    Linear.__init__(self, shape, dim)
    self.unused = nn.Parameter(torch.zeros(2))


def with_dropout(self, x):
    return nn.functional.dropout(Linear.encode(self, x))


def with_hidden_factor(self, shape, dim):
    Linear.__init__(self, shape, dim)
    self.factor = torch.rand(())


def with_weights_of_its_own(self, shape, dim):
    Linear.__init__(self, shape, dim)
    draws = torch.Generator().manual_seed(unlike(self))
    nn.init.normal_(self.encoder.weight, generator=draws)


BACKBONES = {
    "latents-have-the-declared-shape": {"latent_shape": (1,)},
    "decoded-have-the-shape-of-samples": {"decode": lambda self, z: self.decoder(z)},
    "gradient-reaches-every-parameter": {"__init__": with_unused},
    "dtype-is-kept": {"encode": lambda self, x: Linear.encode(self, x).float()},
    "autocast-is-finite": {"decode": lambda self, z: Linear.decode(self, z) * z.new_tensor(1e39)},
    "eval-changes-nothing": {"encode": with_dropout},
    "samples-are-independent": {"encode": lambda self, x: Linear.encode(self, x - x.mean(0))},
    "layout-in-memory-changes-nothing": {
        "encode": lambda self, x: self.encoder(x.view(len(x), -1))
    },
    "input-is-untouched": {"encode": lambda self, x: Linear.encode(self, x.mul_(2))},
    "weights-follow-the-seed": {"__init__": with_weights_of_its_own},
    "state-is-complete": {
        "__init__": with_hidden_factor,
        "encode": lambda self, x: self.factor * Linear.encode(self, x),
    },
    "copies-are-independent": {"__deepcopy__": lambda self, memo: self},
    "manifold-is-not-registered": {
        "attach": lambda self, manifold, scale, factors: setattr(self, "space", manifold)
    },
    "last-layer-is-the-decoders": {"last_layer": property(lambda self: self.encoder.weight[:1])},
    "other-sides-are-taken": (
        Strided,
        {"decode": lambda self, z: Strided.decode(self, z)[..., : 2 * self.latent_shape[-1]]},
    ),
    "any-batch-can-be-exported": {
        "encode": lambda self, x: Linear.encode(self, torch.stack([*x.unbind(0)]))
    },
    "no-step-waits": {"encode": lambda self, x: Linear.encode(self, x * float(x.amax()))},
}


def backbone_case(cls):
    class Case(BackboneConformance):
        def make(self, **injected):
            return cls(**injected)

    return Case()


@pytest.mark.parametrize("rule", BACKBONES)
def test_a_broken_backbone_violates_its_rule(rule):
    changes = BACKBONES[rule]
    good, changes = changes if isinstance(changes, tuple) else (Linear, changes)
    assert_broken(backbone_case(type("Broken", (good,), changes)), rule)


# -- optimizers -------------------------------------------------------------


class Momentum(torch.optim.SGD):
    """A good optimizer, which has a state."""

    def __init__(self, params, lr=0.02, momentum=0.9):
        super().__init__(params, lr=lr, momentum=momentum)


def leave_a_group_out(self, params):
    params = [*params]
    Momentum.__init__(self, params[:1])


def with_one_rate(self, params):
    Momentum.__init__(self, params)
    for group in self.param_groups:
        group["lr"] = 0.02


def pull_all(self):
    torch.optim.SGD.step(self)
    with torch.no_grad():
        for group in self.param_groups:
            for each in group["params"]:
                each.mul_(0.99)


def step_at_a_fixed_rate(self):
    for group in self.param_groups:
        group["lr"] = 0.02
    torch.optim.SGD.step(self)


def normalized(self):
    for group in self.param_groups:
        for each in group["params"]:
            if each.grad is not None:
                each.data -= 0.02 * each.grad / each.grad.norm()


def scale_gradients(self):
    for group in self.param_groups:
        for each in group["params"]:
            if each.grad is not None:
                each.grad.mul_(0.5)
    torch.optim.SGD.step(self)


def wait_for_the_gradient(self):
    if float(self.param_groups[0]["params"][0].grad.sum()) < 1e30:
        torch.optim.SGD.step(self)


OPTIMIZERS = {
    "all-parameters-are-in-groups": {"__init__": leave_a_group_out},
    "groups-keep-their-options": {"__init__": with_one_rate},
    "a-quadratic-is-lowered": {"step": lambda self: None},
    "no-gradient-is-no-step": {"step": pull_all},
    "rate-is-that-of-the-groups": {"step": step_at_a_fixed_rate},
    "steps-are-finite": {"step": normalized},
    "gradients-are-untouched": {"step": scale_gradients},
    "state-is-complete": {"load_state_dict": lambda self, state: None},
    "codes-stay-on-the-manifold": {"step": lambda self: None},
    "no-step-waits": {"step": wait_for_the_gradient},
}


def optimizer_case(cls):
    class Case(OptimizerConformance):
        def make(self, params):
            return cls(params)

    return Case()


def test_a_wrong_rate_is_named():
    case = optimizer_case(type("Broken", (Momentum,), {"step": lambda self: None}))
    with pytest.raises(ConformanceError, match=r"moved = False with lr 0\.02"):
        case.test_rate_is_that_of_the_groups()


@pytest.mark.parametrize("rule", OPTIMIZERS)
def test_a_broken_optimizer_violates_its_rule(rule):
    assert_broken(optimizer_case(type("Broken", (Momentum,), OPTIMIZERS[rule])), rule)


# -- all of them ------------------------------------------------------------


@pytest.mark.parametrize(
    ("kit", "broken"),
    [
        (DatasetConformance, DATASETS),
        (BackboneConformance, BACKBONES),
        (OptimizerConformance, OPTIMIZERS),
    ],
)
def test_every_rule_has_a_violation(kit, broken):
    assert set(broken) == set(rules(kit))


@pytest.mark.parametrize(
    "case",
    [
        dataset_case(Noise),
        backbone_case(Linear),
        backbone_case(Strided),
        optimizer_case(Momentum),
        optimizer_case(torch.optim.Adam),
        optimizer_case(lambda params: torch.optim.Adam(params, lr=1)),
        optimizer_case(torch.optim.RMSprop),
    ],
)
def test_good_ones_break_nothing(case):
    assert violations(case) == []
