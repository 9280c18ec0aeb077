"""Whether a search ends before all its trials have begun: it has tried every point, or more trials would not pay."""

from __future__ import annotations

from hpo.queue.budget import spent_of
from hpo.queue.progress import Progress
from hpo.queue.studies import StoredStudy, end_with_its_trials
from hpo.search.gain import expected_gain
from hpo.search.history import History
from hpo.store import Store
from hpo.study.spec import StudySpec
from hpo.study.states import StudyState


class EarlyEnd:
    """Of one study, as one worker sees it."""

    def __init__(self, store: Store, history: History) -> None:
        self._store = store
        self._history = history
        self._judged_at = 0  # trials that had ended when it was last asked whether to go on

    def room(self, study: StoredStudy, slots: int) -> tuple[int, str | None]:
        """For how many of these slots there are points that no trial has tried; and why the study ends, where it does.

        The number is one at least: a slot may go on with a trial that has begun.
        """
        untried = None if study.plan is not None else self._history.untried(study.resolved.space)
        if untried is None:
            return slots, None
        left, points = untried
        reason = f"all {points} points of its search space were tried"
        has_ended = left == 0 and end_with_its_trials(self._store, study.study_id, reason)
        return max(1, min(slots, left)), reason if has_ended else None

    def when_not_worth_going_on(self, study: StoredStudy, spec: StudySpec, progress: Progress) -> str | None:
        """Why the study ends now, see `hpo.search.gain`; asked once an end of a trial.

        Whoever sets the number of trials wants these, whatever they are worth.
        """
        counts = progress.counts
        has_ended, self._judged_at = counts.ended != self._judged_at, counts.ended
        is_open = progress.state == StudyState.RUNNING and counts.target == spec.budget.trials_target
        if spec.budget.price is None or not has_ended or not is_open:
            return None
        gain = expected_gain(self._history.curves(), spec.objective.direction)
        if gain is None:
            return None
        with self._store.read() as connection:
            spent = spent_of(connection, study.study_id, spec.objectives)
        reason = gain.reason_to_end(spec.objective.metric, device_hours=spent.gpu_hours, price=spec.budget.price)
        return reason if reason and end_with_its_trials(self._store, study.study_id, reason) else None
