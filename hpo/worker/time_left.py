"""The time that a study is expected to take from now: what is left of it, at the pace of its trials so far."""

from __future__ import annotations

import time
from collections import deque

from hpo.printable import duration_between
from hpo.search.forecast import Rest, SearchSoFar, rest_of_search
from hpo.worker.loop import Worker
from hpo.worker.study_run import StudyRun

# A pace over fewer seconds than this says little.
SECONDS_FOR_A_PACE = 3.0
SECONDS_BETWEEN_FORECASTS = 1.0
MOST_SAMPLES = 500


class Pace:
    """How many epochs are trained a minute: in the latter half of the time so far, since later trials may be larger."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()  # (monotonic seconds, epochs of all trials)

    def take(self, now: float, *, epochs: int) -> None:
        """Note the epochs of all trials; nothing counts before the first one ends."""
        if not self._samples:
            self._samples.append((now, epochs))
            return
        first = self._samples[0]
        if epochs == first[1]:  # the import of torch and the first batch take longer than others
            self._samples.clear()
        self._samples.append((now, epochs))
        if len(self._samples) > MOST_SAMPLES:
            self._samples = deque([first, *list(self._samples)[2::2]])

    @property
    def epochs_a_minute(self) -> float | None:
        """Of all trials together; None while too little is known."""
        if not self._samples:
            return None
        first, (now, epochs) = self._samples[0], self._samples[-1]
        if now - first[0] < SECONDS_FOR_A_PACE:
            return None
        start = next(sample for sample in reversed(self._samples) if sample[0] <= (first[0] + now) / 2)
        if start[1] >= epochs:
            start = first
        return 60 * (epochs - start[1]) / (now - start[0]) if epochs > start[1] else None


class TimeLeft:
    """The expected rest of one study, as its worker sees it.

    Attributes:
        pace: of its trials.
        so_far: what the last forecast was made from; None where the number of trials has no limit.
        rest: the epochs that are left, likewise.
    """

    def __init__(self, worker: Worker, run: StudyRun) -> None:
        self.pace = Pace()
        self.so_far: SearchSoFar | None = None
        self.rest: Rest | None = None
        self._worker = worker
        self._run = run
        self._forecast_at = 0.0  # monotonic seconds

    def look(self) -> None:
        """Take note of what has been trained; to be called a few times a second."""
        now, run = time.monotonic(), self._run
        # The worker's own trials as of now; those of others as of the last poll.
        running = max(len(self._worker.trials), run.counts.running)
        self.pace.take(now, epochs=run.epochs_trained)
        if now >= self._forecast_at:
            self._forecast_at = now + SECONDS_BETWEEN_FORECASTS
            self.so_far = run.so_far(slots=max(len(self._worker.slots), running))
            self.rest = None if self.so_far is None else rest_of_search(self.so_far)

    @property
    def share(self) -> float | None:
        """The share of the study's epochs that have been trained; None where no end of them is in sight."""
        if self.rest is None:
            return None
        whole = self._run.epochs_trained + self.rest.epochs
        return self._run.epochs_trained / whole if whole else 0.0

    @property
    def seconds(self) -> tuple[float, float] | None:
        """How long the study is expected to take from now, at least and at most; None where no limit is in sight, or
        no epoch has been trained yet.
        """
        progress = self._run.progress
        devices = self._worker.slots[0].ranks * max(len(self._worker.slots), progress.counts.running)
        found = [(seconds, seconds) for seconds in progress.seconds_to_limits(devices)]
        if self.rest is not None and self.so_far is not None and self.so_far.paces:
            found.append((self.rest.least, self.rest.most))
        if not found:
            return None
        least, most = (max(0.0, min(ends)) for ends in zip(*found, strict=True))
        return least, most

    @property
    def in_words(self) -> str:
        """`42 s`, or `42 s to 3 min 20 s` where it is not known better; empty where it is not known."""
        return "" if self.seconds is None else duration_between(*self.seconds)
