"""``probe``: how well a linear classifier predicts the class of a sample from its codes.

Linear probing (Alain and Bengio 2016, arXiv:1610.01644): nothing but the classifier is trained.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

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

from vq.processes.together import joined, on_main
from vq.progress import working
from vq.runs.provenance import require_codes
from vq.runs.trained_run import RunLike, TrainedRun, load_together
from vq.tokens.codes import SplitName, codebook_numbers, encode_together, split_batches
from vq_prior.sequences import labels_of
from vqcore.errors import SettingError

#: Inverse regularization strengths to choose from, on a validation share of the training samples.
_STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)
_VALIDATION_SHARE = 0.2
_ITERATIONS = 200
_BATCH = 256
#: Training values below which one thread is at least as fast, and far faster on a busy machine.
_SINGLE_THREAD = 1e7
logger = logging.getLogger("vq")

#: Features of N samples: (N, F), sparse if most are zero.
Features: TypeAlias = "np.ndarray | sparse.csr_matrix"


@dataclass(frozen=True)
class ProbeRow:
    """Accuracy with one kind of features.

    Attributes:
        features: ``codes`` (their vectors, as the decoder receives them), ``histogram`` (of the
            codes), ``pixels`` or ``values`` (the samples), ``majority`` (the most frequent class).
        size: number of features of a sample.
        accuracy: share of held-out samples classified correctly, mean over seeds.
        spread: standard deviation over seeds; None with one seed.
        error: standard error from the number of held-out samples, sqrt(p (1 - p) / n).
    """

    features: str
    size: int
    accuracy: float
    spread: float | None
    error: float


@dataclass(frozen=True)
class ProbeResult:
    """Accuracies on the held-out split, and the numbers of what they were measured with."""

    rows: list[ProbeRow]
    classes: int
    train_samples: int
    test_samples: int
    seeds: int
    checkpoint: str


def probe(
    run: RunLike,
    samples: int = 10_000,
    seeds: int = 3,
    *,
    device: str | None = None,
    trust_plugins: bool = False,
    log: Callable[[str], None] = logger.info,
) -> ProbeResult:
    """Train linear classifiers on a run's codes and, for comparison, on its samples.

    A seed decides which training samples are used, and which of them choose the regularization.

    Args:
        run: the run folder, or the run; its data set has labels.
        samples: largest number of training samples.
        seeds: number of repetitions.
        device: instead of the run's own.
        trust_plugins: see ``vq.load_run``.
        log: receives a line for each kind of features.

    Raises:
        SettingError: if the run has no codes, its data no labels, the samples only one class, or a
            number is below 1.
    """
    for name, value in (("samples", samples), ("seeds", seeds)):
        if value < 1:
            raise SettingError(name, value, "a whole number of at least 1")
    with joined():
        run = load_together(run, device, trust_plugins=trust_plugins)
        require_codes(run)
        y, y_test = labels_of(run, "train").numpy(), labels_of(run, "test").numpy()
        used = min(samples, len(y))
        drawn = [np.random.default_rng(seed).permutation(len(y))[:used] for seed in range(seeds)]
        read = torch.from_numpy(np.unique(drawn))  # the others, perhaps millions, are never encoded
        codes = encode_together(run, "train", read), encode_together(run, "test")
        return on_main(lambda: _probe(run, y, y_test, drawn, read, codes, log))


def _probe(
    run: TrainedRun,
    y: np.ndarray,
    y_test: np.ndarray,
    drawn: list[np.ndarray],
    read: Tensor,
    codes: tuple[Tensor, Tensor],
    log: Callable[[str], None],
) -> ProbeResult:
    """Accuracies, from the labels, the samples ``drawn`` for each seed, and the codes of all."""
    rows = []
    for name, (train, test) in _features(run, read, *codes).items():
        log(f"probing {name}: {train.shape[1]} features")
        accuracies = []
        with working(f"probing {name}", len(drawn), "repetitions") as task:
            for seed, chosen in enumerate(drawn):
                part = train[np.searchsorted(read.numpy(), chosen)]
                accuracies.append(_accuracy(part, y[chosen], test, y_test, seed))
                task.advance()
        rows.append(_row(name, train.shape[1], accuracies, len(y_test)))
    majority = np.bincount(y).argmax()
    rows.append(_row("majority", 0, [float((y_test == majority).mean())], len(y_test)))
    classes = len(np.unique(np.concatenate([y, y_test])))
    used = len(drawn[0])
    return ProbeResult(rows, classes, used, len(y_test), len(drawn), run.checkpoint.name)


def _features(
    run: TrainedRun, read: Tensor, train: Tensor, test: Tensor
) -> dict[str, tuple[Features, Features]]:
    """Features by name, of the training samples ``read`` and of all held-out ones, and codes."""
    codebooks, size = codebook_numbers(run.model), run.model.codebook_size
    values = "pixels" if len(run.samples.shape) == 3 else "values"
    return {
        "codes": (_vectors(run, train), _vectors(run, test)),
        "histogram": (histograms(train, codebooks, size), histograms(test, codebooks, size)),
        values: (_samples(run, "train", read), _samples(run, "test", None)),
    }


@torch.no_grad()
def _vectors(run: TrainedRun, codes: Tensor) -> np.ndarray:
    """The decoder's vectors for codes (N, *index_shape), all positions and levels in one row."""
    rows = []
    for part in codes.split(_BATCH):
        vectors = run.model.bottleneck.decode(part.to(run.device))
        levels = vectors if isinstance(vectors, tuple) else (vectors,)
        rows.append(torch.cat([level.flatten(1) for level in levels], 1).cpu())
    return torch.cat(rows).numpy()


