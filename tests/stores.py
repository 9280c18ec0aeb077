"""Writing into a store as a worker does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hpo.queue.claim import Claim
from hpo.queue.report import end_attempt
from hpo.store import Store


def write(store: Store, function: Callable[..., bool], *arguments: Any, **options: Any) -> bool:
    """Run one of hpo.queue.report in a transaction of its own; what it says."""
    with store.write() as connection:
        return function(connection, *arguments, **options)


def hand_back(store: Store, claim: Claim, *, seconds: float = 1.0) -> bool:
    """End the attempt as a worker does that is asked to end."""
    return write(store, end_attempt, claim, kind="preempted", cause="preempted: by its worker", seconds=seconds)
