"""Early stopping: whether a curve has reached a plateau."""

from __future__ import annotations

from collections.abc import Sequence

from hpo.search.noise import noise_of
from hpo.study.spec import AUTO, EarlyStopping
from hpo.study.states import Direction

LEAST_PATIENCE = 10  # epochs or validations
PATIENT_SHARE = 1 / 3  # of those so far: what learns for longer may rest for longer
RECENT = 30  # values that the noise is estimated from


def waited_in_vain(curve: Sequence[float], stopping: EarlyStopping, direction: Direction) -> int | None:
    """The number of values without an improvement, where it has used up the patience; else None."""
    by_itself = max(LEAST_PATIENCE, round(PATIENT_SHARE * len(curve)))
    patience = by_itself if stopping.patience == AUTO else stopping.patience
    if len(curve) <= patience:
        return None
    min_delta = noise_of(curve[-RECENT:]) if stopping.min_delta == AUTO else stopping.min_delta
    best, since = None, 0
    for value in curve:
        gain = 0.0 if best is None else direction.gain(value, best)
        if best is None or gain > min_delta:
            best, since = value, 0
        else:
            since += 1
    return since if since >= patience else None
