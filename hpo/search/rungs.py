"""Successive halving that pauses and promotes: which trials pass a rung, pause there, or are promoted later.

Asynchronous successive halving as in Li et al. 2020, arXiv 1810.05934: rungs are at a first epoch, eta times that, eta
squared times that, ... A trial passes a rung if it is among the best 1/eta of all that have reached it; the others are
paused there, and any of them is promoted as soon as later, worse trials have moved it into the best 1/eta. Where the
objective is not logged at that epoch or step, a trial reaches a rung with its first value after it. One that is
more than PLACES_BEHIND places away from that is pruned at once: eta times as many trials would have to reach the rung,
all of them worse, before it could be promoted, and paused trials need disk space.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Mapping
from enum import StrEnum

from hpo.search.forecast import Halving
from hpo.study.states import Direction

PLACES_BEHIND = 16

_Key = tuple[float, float]  # what a trial violates, and its cost


class Verdict(StrEnum):
    """The verdict of a study's pruner, or of its rungs, on a trial after an epoch."""

    CONTINUE = "continue"
    """It is promising, or not to be judged yet."""
    PAUSE = "pause"
    """It is not among the best at its rung now, but may be later."""
    PRUNE = "prune"
    """It is too far behind."""


class Rungs:
    """The values of one study's trials at each rung.

    Args:
        eta: of so many trials that reach a rung, one passes it; 2 or more.
        first: the epoch, or step, of the first rung.
        last: there is no rung after this epoch or step: what a trial still has to train there is not worth a pause.
        direction: which values are better.
    """

    def __init__(self, *, eta: int, first: int, direction: Direction, last: float = math.inf) -> None:
        self._eta = eta
        self._first = first
        self._last = last
        self._direction = direction
        self._values: dict[int, dict[int, _Key]] = defaultdict(dict)  # by rung, by trial; smaller is better
        self._ranked: dict[int, list[tuple[_Key, int]]] = defaultdict(list)  # by rung: (value, trial), in order
        self._rungs: dict[tuple[int, int], int] = {}  # by (trial, epoch), the rung that it reached with that epoch

    def take(self, number: int, curve: Mapping[int, float], *, violation: float = 0.0) -> None:
        """Record a trial's values at the rungs; the value at a rung is recorded once.

        Args:
            curve: its objective after each epoch.
            violation: by how much it violates the study's constraints; above 0, it is behind all that satisfy them, and
                the smaller the better (Deb 2000, An efficient constraint handling method for genetic algorithms).
        """
        if not curve:
            return
        last, rung = min(max(curve), self._last), self._first
        while rung <= last:
            if number not in self._values[rung]:
                reached = min(epoch for epoch in curve if epoch >= rung)
                # A trial is ranked by its best epoch, because that is also its final value.
                value = min(self._direction.cost(value) for epoch, value in curve.items() if epoch <= reached)
                self._values[rung][number] = key = (max(0.0, violation), value)
                self._rungs[number, reached] = rung
                insort(self._ranked[rung], (key, number))
            rung *= self._eta

    def halving(self, epochs: int) -> Halving:
        """Where the trials stand, each of at most so many epochs, for a forecast."""
        order, rung = {}, self._first
        while rung < epochs and rung <= self._last:
            order[rung] = [number for _, number in self._ranked[rung]]
            rung *= self._eta
        return Halving(self._eta, order)

    def verdict(self, number: int, epoch: int) -> Verdict:
        """A trial continues after an epoch that is no rung, and where it is among the best at its rung."""
        behind = self._places_behind(number, epoch)
        if behind <= 0:
            return Verdict.CONTINUE
        return Verdict.PAUSE if behind <= PLACES_BEHIND else Verdict.PRUNE

    def _places_behind(self, number: int, epoch: int) -> int:
        """How many places a trial is behind those that pass; 0 or less for one of them."""
        rung = self._rungs.get((number, epoch))
        if rung is None:
            return 0
        ranked, value = self._ranked[rung], self._values[rung][number]
        # Ties are ranked by number: with a metric of few values, all of them would pass otherwise.
        return 1 + bisect_left(ranked, (value, number)) - len(ranked) // self._eta

    def promotable(self, paused: Mapping[int, int], *, is_last: bool = False) -> list[int]:
        """The paused trials that may be promoted, those at the highest rung first, the best of each rung first.

        Args:
            paused: the epoch at which each is paused, by the trial's number.
            is_last: no trial is running, and no new one will follow: the best at each rung is then promoted, however
                few have reached it, so that a study does not end without a trained model.
        """
        chosen: list[tuple[int, int, int]] = []  # (rung, place, trial)
        for number, epoch in paused.items():
            rung = self._rungs.get((number, epoch))
            if rung is None:  # not at a rung, according to its curve
                continue
            ranked = self._ranked[rung]
            place = bisect_left(ranked, (self._values[rung][number], number))
            if place < max(len(ranked) // self._eta, int(is_last)):
                chosen.append((-rung, place, number))
        return [number for _, _, number in sorted(chosen)]
