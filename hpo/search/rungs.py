"""Successive halving that pauses and promotes: which trials pass a rung, pause there, or are promoted later.

Asynchronous successive halving as in Li et al. 2020, arXiv 1810.05934: rungs are at a first epoch, eta times that, eta
squared times that, ... A trial passes a rung if it is among the best 1/eta of all that have reached it; the others are
paused there, and any of them is promoted as soon as later, worse trials have moved it into the best 1/eta. Where the
objective is not logged at that epoch or step, a trial reaches a rung with its first value after it. One that is
more than PLACES_BEHIND places away from that is pruned at once: eta times as many trials would have to reach the rung,
all of them worse, before it could be promoted, and paused trials need disk space.

Several objectives are ranked by non-domination, as in Schmucker et al. 2021, arXiv 2106.12639; see
`hpo.study.objectives.ranked`. A trial's point is that of its best epoch by the leading one. Each trial that comes may
change the order within a front, so that in the end most of a front would have been among the best 1/eta for a while: no
more than 1/eta of those at a rung go on from there.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Mapping
from enum import StrEnum

from hpo.search.forecast import Halving
from hpo.study.objectives import Costs, Objectives, ranked

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
        objectives: which values are better.
        promotes: who is not among the best is paused; otherwise pruned.
    """

    def __init__(
        self, *, eta: int, first: int, objectives: Objectives, last: float = math.inf, promotes: bool = True
    ) -> None:
        self.promotes = promotes
        self._eta = eta
        self.first = first
        self._last = last
        self._objectives = objectives
        self._reached: dict[int, _Rung] = defaultdict(_Rung)  # by its epoch
        self._passed: dict[int, set[int]] = defaultdict(set)  # by rung, the trials that have gone on from it
        self._rungs: dict[tuple[int, int], int] = {}  # by (trial, epoch), the rung that it reached with that epoch

    def take(
        self, number: int, curve: Mapping[int, tuple[float, ...]], *, violation: float = 0.0, length: float = 1.0
    ) -> None:
        """Record a trial's values at the rungs; the values at a rung are recorded once.

        Args:
            curve: its objectives after each epoch.
            length: of the trial, as a share of that of the longest. It reaches a rung after the same share of its own
                epochs as the longest: otherwise short trials would end before they are judged.
            violation: by how much it violates the study's constraints; above 0, it is behind all that satisfy them, and
                the smaller the better (Deb 2000, An efficient constraint handling method for genetic algorithms).
        """
        if not curve:
            return
        last, rung = max(curve), self.first
        while rung <= self._last and rung * length <= last:
            reached = min(epoch for epoch in curve if epoch >= rung * length)
            if reached < last:
                self._passed[rung].add(number)
            if number not in self._reached[rung]:
                # A trial is ranked by its best epoch, because that has also its final values.
                costs = {epoch: self._objectives.costs(values) for epoch, values in curve.items() if epoch <= reached}
                best = min(costs, key=lambda epoch: (costs[epoch][0], epoch))
                self._reached[rung].add(number, costs[best], max(0.0, violation))
                self._rungs[number, reached] = rung
            rung *= self._eta

    def halving(self, epochs: int) -> Halving:
        """Where the trials stand, each of at most so many epochs, for a forecast."""
        order, rung = {}, self.first
        while rung < epochs and rung <= self._last:
            order[rung] = self._reached[rung].order
            rung *= self._eta
        return Halving(self._eta, order)

    def verdict(self, number: int, epoch: int) -> Verdict:
        """A trial continues after an epoch that is no rung, and where it is among the best at its rung."""
        behind = self._places_behind(number, epoch)
        if behind <= 0:
            return Verdict.CONTINUE
        return Verdict.PAUSE if self.promotes and behind <= PLACES_BEHIND else Verdict.PRUNE

    def _places_behind(self, number: int, epoch: int) -> int:
        """How many places a trial is behind those that pass; 0 or less for one of them."""
        rung = self._rungs.get((number, epoch))
        if rung is None:
            return 0
        behind = 1 + self._reached[rung].place(number) - len(self._reached[rung]) // self._eta
        return behind if self._room(rung) > 0 else max(1, behind)

    def _room(self, rung: int) -> float:
        """How many more trials may go on from there."""
        if not self._objectives.are_several or not self.promotes:
            return math.inf
        return len(self._reached[rung]) // self._eta - len(self._passed[rung])

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
            reached = self._reached[rung]
            place = reached.place(number)
            if place < max(len(reached) // self._eta, int(is_last)):
                chosen.append((-rung, place, number))
        if is_last:
            return [number for _, _, number in sorted(chosen)]
        room = {rung: self._room(-rung) for rung, _, _ in chosen}
        found = []
        for rung, _, number in sorted(chosen):
            if room[rung] > 0:
                room[rung] -= 1
                found.append(number)
        return found


class _Rung:
    """The trials that have reached a rung, the best first."""

    def __init__(self) -> None:
        self._costs: dict[int, Costs] = {}
        self._violations: dict[int, float] = {}
        self._order: list[int] = []  # of several objectives, empty until it is asked for
        self._places: dict[int, int] = {}

    def __contains__(self, number: int) -> bool:
        return number in self._costs

    def __len__(self) -> int:
        return len(self._costs)

    def add(self, number: int, costs: Costs, violation: float) -> None:
        self._costs[number], self._violations[number] = costs, violation
        if len(costs) == 1:
            insort(self._order, number, key=self._key)
        else:  # it may change the places of all others
            self._order = []

    @property
    def order(self) -> list[int]:
        if not self._order:
            self._rank()
        return list(self._order)

    def place(self, number: int) -> int:
        """0 of the best one; ties are ranked by number: with a metric of few values, all would pass otherwise."""
        if len(self._costs[number]) == 1:
            return bisect_left(self._order, self._key(number), key=self._key)
        if not self._order:
            self._rank()
        return self._places[number]

    def _rank(self) -> None:
        feasible = {number: costs for number, costs in self._costs.items() if self._violations[number] == 0}
        self._order = ranked(feasible) + sorted(self._costs.keys() - feasible.keys(), key=self._key)
        self._places = {number: place for place, number in enumerate(self._order)}

    def _key(self, number: int) -> tuple[float, Costs, int]:
        return self._violations[number], self._costs[number], number
