"""Successive halving that pauses and promotes: who goes on at a rung, who waits there, and who may go on later.

Asynchronous successive halving as in Li et al. 2020, arXiv 1810.05934: rungs are at min_epochs, eta times that, eta
squared times that, ... A trial goes on beyond a rung while it is among the best 1/eta of all that have come to it; the
others wait there, and any of them goes on as soon as later, worse trials have moved it into the best 1/eta. One that is
more than PLACES_BEHIND places away from that ends at once: eta times as many trials would have to come, all of them
worse, until it may go on, and what waits takes room on the disk.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Mapping
from enum import StrEnum

from hpo.study.states import Direction

PLACES_BEHIND = 16


class Verdict(StrEnum):
    """What a study's pruner, or its rungs, make of a trial after an epoch."""

    CONTINUE = "continue"
    """It is promising, or not to be judged yet."""
    PAUSE = "pause"
    """It is not among the best at its rung now, and may be later."""
    PRUNE = "prune"
    """It is hopeless."""


class Rungs:
    """What the trials of one study reached at each rung.

    Args:
        eta: of so many trials that come to a rung, one goes on; 2 or more.
        min_epochs: where the first rung is.
        direction: which values are better.
    """

    def __init__(self, *, eta: int, min_epochs: int, direction: Direction) -> None:
        self._eta = eta
        self._min_epochs = min_epochs
        self._direction = direction
        self._values: dict[int, dict[int, float]] = defaultdict(dict)  # by rung, by trial; smaller is better
        self._ranked: dict[int, list[tuple[float, int]]] = defaultdict(list)  # by rung: (value, trial), in order

    def take(self, number: int, curve: Mapping[int, float]) -> None:
        """Note what a trial has reached; what was noted of a rung before stands.

        Args:
            curve: its objective after each epoch.
        """
        if not curve:
            return
        last, rung = max(curve), self._min_epochs
        while rung <= last:
            if number not in self._values[rung]:
                # A trial is as good as its best epoch, which is what it is worth in the end.
                value = min(self._direction.cost(value) for epoch, value in curve.items() if epoch <= rung)
                self._values[rung][number] = value
                insort(self._ranked[rung], (value, number))
            rung *= self._eta

    def verdict(self, number: int, epoch: int) -> Verdict:
        """A trial goes on after an epoch at no rung, and where it is among the best of those that came to its rung."""
        behind = self._places_behind(number, epoch)
        if behind <= 0:
            return Verdict.CONTINUE
        return Verdict.PAUSE if behind <= PLACES_BEHIND else Verdict.PRUNE

    def _places_behind(self, number: int, epoch: int) -> int:
        """How many places a trial is away from those that go on; 0 or less for one of them."""
        ranked, value = self._ranked.get(epoch, []), self._values.get(epoch, {}).get(number)
        if value is None:
            return 0
        # Of those that are as good as each other the first come first: a metric of few values would let all go on.
        return 1 + bisect_left(ranked, (value, number)) - len(ranked) // self._eta

    def promotable(self, waiting: Mapping[int, int], *, is_last: bool = False) -> list[int]:
        """Which of the waiting trials may go on, those at the highest rung first, the best of each rung first.

        Args:
            waiting: the epoch at whose end each waits, by the trial's number.
            is_last: no trial trains, and none will be new: the best at each rung then goes on, however few came to it,
                so that a study does not end without a trained model.
        """
        going: list[tuple[int, int, int]] = []  # (rung, place, trial)
        for number, rung in waiting.items():
            ranked, value = self._ranked[rung], self._values[rung].get(number)
            if value is None:  # not at a rung, as far as its curve tells
                continue
            place = bisect_left(ranked, (value, number))
            if place < max(len(ranked) // self._eta, int(is_last)):
                going.append((-rung, place, number))
        return [number for _, _, number in sorted(going)]
