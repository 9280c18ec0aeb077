"""Scores of clusters of codes: k-means, scored with and without labels, by scikit-learn."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, silhouette_score

MOST_SAMPLES = 500  # the silhouette needs the distances of all pairs
STARTS = 3  # of k-means; the best of them is used

WORST_SILHOUETTE = -1.0


def cluster_scores(
    codes: NDArray[np.floating], labels: NDArray[np.integer] | None, *, clusters: int
) -> dict[str, float]:
    """Scores of k-means on codes (samples, numbers), of which at most 500 are used, always the same ones.

    Args:
        labels: class numbers (samples,), where there are any.
        clusters: at most one less than the number of distinct codes.

    Returns:
        silhouette: how much nearer a code is to its own cluster than to the next, from -1 to 1; Rousseeuw 1987,
            J. Comput. Appl. Math. 20. Identical codes have the worst. NaN where codes are not finite.
        adjusted_rand: agreement of the clusters with the labels, 0 by chance and 1 at best; Hubert and Arabie 1985,
            J. Classif. 2. Only with labels.
    """
    if len(codes) > MOST_SAMPLES:
        chosen = np.sort(np.random.default_rng(0).choice(len(codes), MOST_SAMPLES, replace=False))
        codes, labels = codes[chosen], None if labels is None else labels[chosen]
    codes = codes.astype(np.float64)  # scikit-learn would convert single precision repeatedly
    if not np.isfinite(codes).all():
        return {"silhouette": float("nan")} | ({} if labels is None else {"adjusted_rand": float("nan")})
    clusters = min(clusters, len(np.unique(codes, axis=0)) - 1)
    if clusters < 2:
        found = np.zeros(len(codes), dtype=np.int64)
        silhouette = WORST_SILHOUETTE
    else:
        found = KMeans(clusters, n_init=STARTS, random_state=0).fit_predict(codes)
        silhouette = float(silhouette_score(codes, found))
    scores = {"silhouette": silhouette}
    if labels is not None:
        scores["adjusted_rand"] = float(adjusted_rand_score(labels, found))
    return scores
