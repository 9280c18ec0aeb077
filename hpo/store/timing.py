"""How long workers wait for each other: one record, which a store carries to whoever asks it."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields

from hpo.errors import SpecError, nearest

VARIABLE = "HPO_TIMING"


@dataclass(frozen=True)
class Timing:
    """Seconds; the defaults are what decision 8 gives reasons for.

    All workers of a store should have the same. Tests, and people with a store that is far away, set `HPO_TIMING`.

    Attributes:
        heartbeat: between two signs of life of a worker, which also renew its leases.
        lease: for which a trial belongs to a worker that gives no sign of life; two heartbeats and more.
        drain: for which trials may finish their epoch when their worker is asked to end; preemption grants about 30 s.
        poll: between two looks of a worker into the store: how soon it sees what was requested.
    """

    heartbeat: float = 5.0
    lease: float = 12.0
    drain: float = 20.0
    poll: float = 1.0

    @staticmethod
    def of_environment() -> Timing:
        """As HPO_TIMING says it, such as `heartbeat=1,lease=3`; the defaults without it.

        Raises:
            SpecError: it is written in another way, or a lease would not outlive two heartbeats.
        """
        known = [field.name for field in fields(Timing)]
        values: dict[str, float] = {}
        for part in filter(None, os.environ.get(VARIABLE, "").split(",")):
            name, _, text = part.strip().partition("=")
            if name not in known:
                raise SpecError(
                    f"{VARIABLE}: '{name}' is not known{nearest(name, known) or '.'} Use {', '.join(known)}"
                )
            try:
                values[name] = float(text)
            except ValueError:
                values[name] = 0.0
            if not 0 < values[name] < float("inf"):
                raise SpecError(f"{VARIABLE}: {part.strip()} should be a number of seconds above 0, such as {name}=2.5")
        timing = Timing(**values)
        if timing.lease < 2 * timing.heartbeat:
            raise SpecError(
                f"{VARIABLE}: a lease of {timing.lease:g} s would end before the second of two heartbeats, which are "
                f"{timing.heartbeat:g} s apart: give lease at least {2 * timing.heartbeat:g}"
            )
        return timing
