"""What the life-cycle hooks receive, as types: the attributes that a plugin may rely on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch
    from torch import nn

    from vqcore.interfaces.dataset import DataSource, Split
    from vqcore.plugin.resolved_component import Component


class ResolvedConfig(Protocol):
    """A run's config with every component resolved."""

    @property
    def settings(self) -> Any:
        """The plain settings, an attribute each: ``settings.codebook_size``."""

    @property
    def components(self) -> Mapping[str, Component]:
        """The component of each kind that a run has one of."""

    @property
    def regularizers(self) -> Mapping[str, Component]:
        """The chosen regularizers by name."""

    @property
    def losses(self) -> Mapping[str, Component]:
        """The chosen losses by name; none stands for the one that fits the data set."""

    @property
    def plugins(self) -> Mapping[str, Any]:
        """The settings of each plugin that has some, by its name: see ``vq_settings``."""

    def dump(self) -> dict[str, Any]:
        """Plain values, every option of every component included: what config.yaml holds."""

    def title(self) -> str:
        """The choices that tell runs apart, as in ``digits-poincare-codebook-homology``."""


class Folder(Protocol):
    """A folder that is written into."""

    @property
    def path(self) -> Path:
        """Where it is."""

    def append(self, name: str, text: str) -> None:
        """Add text to the end of a file in the folder."""

    def write(self, name: str, content: bytes) -> None:
        """Write a file in the folder, whole or not at all."""


class RunFolder(Folder, Protocol):
    """The folder of a run."""

    def plugin(self, name: str) -> Folder:
        """The folder ``plugins/NAME`` in it, where a plugin writes.

        ``append`` and ``write`` make it. Who opens files in its ``path`` makes it first.
        """


class TrainingRun(Protocol):
    """A run in training, as callbacks and life-cycle hooks see it."""

    @property
    def config(self) -> ResolvedConfig:
        """The resolved config."""

    @property
    def model(self) -> nn.Module:
        """The autoencoder in training: ``model.backbone`` around ``model.bottleneck``."""

    @property
    def evaluated(self) -> nn.Module:
        """The model that results: ``model``, or with ``weight_ema`` the average of its weights."""

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """What trains it: ``param_groups`` have the learning rates of the next step."""

    @property
    def device(self) -> torch.device:
        """Where the model is."""

    @property
    def folder(self) -> RunFolder:
        """The run folder."""

    @property
    def source(self) -> DataSource:
        """The data set."""

    @property
    def train_split(self) -> Split:
        """The samples that it is trained on."""

    @property
    def test_split(self) -> Split:
        """The held-out samples."""

    @property
    def step(self) -> int:
        """Training steps done."""

    @property
    def total_steps(self) -> int:
        """Training steps of the whole run."""

    @property
    def steps_per_epoch(self) -> int:
        """Training steps of a pass over the training split."""

    def is_due(self, every: int | None) -> bool:
        """Whether something that happens every so many steps, and at the end, happens now.

        ``eval_every``, ``sample_every`` and ``checkpoint_every`` may be None, which is a period
        that follows from the run's length.
        """


class ReportedRun(Protocol):
    """A run found in its folder, as ``vq_report`` sees it."""

    @property
    def config(self) -> ResolvedConfig | None:
        """The resolved config; None where a plugin that it needs is missing."""

    @property
    def folder(self) -> RunFolder:
        """The run folder."""

    @property
    def metrics(self) -> Sequence[Mapping[str, Any]]:
        """The lines of metrics.jsonl."""

    @property
    def step(self) -> int:
        """Training steps done."""


class CommandApp(Protocol):
    """The Typer app of ``vq``, as far as plugins need it."""

    def command(self, name: str) -> Callable[[Callable[..., Any]], Any]:
        """A decorator that adds a function as a command."""

    def add_typer(self, typer_instance: Any, *, name: str) -> None:
        """Add the commands of another Typer app below one name."""
