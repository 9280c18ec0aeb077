"""Which study a free slot goes to: every study gets its share of the slots' time, by its priority.

This is start-time fair queueing. A study's turn moves on by the seconds that a slot gives to it, over its priority,
and the study whose turn is the lowest comes next. One that had nothing to train is not paid for that later: its turn
is at least the turn of the study that was served last.
"""

from __future__ import annotations

from dataclasses import dataclass, field

FIRST_GUESS_SECONDS = 1.0


@dataclass
class _Account:
    turn: float = 0.0
    seconds: float = 0.0  # of the trials that ended
    ended: int = 0
    guesses: list[float] = field(default_factory=list)  # seconds that running trials were charged with

    @property
    def guess(self) -> float:
        """How long the study's next trial will take."""
        return self.seconds / self.ended if self.ended else FIRST_GUESS_SECONDS


class FairShare:
    """What one worker gave to each of its studies, by the study's number in the store."""

    def __init__(self) -> None:
        self._accounts: dict[int, _Account] = {}
        self._now = 0.0  # the turn of the study that was served last

    def turn(self, study: int) -> float:
        """The lowest comes first."""
        return max(self._account(study).turn, self._now)

    def begin(self, study: int, *, priority: float) -> None:
        """A trial of the study has begun: until it ends, it is charged as the ones before it."""
        account = self._account(study)
        self._now = self.turn(study)
        account.guesses.append(account.guess)
        account.turn = self._now + account.guess / priority

    def end(self, study: int, *, priority: float, seconds: float) -> None:
        """It has ended, or was handed back, after so many seconds."""
        account = self._account(study)
        account.turn += (seconds - account.guesses.pop(0)) / priority
        account.seconds += seconds
        account.ended += 1

    def forget(self, study: int) -> None:
        """The study is over; should it go on one day, it begins like a new one."""
        self._accounts.pop(study, None)

    def _account(self, study: int) -> _Account:
        return self._accounts.setdefault(study, _Account())
