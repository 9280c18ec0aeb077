"""What is left of a search: it is played out, with trials that end as those so far have ended.

A total that is known to a tenth says little of the last tenth. So the trials that have begun go on from where they are,
new ones take the free slots, rungs promote, and what is left is counted. A trial ends by itself (complete, by early
stopping, by a pruner that stops for good, by an error) after so many epochs as the Kaplan-Meier estimate (Kaplan and
Meier 1958) of those so far says, in which trials that still run or wait at a rung are censored. At a rung, a trial
takes such a place among those before it as the later ones so far have taken. An epoch takes a trial as long as its
epochs so far, and a new trial as long as those of any other: networks of one search differ by a factor of ten.
"""

from __future__ import annotations

import heapq
import random
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

# New trials that are played out; of a larger study, the rest is in proportion.
MOST_PLAYED = 300
# The mean of several plays: of as many as need together this many trials, but not more than these.
TRIALS_OF_PLAYS, MOST_PLAYS = 600, 24
# Between these shares of the plays lies what is said to be left.
LOW, HIGH = 0.1, 0.9
# For so many trials counts what is usual, until there are trials.
PRIOR_TRIALS = 5.0


class Stage(StrEnum):
    """Where a trial stands that has begun."""

    OPEN = "open"
    """It runs, or any worker may continue it."""
    AT_RUNG = "waits at a rung"
    """It is paused at a rung, and may be promoted."""
    BEHIND = "behind"
    """Its rungs have pruned it."""
    ENDED = "ended"
    """It has ended for any other reason."""


@dataclass(frozen=True)
class Begun:
    """A trial that has begun: its number, the epochs that it has trained, and where it stands."""

    number: int
    epochs: int
    stage: Stage


@dataclass(frozen=True)
class Halving:
    """The rungs of a study that promotes trials: one in `eta` passes.

    Attributes:
        order: by the epoch of the rung, the numbers of the trials that have reached it, the best first.
    """

    eta: int
    order: Mapping[int, Sequence[int]]


