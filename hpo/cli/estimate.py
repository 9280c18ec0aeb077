"""What `hpo check` says of the time and the disk space that a study is expected to take."""

from __future__ import annotations

from collections.abc import Callable

from hpo.printable import counted
from hpo.service.estimate import Estimate, Span


def time_in_words(found: Estimate, *, hours: float | None) -> str:
    """`about 25 minutes (12 minutes to 45 minutes) on 2 slots without pruning, by batch_size`.

    Args:
        hours: the study's limit.
    """
    if found.trial_seconds is None:
        batches = _between(found.batch_seconds.times(1000), _duration)
        text = f"not known, because {found.unknown}; about {batches} for 1,000 batches"
        return text + _where(found, found.batch_seconds)
    if found.seconds is None:
        text = f"about {_between(found.trial_seconds, _duration)} a trial{_where(found, found.trial_seconds)}"
    else:
        slots = counted(found.slots, "slot")
        text = f"about {_between(found.seconds, _duration)} on {slots} without pruning{_where(found, found.seconds)}"
        if found.seconds_with_rungs is not None:
            text += f"; about {_duration(found.seconds_with_rungs)} with its rungs"
    is_limited = hours is not None and (found.seconds is None or found.seconds.most > 3600 * hours)
    return f"{text}; it ends after {_duration(3600 * hours)} at the latest" if is_limited and hours else text


def disk_in_words(found: Estimate) -> str:
    """`about 40 MB a checkpoint (14 MB its weights), 70 MB kept (5 trials); up to 94 MB for each that ...`."""
    weights, state, kept = found.weights_bytes, found.state_bytes, found.kept_bytes
    text = f"about {_size(state.usual)} a checkpoint ({_size(weights.usual)} its weights), "
    text += f"{_size(kept.usual)} kept ({counted(found.kept, 'trial')})" if found.kept else "none kept"
    if state.least != state.most:
        text += f"; at most {_size(state.most)} and {_size(kept.most)}"
    return f"{text}; up to {_size(found.running_bytes.most)} for each that runs or is paused"


def _between(span: Span, shown: Callable[[float], str]) -> str:
    """`25 minutes`, or `25 minutes (12 minutes to 45 minutes)` where the configurations differ."""
    least, usual, most = (shown(value) for value in (span.least, span.usual, span.most))
    return usual if least == most else f"{usual} ({least} to {most})"


def _where(found: Estimate, span: Span) -> str:
    return f", by {', '.join(found.varied)}" if found.varied and span.least != span.most else ""


def _duration(seconds: float) -> str:
    """`40 seconds`, `3.5 hours`: two digits, since no estimate is more exact."""
    if seconds < 0.95:
        return f"{_rounded(seconds)} seconds"
    for unit, length, most in (("second", 1, 90), ("minute", 60, 90 * 60), ("hour", 3600, 48 * 3600)):
        if seconds < most:
            return _counted(seconds / length, unit)
    return _counted(seconds / 86400, "day")


def _counted(number: float, unit: str) -> str:
    rounded = _rounded(number)
    return f"{rounded} {unit}{'' if rounded == '1' else 's'}"


def _size(count: float) -> str:
    """`14 MB`: of a thousand kB each, as disks are sold."""
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if count >= 0.95 * size:
            return f"{_rounded(count / size)} {unit}"
    return f"{_rounded(count / 1e3)} kB"


def _rounded(number: float) -> str:
    return f"{float(f'{number:.2g}'):,g}"
