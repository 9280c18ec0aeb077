"""The study that a free slot goes to: every study gets its share of the slots' time, in proportion to its priority.

This is start-time fair queueing. A study's turn grows by the slot seconds it uses, divided by its priority, and the
study with the lowest turn comes next. A study that had nothing to train is not compensated for that later: its turn is
at least the turn of the study that was served last.
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
        """The expected seconds of the study's next trial."""
        return self.seconds / self.ended if self.ended else FIRST_GUESS_SECONDS


class FairShare:
    """The slot time that one worker gave to each of its studies, by the study's number in the store."""

    def __init__(self) -> None:
        self._accounts: dict[int, _Account] = {}
        self._now = 0.0  # the turn of the study that was served last

    def turn(self, study: int) -> float:
        """The lowest comes first."""
        return max(self._account(study).turn, self._now)

    def begin(self, study: int, *, priority: float) -> None:
        """A trial of the study has begun: until it ends, it is charged with the mean of the ones before it."""
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
        """The study is over; if it is extended later, it starts like a new one."""
        self._accounts.pop(study, None)

    def _account(self, study: int) -> _Account:
        return self._accounts.setdefault(study, _Account())
