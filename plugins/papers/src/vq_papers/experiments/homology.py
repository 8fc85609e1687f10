"""Paper B: whether homology of the codebook raises its utilisation, and what does. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from vq_papers.experiment import Column, Experiment, Row, Setup

OFF, PAPER, OURS = "off", "HC-VQ, its entropy", "HC-VQ, entropy of usage"
REPLACED, REPLACED_ENTROPY = "replacement", "replacement, entropy term"
EVEN, BOTH = "replacement, even latents", "replacement, both"
#: The paper's own settings are the preset's. Shorter runs need a higher rate, and a shorter period:
#: HC-VQ's strength is 1 in the first.
_SHORTER: Mapping[str, Mapping[str, Any]] = {
    "quick": {"max_steps": 200, "batch_size": 16, "backbone.hidden": 8},
    "medium": {"max_steps": 300, "batch_size": 32, "backbone.hidden": 16},
}
_FOR_SHORT_RUNS = {"optimizer.lr": 1e-3, "regularizers.homology.period": 20}
_OFF = {"regularizers.homology.weight": 0.0}  # the diagrams are still recorded
_FAST = {"quantizer.lr_scale": 32.0}  # the default of vq: codes keep up with the latents
_REPLACED = {**_FAST, "quantizer.dead_code_threshold": 0.2}
_ENTROPY = {"regularizers.entropy.weight": 0.1}
#: Persistent entropy of the latents' H0 deaths, instead of deaths and loops of the codebook.
_EVEN = {
    "regularizers.homology.points": "latents",
    "regularizers.homology.h0_weight": 0.0,
    "regularizers.homology.h1_weight": 0.0,
    "regularizers.homology.h0_entropy_weight": 5.0,
    "regularizers.homology.strength": "constant",
}
FORMS: Mapping[str, Mapping[str, Any]] = {
    OFF: _OFF,
    PAPER: {"regularizers.homology.entropy": "paper"},
    OURS: {},
    "off, fast codes": {**_OFF, **_FAST},
    "entropy term": {**_OFF, **_FAST, **_ENTROPY},
    REPLACED: {**_OFF, **_REPLACED},
    "replacement, HC-VQ": _REPLACED,
    REPLACED_ENTROPY: {**_OFF, **_REPLACED, **_ENTROPY},
    EVEN: {**_REPLACED, **_EVEN},
    BOTH: {**_REPLACED, **_ENTROPY, **_EVEN},
}
#: The rows that MNIST repeats.
_AGAIN = (OFF, PAPER, OURS, REPLACED, REPLACED_ENTROPY, BOTH)


def _rows(setup: Setup) -> Iterator[Row]:
    shorter = {**_SHORTER[setup.scale], **_FOR_SHORT_RUNS} if setup.scale != "full" else {}
    lines = {"log_every": shorter.get("max_steps", 27_000) // 10}
    first = "digits" if setup.data is None else "Fashion-MNIST"
    chosen = [(first, setup.fashion(), label) for label in FORMS]
    if setup.data is not None:
        chosen += [("MNIST", setup.grey(), label) for label in _AGAIN]
    for name, dataset, label in chosen:
        settings = {"dataset": dataset, **shorter, **lines, **FORMS[label]}
        measure = "vq_papers.homology_record:measured"
        yield Row(label=f"{name}: {label}", preset="hc-vq", settings=settings, measure=measure)


EXPERIMENT = Experiment(
    name="homology",
    paper="B",
    place="its figures",
    title="does homology of the codebook raise utilisation? what does",
    rows=lambda setup: list(_rows(setup)),
    columns=(
        Column(key="perplexity", heading="perplexity of 128", digits=1),
        Column(key="codes_used", heading="codes used", digits=0),
        Column(key="psnr", heading="PSNR, dB"),
        Column(key="homology_strength", heading="w at the end"),
        Column(key="codebook_h0", heading="mean H0 death", digits=3),
        Column(key="codebook_h1", heading="H1 total"),
        Column(key="codebook_persistent_entropy", heading="persistent entropy"),
    ),
    seeds={"quick": 2, "medium": 5, "full": 5},
    figures=("vq_papers.homology_record:curves", "vq_papers.homology_record:diagrams"),
)