def histograms(indices: Tensor, codebooks: list[int], codebook_size: int) -> sparse.csr_matrix:
    """Counts of each code of each codebook in indices (N, ...), as (N, codebooks x K)."""
    columns = (indices.flatten(1) + torch.tensor(codebooks) * codebook_size).numpy()
    rows = np.arange(len(columns)).repeat(columns.shape[1])
    shape = len(columns), (max(codebooks) + 1) * codebook_size
    return sparse.csr_matrix((np.ones(columns.size), (rows, columns.ravel())), shape)


def _samples(run: TrainedRun, split: SplitName, rows: Tensor | None) -> np.ndarray:
    with working(f"reading {split}"):
        batches = split_batches(run, split, rows)
        return torch.cat([batch.flatten(1).cpu() for batch in batches]).numpy()


def _accuracy(x: Features, y: np.ndarray, test: Features, y_test: np.ndarray, seed: int) -> float:
    """Held-out accuracy with the regularization that is best on the validation share."""
    fit, held = train_test_split(np.arange(len(y)), test_size=_VALIDATION_SHARE, random_state=seed)
    if len(np.unique(y[fit])) < 2:
        raise SettingError("--samples", len(y), "enough training samples to have two classes")
    threads = 1 if math.prod(x.shape) < _SINGLE_THREAD else None
    with warnings.catch_warnings(), threadpool_limits(threads):
        warnings.simplefilter("ignore", ConvergenceWarning)  # the iterations are limited on purpose
        scores = {
            c: _classifier(x, c).fit(x[fit], y[fit]).score(x[held], y[held]) for c in _STRENGTHS
        }
        best = max(scores, key=scores.__getitem__)
        return float(_classifier(x, best).fit(x, y).score(test, y_test))


def _classifier(features: Features, strength: float) -> Pipeline:
    """Multinomial logistic regression on features of unit variance, dense ones of mean zero too."""
    scaler = StandardScaler(with_mean=not sparse.issparse(features))
    return make_pipeline(scaler, LogisticRegression(C=strength, max_iter=_ITERATIONS))


def _row(features: str, size: int, accuracies: list[float], held_out: int) -> ProbeRow:
    p = float(np.mean(accuracies))
    spread = float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else None
    return ProbeRow(features, size, p, spread, math.sqrt(p * (1 - p) / held_out))
