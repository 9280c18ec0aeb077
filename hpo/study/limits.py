"""The number of trials of a study: by default, and where there is no limit of them."""

from __future__ import annotations

DEFAULT_TRIALS = 20
UNLIMITED = 2**31 - 1  # stands for no limit: the largest integer of a database column


def trials_in_words(target: int) -> str:
    """`40 trials`, or `no limit of trials`."""
    return "no limit of trials" if target == UNLIMITED else f"{target} trial{'s' * (target != 1)}"
