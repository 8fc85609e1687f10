"""A codebook over training as places in the plane: one t-SNE of all its snapshots, so that frames can be compared."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

#: As in the rotation and rescaling report's figure of the codebook over training.
PERPLEXITY, LEARNING_RATE, ITERATIONS = 30, 200, 1000
#: Rows of one fit at most: a few seconds of one core.
ROWS = 2000


def embed(frames: Sequence[NDArray[np.floating]]) -> list[NDArray[np.floating]]:
    """Places (n, 2) in the unit square of each frame's codes (n, d), d above 2, fitted once over all frames.

    Started from the first two principal axes, and so the same each time.
    """
    from sklearn.manifold import TSNE  # a second that no other section needs

    rows = np.concatenate([frame.astype(np.float32) for frame in frames])
    perplexity = min(PERPLEXITY, (len(rows) - 1) / 3)
    fit = TSNE(
        perplexity=perplexity,
        learning_rate=LEARNING_RATE,
        max_iter=ITERATIONS,
        init="pca",
        random_state=0,
        n_jobs=1,
    )
    if len(rows) < 4 or np.ptp(rows, 0).max() == 0:
        return [np.full((len(frame), 2), 0.5) for frame in frames]
    with warnings.catch_warnings():  # a collapsed codebook has no second axis to start from
        warnings.simplefilter("ignore", RuntimeWarning)
        places = fit.fit_transform(rows)
    places -= (places.max(0) + places.min(0)) / 2
    places = places / (2 * max(np.abs(places).max(), 1e-12)) + 0.5
    return np.split(places, np.cumsum([len(frame) for frame in frames])[:-1])
