"""Consecutive failures of a study's trials: five with the same cause stop it, unless the trials diverged.

A hundred that were refused for a constraint stop it too: its space has no feasible point, or hardly any.
"""

from __future__ import annotations

import logging
from collections import Counter

from hpo.queue.progress import load_progress, recent_causes
from hpo.queue.studies import StoredStudy, set_study_state
from hpo.store import Store
from hpo.study.constraints import REFUSALS_THAT_STOP
from hpo.study.states import AttemptEnd, StudyState

log = logging.getLogger(__name__)

FAILURES_THAT_STOP = 5


class Failures:
    """One study's failures, as one worker sees them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._has_warned = False

    def add(self, study: StoredStudy, end: AttemptEnd) -> None:
        """A trial has failed for good: stop the study when too many have in a row."""
        if end == AttemptEnd.KILLED:  # a person asked for it
            return
        if end == AttemptEnd.REFUSED:
            self._stop_where_all_are_refused(study)
            return
        causes = recent_causes(self._store, study.study_id, FAILURES_THAT_STOP)
        if len(causes) < FAILURES_THAT_STOP or len({cause for cause, _ in causes}) != 1 or causes[0][0] is None:
            return
        cause, error = causes[0]
        if cause == AttemptEnd.DIVERGED:
            # The code works, these parameters do not: the search is to find others.
            self._warn_of_divergence(study)
            return
        reason = f"{FAILURES_THAT_STOP} trials in a row failed with the same cause: {cause}\n{(error or '').strip()}"
        set_study_state(self._store, study.study_id, StudyState.STOPPED, reason)

    def _stop_where_all_are_refused(self, study: StoredStudy) -> None:
        causes = recent_causes(self._store, study.study_id, REFUSALS_THAT_STOP)
        begins = f"{AttemptEnd.REFUSED}: "
        if len(causes) < REFUSALS_THAT_STOP or not all((cause or "").startswith(begins) for cause, _ in causes):
            return
        violated = Counter(text for cause, _ in causes for text in (cause or "").removeprefix(begins).split(", "))
        counts = ", ".join(f"{text} (violated by {count})" for text, count in violated.most_common())
        reason = (
            f"{REFUSALS_THAT_STOP} trials in a row were refused before they trained: {counts}\nThe last one: "
            f"{causes[0][1]}. Widen the space to where these hold, or loosen them"
        )
        set_study_state(self._store, study.study_id, StudyState.STOPPED, reason)

    def _warn_of_divergence(self, study: StoredStudy) -> None:
        counts = load_progress(self._store, study.study_id).counts
        if self._has_warned or counts.complete or counts.pruned:
            return
        self._has_warned = True
        log.warning(
            "study %s: no trial has completed, and the last %d diverged: %s was not a finite number. Its ranges may "
            "be too wide (learning rates?), or its data may contain values that are not finite. The search continues; "
            "'hpo stop %s' ends it",
            study.name, FAILURES_THAT_STOP, study.resolved.spec.objective.metric, study.name,
        )  # fmt: skip
