"""Rotational and rescaling VQ-VAE: sizes, the commitment weight, estimators, and its epochs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vq_papers.experiment import Column, Experiment, Row, Scale, Setup

Settings = Mapping[str, Any]

_PRESET = "rotation-vqvae"
#: Instead of the paper's network, D = 256, K = 1024, and 100 epochs of CIFAR-10 at 2e-4.
_SHORTER: Mapping[Scale, Settings] = {
    "quick": {
        "backbone.size": "tiny", "backbone.downsamplings": None, "dim": 32, "codebook_size": 512,
        "batch_size": 16, "max_steps": 300, "optimizer.lr": 2e-3,
    },
    "medium": {
        "backbone.size": "tiny", "dim": 32, "batch_size": 32, "max_steps": 300,
        "optimizer.lr": 3e-3,
    },
    "full": {},
}  # fmt: skip
_QUALITY = (
    Column(key="reconstruction", heading="MSE in [-1, 1]", digits=4, best="low"),
    Column(key="psnr", heading="PSNR, dB", best="high"),
    Column(key="perplexity", heading="perplexity", digits=1),
    Column(key="codes_used", heading="codes used", digits=0),
)


def _row(setup: Setup, label: str, changed: Settings, measure: str = "trained", **more: Any) -> Row:
    """A row of the paper's settings, shortened to the scale, with what is changed."""
    data = setup.grey() if setup.scale == "quick" else setup.colour()
    settings = {"dataset": data, **_SHORTER[setup.scale], **changed}
    if setup.scale != "full":  # what is evaluated and written on the way takes longer than steps
        between = settings["max_steps"]
        written = ("eval_every", "sample_every", "checkpoint_every")
        settings = {**dict.fromkeys(written, between), **settings}
    return Row(
        label=label,
        preset=_PRESET,
        settings=settings,
        measure=f"vq_papers.rotation_measures:{measure}",
        **more,
    )


# -- sizes ------------------------------------------------------------------

#: The largest takes a hundred times the time of the smallest.
_FEWER_STEPS: Mapping[Scale, Settings] = {
    "quick": {"max_steps": 150},
    "medium": {"max_steps": 150},
    "full": {},
}


def size_rows(setup: Setup) -> list[Row]:
    """The named sizes of ``conv``, trained alike."""
    return [
        _row(setup, size, {**_FEWER_STEPS[setup.scale], "backbone.size": size})
        for size in ("tiny", "small", "base", "large")
    ]


# -- the weight of commitment -----------------------------------------------

#: By beta, what table 3 has of the test split: reconstruction and perplexity.
_TABLE_3 = {
    0.1: ("0.0094", "617.9"),
    0.25: ("0.0102", "282.6"),
    0.5: ("0.0116", "127.1"),
    1.0: ("0.0114", "132.3"),
    2.0: ("0.0114", "117.2"),
}


def beta_rows(setup: Setup) -> list[Row]:
    """The paper's weights of commitment."""
    return [
        _row(
            setup,
            f"beta {beta:g}",
            {"quantizer.commitment_weight": beta},
            measure="both_splits",
            published=dict(zip(("test_reconstruction", "test_perplexity"), paper, strict=True)),
        )
        for beta, paper in _TABLE_3.items()
    ]


_BETA_COLUMNS = tuple(
    Column(key=f"{split}_{key}", heading=f"{split} {key}", digits=digits)
    for split in ("train", "test")
    for key, digits in (("total", 4), ("reconstruction", 4), ("codebook", 4), ("perplexity", 1))
)

# -- estimators -------------------------------------------------------------

_ESTIMATORS: Mapping[str, Any] = {
    "straight-through": "straight-through",
    "rotation": "rotation",
    "rotation, not rescaled": {"name": "rotation", "rescale": False},
    "rotation, no radial part": {"name": "rotation", "radial": False},
}
_CODEBOOKS: Mapping[str, Settings] = {
    "gradient": {"name": "codebook", "lr_scale": 1.0},
    "EMA": {"name": "ema", "decay": 0.99},
}
#: K and D of the few and of the many; the paper's are the many at ``full``.
_NUMBERS: Mapping[Scale, tuple[int, int]] = {
    "quick": (32, 512),
    "medium": (64, 1024),
    "full": (64, 1024),
}
_DIMENSIONS: Mapping[Scale, tuple[int, int]] = {
    "quick": (8, 32),
    "medium": (8, 64),
    "full": (8, 256),
}