@dataclass(frozen=True)
class SearchSoFar:
    """What a forecast is made from.

    Attributes:
        begun: the trials so far.
        trials: that the study is to have.
        epochs: the most of a trial.
        slots: trials at a time.
        halving: of a study that promotes trials.
        unjudged: the first so many trials are pruned in no case.
        shares: by report, of trials that usually go on after it, see `usual_shares`; they count as PRIOR_TRIALS trials.
        interval: how far apart a trial's reports are: an epoch, or so many steps; then all lengths are in steps.
        paces: seconds of an epoch (or step), by trial's number; without any, each epoch counts as a second.
    """

    begun: Sequence[Begun]
    trials: int
    epochs: int
    slots: int
    halving: Halving | None = None
    unjudged: int = 0
    shares: Mapping[int, float] = field(default_factory=dict)
    interval: int = 1
    paces: Mapping[int, float] = field(default_factory=dict)

    def in_reports(self) -> SearchSoFar:
        """The same with all lengths as numbers of reports, between which nothing happens."""

        def reports(length: int) -> int:
            return -(-length // self.interval)

        begun = [replace(trial, epochs=reports(trial.epochs)) for trial in self.begun]
        halving = self.halving
        if halving is not None:
            halving = Halving(halving.eta, {reports(rung): order for rung, order in halving.order.items()})
        paces = {number: pace * self.interval for number, pace in self.paces.items()} or {0: float(self.interval)}
        return replace(self, begun=begun, epochs=reports(self.epochs), halving=halving, interval=1, paces=paces)


@dataclass(frozen=True)
class Rest:
    """What is left of a search.

    Attributes:
        epochs: of all trials together.
        seconds: when each slot trains one trial at a time.
        least, most: seconds; eight of ten ways in which the search may go on lie between them.
    """

    epochs: float
    seconds: float
    least: float
    most: float


def rest_of_search(so_far: SearchSoFar) -> Rest:
    """What is left of a search; the same for the same trials."""
    if so_far.interval > 1:
        found = rest_of_search(so_far.in_reports())
        return replace(found, epochs=so_far.interval * found.epochs)
    begun = so_far.begun
    new = max(0, so_far.trials - len(begun))
    played = min(new, MOST_PLAYED)
    judged = [trial for trial in begun if trial.number >= so_far.unjudged]
    ends = Ends(judged, most=so_far.epochs, shares=so_far.shares)
    unfinished = sum(trial.stage in (Stage.OPEN, Stage.AT_RUNG) for trial in begun)
    plays = max(1, min(MOST_PLAYS, TRIALS_OF_PLAYS // (played + unfinished + 1)))
    places = {rung: Places(order) for rung, order in so_far.halving.order.items()} if so_far.halving else {}
    played_out = [_Play(so_far, ends, places, seed).play(played) for seed in range(plays)]
    scale = new / played if played else 1.0
    seconds = sorted(scale * played_seconds for _, played_seconds in played_out)
    return Rest(
        epochs=scale * sum(trained for trained, _ in played_out) / plays,
        seconds=sum(seconds) / plays,
        least=seconds[round(LOW * (plays - 1))],
        most=seconds[round(HIGH * (plays - 1))],
    )


class Ends:
    """After how many epochs trials end by themselves.

    Args:
        begun: trials so far, the earliest first; later ones tell more of those to come.
        most: epochs of a trial.
        shares: see `SearchSoFar`.
    """

    def __init__(self, begun: Sequence[Begun], *, most: int, shares: Mapping[int, float] | None = None) -> None:
        ended, reached = [0.0] * (most + 1), [0.0] * (most + 1)
        for place, trial in enumerate(begun):
            weight = ((place + 1) / len(begun)) ** 2  # a pruner compares with more, and a sampler knows more
            reached[min(trial.epochs, most)] += weight
            if trial.stage == Stage.ENDED:
                ended[min(trial.epochs, most)] += weight
        at_risk, survival = sum(reached), 1.0
        self._lasting: list[float] = []  # the share of trials that train for more than 0, 1, 2, ... epochs
        for epoch in range(most):
            usual = (shares or {}).get(epoch)
            prior = 0.0 if usual is None else PRIOR_TRIALS
            if at_risk + prior > 0:
                survival *= max(0.0, 1 - (ended[epoch] + prior * (1 - (usual or 0.0))) / (at_risk + prior))
            at_risk -= reached[epoch]
            self._lasting.append(survival)
        self._lasting.append(0.0)

    @property
    def mean(self) -> float:
        """The mean of a trial's epochs."""
        return sum(self._lasting)

    def draw(self, after: int, chosen: random.Random) -> int:
        """The last epoch of a trial that goes on after this one; of a new one, after 0, it may be 0."""
        most = len(self._lasting) - 1
        level = self._lasting[after] if after else 1.0
        if level <= 0:  # none has gone on from here so far
            return most
        drawn = chosen.random() * level
        return min(bisect_left(self._lasting, -drawn, key=lambda share: -share), most)


class Places:
    """At which place among those before them trials come to a rung: the better the sampler, the better these are.

    Args:
        order: the numbers of the trials that have reached it, the best first.
    """

    def __init__(self, order: Sequence[int]) -> None:
        before: list[int] = []
        shares = []
        for place in (place for _, place in sorted((number, place) for place, number in enumerate(order))):
            shares.append(bisect_left(before, place) / len(before) if before else 0.5)
            insort(before, place)
        self._shares = shares[len(shares) // 2 :]  # of the later ones

    def draw(self, others: int, chosen: random.Random) -> int:
        """The place of the next trial among so many others; 0 is the best."""
        if chosen.random() * (len(self._shares) + PRIOR_TRIALS) < PRIOR_TRIALS:
            return chosen.randint(0, others)
        return round(chosen.choice(self._shares) * others)


@dataclass
class _Play:
    """One way in which the search may go on."""

    so_far: SearchSoFar
    ends: Ends
    places: Mapping[int, Places]  # by rung
    seed: int
    _reached: dict[int, int] = field(default_factory=dict)
    _paces: dict[int, float] = field(default_factory=dict)
    _order: dict[int, list[int]] = field(default_factory=dict)
    _paused: set[int] = field(default_factory=set)
    _last: dict[int, int] = field(default_factory=dict)  # the epoch after which each ends by itself

    def play(self, new: int) -> tuple[int, float]:
        """(epochs, seconds) until all have ended, with so many new trials."""
        self._chosen, self._chosen_paces = (random.Random(self.seed) for _ in range(2))  # noqa: S311 (nothing is secret)
        self._reached = {trial.number: trial.epochs for trial in self.so_far.begun}
        self._paused = {trial.number for trial in self.so_far.begun if trial.stage == Stage.AT_RUNG}
        self._paces = dict(self.so_far.paces)
        self._known_paces = list(self._paces.values()) or [1.0]
        halving = self.so_far.halving
        self._order = {} if halving is None else {rung: list(order) for rung, order in halving.order.items()}
        first = max(self._reached, default=-1) + 1
        ready = deque(trial.number for trial in self.so_far.begun if trial.stage == Stage.OPEN)
        ready.extend(self._promoted_at_first())
        fresh = deque(range(first, first + new))
        running: list[tuple[float, int, int]] = []  # (seconds until its next stop, epoch of it, trial)
        trained, now = 0, 0.0
        while True:
            while len(running) < max(1, self.so_far.slots):
                if not (ready or fresh or running):
                    ready.extend(self._promoted_at_last())
                if not (ready or fresh):
                    break
                number = (ready or fresh).popleft()
                start = self._reached.setdefault(number, 0)
                stop = self._next_stop(number)
                heapq.heappush(running, (now + (stop - start) * self._pace(number), stop, number))
            if not running:
                return trained, now
            now, stop, number = heapq.heappop(running)
            trained += stop - self._reached[number]
            self._reached[number] = stop
            if stop < self._last[number]:
                ready.extendleft(reversed(self._promoted_by(number, stop)))

    def _pace(self, number: int) -> float:
        """Seconds of an epoch of this trial: its own so far, or another one's."""
        if number not in self._paces:
            self._paces[number] = self._chosen_paces.choice(self._known_paces)
        return self._paces[number]

    def _next_stop(self, number: int) -> int:
        """The epoch of its next rung, or of its end."""
        reached = self._reached[number]
        if number not in self._last:
            self._last[number] = self.ends.draw(reached, self._chosen)
        return min([rung for rung in self._order if rung > reached] + [self._last[number]])

    def _promoted_by(self, number: int, rung: int) -> list[int]:
        """A trial reaches a rung: those that go on from there now, it or another one."""
        assert self.so_far.halving is not None
        order = self._order[rung]
        order.insert(self.places[rung].draw(len(order), self._chosen), number)
        passing = len(order) // self.so_far.halving.eta
        if number in order[:passing]:
            found = [number]
        else:
            found = []
            self._paused.add(number)
        if passing and self._is_paused_at(order[passing - 1], rung):
            self._paused.discard(order[passing - 1])
            found.append(order[passing - 1])
        return found

    def _promoted_at_first(self) -> list[int]:
        """Those that may go on from their rung, and wait for a slot."""
        eta = 1 if self.so_far.halving is None else self.so_far.halving.eta
        found = [
            number
            for rung, order in self._order.items()
            for number in order[: len(order) // eta]
            if self._is_paused_at(number, rung)
        ]
        self._paused.difference_update(found)
        return found

    def _promoted_at_last(self) -> list[int]:
        """Nothing else is left: the best at each rung, where it has not been promoted; one, from the highest rung."""
        for rung in sorted(self._order, reverse=True):
            order = self._order[rung]
            if order and self._is_paused_at(order[0], rung):
                self._paused.discard(order[0])
                return [order[0]]
        return []

    def _is_paused_at(self, number: int, rung: int) -> bool:
        return number in self._paused and self._reached[number] == rung
