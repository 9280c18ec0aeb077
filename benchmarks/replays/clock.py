"""Searches by ask and tell on a simulated clock, for the tools that `search_quality.py` compares with."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from hpo.search.simulate import Event

# Of a trial's parameters and number: the objective after each epoch, and the seconds of an epoch.
Curve = Callable[[dict[str, Any], int], tuple[Sequence[float], float]]


@dataclass(frozen=True)
class Budget:
    """What a search has.

    Attributes:
        epochs: of a complete trial.
        device_seconds: of all slots together.
    """

    epochs: int
    slots: int
    device_seconds: float
    seed: int


class Peer(Protocol):
    """A search of another tool."""

    def ask(self) -> tuple[int, Mapping[str, Any]]:
        """The next trial's number, and its parameters."""

    def report(self, trial: int, epoch: int, value: float) -> bool:
        """Take the value after an epoch; whether the trial trains another one. It is not asked for after its last."""

    def fail(self, trial: int) -> None:
        """The trial ran out of memory."""


def searched(peer: Peer, curve: Curve, budget: Budget) -> Iterator[Event]:
    """The search's epochs, as `hpo.search.simulate` gives those of ours."""
    order = itertools.count()
    ends: list[tuple[float, int, int]] = []  # (seconds, order, trial) of the epochs that are trained
    trials: dict[int, tuple[Mapping[str, Any], list[float], float]] = {}
    reached: dict[int, int] = {}

    def begin(now: float) -> None:
        number, params = peer.ask()
        values, seconds = curve(dict(params), number)
        trials[number], reached[number] = (params, list(values), seconds), 0
        heapq.heappush(ends, (now + seconds, next(order), number))

    for _ in range(budget.slots):
        begin(0.0)
    while True:
        now, _, number = heapq.heappop(ends)
        if now * budget.slots > budget.device_seconds:
            return
        params, values, seconds = trials[number]
        if not values:
            peer.fail(number)
            begin(now)
            continue
        reached[number] += 1
        epoch, value = reached[number], values[reached[number] - 1]
        yield Event(now * budget.slots, number, epoch, value, params)
        if peer.report(number, epoch, value) and epoch < len(values):
            heapq.heappush(ends, (now + seconds, next(order), number))
        else:
            begin(now)
