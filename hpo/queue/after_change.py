"""What a change of a study's limits means for its trials: some idle ones end, and a person is told about the others."""

from __future__ import annotations

from sqlalchemy import Connection

from hpo.queue.idle import end_idle_trials
from hpo.queue.progress import Progress, progress_of
from hpo.study.limits import UNLIMITED
from hpo.study.states import StudyState


def apply_limits(connection: Connection, study_id: int, name: str, *, hours: float) -> str:
    """End the idle trials that the study's limits, as they are now, leave no need for.

    Args:
        name: of the study.
        hours: that it has spent, see `wall_clock_kept`.

    Returns:
        What happens to its trials, to follow a sentence: empty where they go on as before.
    """
    limit = progress_of(connection, study_id, hours=hours).limit
    ended = len(end_idle_trials(connection, study_id, limit=limit))
    found = progress_of(connection, study_id, hours=hours)
    if found.state != StudyState.RUNNING and not ended:
        return ""
    if limit is None and found.counts.claimed <= found.counts.target and not ended:
        return _without_end(found, name)
    reason = limit or f"{_trials(found.counts.claimed)} {'has' if found.counts.claimed == 1 else 'have'} begun already"
    parts = [f"{_trials(ended)} that did not run {_are(ended)} ended"] if ended else []
    parts += _of_begun(found, is_spent=limit is not None)
    parts += ["and no other one begins" if parts else "no other one begins"]
    return f". {reason[0].upper()}{reason[1:]}: {', '.join(parts)}"


def _of_begun(found: Progress, *, is_spent: bool) -> list[str]:
    """What becomes of those that have begun and not ended."""
    counts, parts = found.counts, []
    if counts.running:
        is_one = counts.running == 1
        goes_on = f"end{'s' * is_one} after the present epoch" if is_spent else f"go{'es' * is_one} on"
        parts.append(f"{counts.running} running {goes_on}")
    if counts.paused:
        parts.append(f"{counts.paused} paused at a rung {_are(counts.paused)} promoted or pruned as before")
    if idle := counts.idle - counts.held:
        parts.append(f"{idle} idle {_are(idle)} continued while fewer than {counts.target} have ended")
    if counts.held:
        parts.append(f"{counts.held} paused by request wait{'s' * (counts.held == 1)}")
    return parts


def _without_end(found: Progress, name: str) -> str:
    if found.counts.target != UNLIMITED or any(limit is not None for limit in found.limits.values()):
        return ""
    return f". No limit is left: workers train it until 'hpo stop {name}'"


def _trials(count: int) -> str:
    return f"{count} trial{'s' * (count != 1)}"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"
