"""How many epochs, or steps, a whole search will train, from its rungs or from the lengths of its trials so far."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from hpo.search.rungs import Rungs


def expected_epochs(
    lengths: Sequence[tuple[int, bool]], *, trials: int, epochs: int, rungs: Rungs | None = None
) -> float:
    """The epochs that all trials of a study together are expected to train.

    Args:
        lengths: of each trial that has begun: (epochs so far, whether it has ended).
        trials: of the study.
        epochs: the most of a trial.
        rungs: of a study that promotes trials, which determine its epochs.
    """
    so_far = sum(length for length, _ in lengths)
    if rungs is not None:
        return max(so_far, rungs.expected_epochs(trials, epochs))
    return max(so_far, trials * mean_length(lengths, most=epochs))


def mean_length(lengths: Sequence[tuple[int, bool]], *, most: int) -> float:
    """The expected epochs of a trial; `most` while no trial has ended.

    Trials that still run are longer than they are now, and the first ones to end are the short ones. So this is the
    restricted mean of the Kaplan-Meier estimate (Kaplan and Meier 1958), in which running trials are censored.
    """
    ends = Counter(length for length, has_ended in lengths if has_ended)
    reached = Counter(length for length, _ in lengths)
    at_risk, survival, mean, before = len(lengths), 1.0, 0.0, 0
    for length in sorted(length for length in reached if length < most):
        mean += survival * (length - before)
        survival *= 1 - ends[length] / at_risk
        at_risk -= reached[length]
        before = length
    return mean + survival * (most - before)
