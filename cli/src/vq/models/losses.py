"""The losses that a config means, and the value of one of them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from vq.config.resolved_config import ResolvedConfig
from vq.models.autoencoder import emits_logits
from vqcore.errors import SettingError
from vqcore.interfaces.dataset import SampleSpec
from vqcore.interfaces.loss import Loss, LossBatch, TrainedLoss
from vqcore.numerics.stable import in_full_precision, without_autocast
from vqcore.plugin.registry import Registry


def build_losses(
    config: ResolvedConfig, registry: Registry, samples: SampleSpec
) -> dict[str, Loss]:
    """A run's losses for these samples, initialised with the config's seed; by default one.

    Raises:
        SettingError: if a loss does not fit the samples or the backbone, or two have the same name.
        ComponentError: if one cannot be built here.
    """
    classifies = emits_logits(config, registry)
    chosen = list(config.losses.values())
    if not chosen:
        name = "bernoulli" if samples.likelihood == "bernoulli" else "mse"
        name = "cross-entropy" if classifies else name
        chosen = [registry.resolve("loss", f"vqcore/{name}", f"losses.{name}")]
    weighted = [each for each in chosen if getattr(each.options, "weight", 1)]
    losses: dict[str, Loss] = {}
    for component in weighted or chosen:  # the others may lack what they need, such as a file
        if component.spec.name in losses:
            raise SettingError("losses", component.spec.name, "each name once")
        torch.manual_seed(config.settings.seed)  # whichever others there are
        losses[component.spec.name] = loss = registry.build(component, samples=samples)
        if loss.labels != classifies:
            backbone = config.components["backbone"].spec.name
            raise _misfit(component.spec.name, backbone, classifies=classifies)
        if config.settings.precision == "float64":
            loss.double()
    return losses


def _misfit(loss: str, backbone: str, *, classifies: bool) -> SettingError:
    """The error for a loss that does not compare what the backbone emits."""
    if classifies:
        expected = f"cross-entropy: the backbone {backbone} emits classes, and not samples"
        return SettingError("losses", loss, expected, "leave it out")
    expected = f"one of samples, to which the backbone {backbone} decodes, and not of their classes"
    fix = f"leave it out, or set backbone to classifier and backbone.inner to {backbone}"
    return SettingError("losses", loss, expected, fix)


def untrained(losses: Mapping[str, Loss]) -> dict[str, Loss]:
    """The losses with a weight that are not trained themselves."""
    weighted = {name: each for name, each in losses.items() if each.weight}
    return {name: each for name, each in weighted.items() if not isinstance(each, TrainedLoss)}


def value_of(loss: Loss, batch: LossBatch) -> Tensor:
    """A loss without its weight, in float32 at least; 0 for an empty batch."""
    if len(batch.inputs) == 0:  # a mean would be NaN
        return batch.decoded.sum()
    with in_its_precision(loss, batch):
        return in_full_precision(loss(batch))


def in_its_precision(loss: Loss, batch: LossBatch) -> AbstractContextManager[Any]:
    """Inside a region of autocast, the precision in which a loss is computed."""
    return nullcontext() if loss.autocast else without_autocast(batch.decoded.device.type)
