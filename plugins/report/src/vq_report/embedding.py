"""A codebook over training as points in the plane: one t-SNE of all its snapshots."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

#: The settings of t-SNE, which the section states.
PERPLEXITY, LEARNING_RATE, ITERATIONS = 30, 200, 1000
#: Rows of one fit, at most: a few seconds on one core.
MAX_ROWS = 2000


def embed(frames: Sequence[NDArray[np.floating]]) -> list[NDArray[np.floating]]:
    """Positions (n, 2) in the unit square of each frame's codes (n, d), d > 2.

    One fit over all frames, so that frames can be compared. It starts from the first two principal
    axes and is deterministic.
    """
    from sklearn.manifold import TSNE  # takes a second that no other section needs

    rows = np.concatenate([frame.astype(np.float32) for frame in frames])
    if len(rows) < 4 or np.ptp(rows, 0).max() == 0:
        return [np.full((len(frame), 2), 0.5) for frame in frames]
    tsne = TSNE(
        perplexity=min(PERPLEXITY, (len(rows) - 1) / 3),
        learning_rate=LEARNING_RATE,
        max_iter=ITERATIONS,
        init="pca",
        random_state=0,
        n_jobs=1,
    )
    with warnings.catch_warnings():  # a collapsed codebook has no second principal axis
        warnings.simplefilter("ignore", RuntimeWarning)
        positions = tsne.fit_transform(rows)
    positions -= (positions.max(0) + positions.min(0)) / 2
    positions = positions / (2 * max(np.abs(positions).max(), 1e-12)) + 0.5
    return np.split(positions, np.cumsum([len(frame) for frame in frames])[:-1])