def estimator_rows(setup: Setup) -> list[Row]:
    """Four gradients with a learned and an averaged codebook; two of them in more dimensions, with
    fewer codes, with more weight on commitment, and with dead codes replaced, too. At
    ``medium``, two gradients and the two dimensions alone.
    """
    (fewer, codes), (dim, wider) = _NUMBERS[setup.scale], _DIMENSIONS[setup.scale]
    two = dict(list(_ESTIMATORS.items())[:2])
    plain = {"commitment_weight": 0.25, "dead_code_threshold": 0.0}
    cases: list[tuple[str, Mapping[str, Any], int, int, Settings]] = [
        (f"D {dim}", _ESTIMATORS, dim, codes, {}),
        (f"D {wider}", two, wider, codes, {}),
        (f"D {dim}, K {fewer}", two, dim, fewer, {}),
        (f"D {dim}, beta 2", two, dim, codes, {"commitment_weight": 2.0}),
        (f"D {dim}, dead codes replaced", two, dim, codes, {"dead_code_threshold": 0.2}),
    ]
    if setup.scale == "medium":  # an hour of a CPU
        cases = [(words, two, d, k, more) for words, _, d, k, more in cases[:2]]
    return [
        _row(
            setup,
            f"{codebook}, {words}: {name}",
            {
                "estimator": estimator,
                "quantizer": {**quantizer, **plain, **changed},
                "dim": dimensions,
                "codebook_size": size,
            },
        )
        for codebook, quantizer in _CODEBOOKS.items()
        for words, estimators, dimensions, size, changed in cases
        for name, estimator in estimators.items()
    ]


# -- a run over its epochs --------------------------------------------------


def epoch_rows(setup: Setup) -> list[Row]:
    """The paper's run and one with straight-through, with pictures and codebooks on the way."""
    if setup.scale == "full":
        watched: dict[str, Any] = {"sample_epochs": [0, 25, 50, 75, 99]}
    else:
        quarter = _SHORTER[setup.scale]["max_steps"] // 4
        watched = {"sample_epochs": [0], "sample_every": quarter, "eval_every": quarter}
        watched["eval_samples"] = 256
    names = ("rotation", "straight-through")
    return [_row(setup, name, {"estimator": name, **watched}) for name in names]


# ---------------------------------------------------------------------------

EXPERIMENTS = (
    Experiment(
        name="rotation-sizes",
        paper="D",
        place="table 2",
        title="four sizes of the network; the paper repeats one row for three of them",
        rows=size_rows,
        columns=(Column(key="parameters", heading="parameters, M"), *_QUALITY),
        seeds={"quick": 1, "medium": 1, "full": 3},
    ),
    Experiment(
        name="rotation-beta",
        paper="D",
        place="table 3",
        title="the weight of commitment, on training and held-out images",
        rows=beta_rows,
        columns=_BETA_COLUMNS,
        seeds={"quick": 2, "medium": 2, "full": 3},
    ),
    Experiment(
        name="rotation-estimators",
        paper="D",
        place="beyond",
        title="rotation against straight-through: codebooks, number of codes, dead codes replaced",
        rows=estimator_rows,
        columns=_QUALITY,
        seeds={"quick": 2, "medium": 2, "full": 3},
    ),
    Experiment(
        name="rotation-epochs",
        paper="D",
        place="figures",
        title="reconstructions and the codebook (t-SNE) over training",
        rows=epoch_rows,
        columns=_QUALITY,
        seeds={"quick": 1, "medium": 1, "full": 1},
        figures=(
            "vq_papers.rotation_figures:reconstructions",
            "vq_papers.rotation_figures:codebooks",
        ),
    ),
)
