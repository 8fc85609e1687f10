"""``vq probe``: how well the class of a sample can be told from its codes by a linear classifier.

What paper A measures behind the bottleneck, here without training anything but the classifier (linear probing, Alain
and Bengio 2016, arXiv:1610.01644).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from torch import Tensor

from vq.runs.provenance import require_codes
from vq.runs.trained_run import TrainedRun
from vq.tokens.codes import books_of, codes_of
from vqcore.errors import SettingError

#: Inverse strengths of the penalty that are tried on a fifth of the training samples.
_STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)
_ASIDE, _ITERATIONS, _BATCH = 0.2, 200, 256
#: Training values below which a second thread costs more than it does: a hundred times on a busy machine.
_SMALL = 1e7

#: Features of N samples: (N, F), sparse where most are zero.
Features = np.ndarray | sparse.csr_matrix


@dataclass(frozen=True)
class Row:
    """What one kind of feature is good for.

    Attributes:
        features: their name.
        size: how many of them a sample has.
        accuracy: share of the held-out samples classified correctly, mean over seeds.
        spread: standard deviation over the seeds; None of one.
        error: standard error of the accuracy that the number of held-out samples leaves, sqrt(p (1 - p) / n).
    """

    features: str
    size: int
    accuracy: float
    spread: float | None
    error: float


def probe_run(
    run: TrainedRun,
    samples: int = 10_000,
    seeds: int = 3,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Linear classifiers on a run's codes, on its pixels, and the most frequent class.

    Each seed draws which training samples are used and which of them choose the strength of the penalty; accuracy is
    on the whole held-out split.

    Args:
        run: a trained run whose data set has labels.
        samples: training samples used at most.
        seeds: repetitions.
        say: told which features are being probed.

    Returns:
        ``rows`` (see ``Row``; ``codes`` are the vectors of the codes as the decoder gets them, ``histogram`` how often
        each code occurs, ``pixels`` (``values`` of vectors) the samples themselves, ``majority`` nothing), ``classes``,
        ``train_samples``, ``test_samples``, ``seeds`` and ``checkpoint``.

    Raises:
        SettingError: if the run has no codes or its data no labels.
    """
    require_codes(run)
    labels = [_labels(run, split) for split in ("train", "test")]
    used = min(samples, len(labels[0]))
    drawn = [
        np.random.default_rng(seed).permutation(len(labels[0]))[:used] for seed in range(seeds)
    ]
    read = np.unique(drawn)  # features of the rest, which may be millions, are never made
    y, rows = labels[0][read], []
    for name, (train, test) in _features(run, torch.from_numpy(read)).items():
        say(f"{name}: {train.shape[1]} features")
        places = [np.searchsorted(read, each) for each in drawn]
        found = [
            _accuracy(train[at], y[at], test, labels[1], seed) for seed, at in enumerate(places)
        ]
        rows.append(_row(name, train.shape[1], found, len(labels[1])))
    frequent = np.bincount(labels[0]).argmax()
    rows.append(_row("majority", 0, [float((labels[1] == frequent).mean())], len(labels[1])))
    return {
        "rows": [asdict(row) for row in rows],
        "classes": len(np.unique(np.concatenate(labels))),
        "train_samples": used,
        "test_samples": len(labels[1]),
        "seeds": seeds,
        "checkpoint": run.checkpoint.name,
    }


def _labels(run: TrainedRun, split: str) -> np.ndarray:
    found = run.source.split(split).labels
    if found is None:
        name = run.config.components["dataset"].spec.name
        expected = "a run on a data set with labels, and this one's has none"
        raise SettingError(
            "dataset", name, expected, "image-folder takes the folders' names for labels"
        )
    return found.numpy()


def _features(run: TrainedRun, read: Tensor) -> dict[str, tuple[Features, Features]]:
    """Features of the training samples to be ``read`` and of all held-out ones, by their name."""
    chosen = {"train": read, "test": None}
    codes = [codes_of(run, split, rows) for split, rows in chosen.items()]
    books, size = books_of(run.model), run.model.codebook_size
    own = "pixels" if len(run.samples.shape) == 3 else "values"
    return {
        "codes": tuple(_vectors(run, each) for each in codes),
        "histogram": tuple(histograms(each.flatten(1), books, size) for each in codes),
        own: tuple(_samples(run, split, rows) for split, rows in chosen.items()),
    }


@torch.no_grad()
def _vectors(run: TrainedRun, codes: Tensor) -> np.ndarray:
    """The vectors that the decoder gets for codes (N, *index_shape), those of all positions and levels in one row."""
    rows = []
    for part in codes.split(_BATCH):
        vectors = run.model.bottleneck.decode(part.to(run.device))
        levels = vectors if isinstance(vectors, tuple) else (vectors,)
        rows.append(torch.cat([level.flatten(1) for level in levels], 1).cpu())
    return torch.cat(rows).numpy()


def histograms(tokens: Tensor, books: list[int], codebook_size: int) -> sparse.csr_matrix:
    """How often each code of each codebook occurs in tokens (N, T), as (N, codebooks x K)."""
    columns = (tokens + torch.tensor(books) * codebook_size).numpy()
    rows = np.arange(len(columns)).repeat(columns.shape[1])
    shape = len(columns), (max(books) + 1) * codebook_size
    return sparse.csr_matrix((np.ones(columns.size), (rows, columns.ravel())), shape)


def _samples(run: TrainedRun, split: str, rows: Tensor | None) -> np.ndarray:
    samples = run.source.split(split)
    rows = torch.arange(len(samples)) if rows is None else rows
    batches = samples.batches(rows.split(_BATCH), run.device)
    return torch.cat([batch.flatten(1).cpu() for batch in batches]).numpy()


def _accuracy(x: Features, y: np.ndarray, test: Features, y_test: np.ndarray, seed: int) -> float:
    """Held-out accuracy of the classifier whose penalty does best on a fifth of the training samples."""
    fit, aside = train_test_split(np.arange(len(y)), test_size=_ASIDE, random_state=seed)
    if len(np.unique(y[fit])) < 2:
        raise SettingError(
            "--samples", len(y), "training samples enough to have two classes among them"
        )
    with warnings.catch_warnings(), threadpool_limits(1 if math.prod(x.shape) < _SMALL else None):
        warnings.simplefilter(
            "ignore", ConvergenceWarning
        )  # as good as it gets in so many iterations
        scores = {
            c: _classifier(x, c).fit(x[fit], y[fit]).score(x[aside], y[aside]) for c in _STRENGTHS
        }
        best = max(scores, key=scores.__getitem__)
        return float(_classifier(x, best).fit(x, y).score(test, y_test))


def _classifier(features: Features, strength: float) -> Pipeline:
    """Features scaled to unit variance (and dense ones to mean zero), then multinomial logistic regression."""
    scaler = StandardScaler(with_mean=not sparse.issparse(features))
    return make_pipeline(scaler, LogisticRegression(C=strength, max_iter=_ITERATIONS))


def _row(features: str, size: int, found: list[float], held_out: int) -> Row:
    accuracy = float(np.mean(found))
    spread = float(np.std(found, ddof=1)) if len(found) > 1 else None
    return Row(features, size, accuracy, spread, math.sqrt(accuracy * (1 - accuracy) / held_out))
