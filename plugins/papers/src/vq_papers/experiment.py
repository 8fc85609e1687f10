"""What an experiment is: rows of settings to train, and what is measured of each. Torch-free."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from vqcore.errors import SettingError

#: How much is trained: minutes on two cores, an hour there, or what the paper did.
Scale = Literal["quick", "medium", "full"]
PAPERS = {
    "A": "Hyperbolic VQ-VAE",
    "B": "Homology-constrained VQ",
    "C": "Plain VQ-VAE",
    "D": "Rotational and rescaling VQ-VAE",
}


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What the user chose.

    Attributes:
        scale: how much is trained.
        data: the folder of MNIST, Fashion-MNIST and CIFAR-10; None for the sets that scikit-learn
            ships.
    """

    scale: Scale = "quick"
    data: Path | None = None

    def grey(self) -> dict[str, Any]:
        """MNIST padded to 32 pixels, else digits."""
        return self._torchvision("mnist", "MNIST", pad=2) or {"name": "digits"}

    def fashion(self) -> dict[str, Any]:
        """Fashion-MNIST padded to 32 pixels, else digits."""
        return self._torchvision("fashion-mnist", "FashionMNIST", pad=2) or {"name": "digits"}

    def colour(self) -> dict[str, Any]:
        """CIFAR-10, as torchvision keeps it, a folder of images a class or arrays; else photos."""
        if self.data is not None and (self.data / "cifar10" / "train.npy").is_file():
            return {"name": "arrays", "root": str(self.data / "cifar10")}
        if self.data is not None and (self.data / "cifar10" / "train").is_dir():
            root = str(self.data / "cifar10")  # small files are read faster than processes start
            return {"name": "image-folder", "root": root, "image_size": 32, "workers": 0}
        return self._torchvision("cifar10", "cifar-10-batches-py") or {"name": "photos"}

    def _torchvision(self, name: str, folder: str, **options: Any) -> dict[str, Any]:
        if self.data is None:
            return {}
        if not (self.data / folder).is_dir():
            expected = f"a folder with {folder} in it, for {name}"
            raise SettingError("--data", str(self.data), expected, "or leave it out")
        return {"name": name, "root": str(self.data), **options}


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of an experiment's table: settings that are trained with each seed.

    Attributes:
        label: what tells it from the others.
        settings: by key path, as ``vq.train(settings=...)`` takes them.
        preset: what they are laid over.
        published: the paper's own values as it prints them, by the key of their column.
        measure: ``module:function``, which gets the trained run and returns numbers by name. It
            may leave files for figures in ``plugins/papers`` of the run folder.
        callbacks: ``module:function``, which returns callbacks for ``vq.train``.
        baseline: ``module:function``, which gets the settings and returns numbers by name, once and
            without training; None for a row that is trained.
    """

    label: str
    settings: Mapping[str, Any]
    preset: str | None = None
    published: Mapping[str, str] = field(default_factory=dict)
    measure: str = "vq_papers.measures:evaluated"
    callbacks: str | None = None
    baseline: str | None = None


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of the table.

    Attributes:
        key: of a number that the rows' measures return.
        heading: of the column.
        digits: after the decimal point.
        best: whether the highest or the lowest mean is set in bold.
    """

    key: str
    heading: str
    digits: int = 2
    best: Literal["high", "low"] | None = None


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """An experiment of a paper, over the public pipeline.

    Attributes:
        name: as ``vq reproduce`` takes it.
        paper: one of ``PAPERS``.
        place: where the paper has it, as in ``table 3``.
        title: what it shows, in a line.
        rows: of the table, for a setup.
        columns: of the table.
        seeds: the number of seeds by scale.
        figures: ``module:function`` each. It gets the ``Results`` and the experiment's folder, and
            writes PNG files there.
    """

    name: str
    paper: Literal["A", "B", "C", "D"]
    place: str
    title: str
    rows: Callable[[Setup], Sequence[Row]]
    columns: Sequence[Column]
    seeds: Mapping[Scale, int] = field(default_factory=lambda: {"quick": 2, "medium": 3, "full": 5})
    figures: Sequence[str] = ()
