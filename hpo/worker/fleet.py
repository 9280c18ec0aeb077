"""How often a worker polls, reads others' trials and tries to claim: the larger and slower its fleet, the less often.

A worker alone does not notice it. A fleet that is too large for its database slows down instead of standing still:
connections and processors stay free for heartbeats and reports. The figures were chosen with 400 workers on two cores,
see benchmarks/README.md, `fleet`.
"""

from __future__ import annotations

# More workers than these do not wait for each other's claims.
LARGE_FLEET = 20
# A request must be seen within 5 s, and a lost trial be claimed again within three heartbeats.
LONGEST_FACTOR = 2.5
FIRST_BUSY_PAUSE = 0.05  # seconds, after a claim that found another one under way

# So many can poll every second without much load on a small database: see docs/scaling.md.
_WORKERS_A_SECOND = 50
# A poll that takes long is followed by so many times its own duration: all workers' polls then occupy about so many
# of a small database's connections at most.
_LEAST_POLL_REST, _POLLS_AT_ONCE = 4.0, 10
# To read the curves of all trials takes longer the more workers there are: at most a tenth of a worker's time, and all
# workers together spend half of one's.
_LEAST_SYNC_REST, _SYNC_REST_OF_A_WORKER = 9.0, 2.0
_CLAIMS_A_SECOND = 100  # that all workers together may try, most of them in vain


def poll_pause(seconds: float, *, workers: int, took: float) -> float:
    """Seconds until the next poll.

    Args:
        seconds: while workers are few.
        took: the seconds of the last one.
    """
    by_number = seconds * min(LONGEST_FACTOR, max(1.0, workers / _WORKERS_A_SECOND))
    return max(by_number, max(_LEAST_POLL_REST, workers / _POLLS_AT_ONCE) * took)


def sync_pause(*, workers: int, took: float) -> float:
    """Seconds until the curves of others' trials are read again; the last reading took so many."""
    return max(_LEAST_SYNC_REST, _SYNC_REST_OF_A_WORKER * workers) * took


def next_busy_pause(pause: float, *, workers: int) -> float:
    """Seconds until a claim is tried again that found another one under way once more, after this pause."""
    return min(2 * pause, max(FIRST_BUSY_PAUSE, workers / _CLAIMS_A_SECOND))
