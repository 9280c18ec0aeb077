"""The durations by which workers coordinate, and for which they wait: attributes of the open store."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields

from hpo.errors import SpecError, nearest

VARIABLE = "HPO_TIMING"


@dataclass
class Patience:
    """How long a process waits for a database that does not answer.

    A person waits as long as it takes. A worker has leases to renew: for it, a server that is suspended, or a file that
    another program keeps locked, is an outage like any other.

    Attributes:
        seconds: without an answer, or for a lock of SQLite's file; None without a limit on a server, 60 s for a lock.
    """

    seconds: float | None = None


@dataclass(frozen=True)
class Timing:
    """Durations in seconds; decision 8 gives the reasons for the defaults.

    All workers of a store should use the same. Tests, and users of a remote store, set `HPO_TIMING`.

    Attributes:
        heartbeat: between two heartbeats of a worker, which also renew its leases.
        lease: for which a trial belongs to a worker without a heartbeat; at least two heartbeats.
        drain: for which trials may finish their epoch when their worker is asked to end; preemption grants about 30 s.
        poll: between two polls of the store by a worker: how soon it sees requests.
    """

    heartbeat: float = 5.0
    lease: float = 12.0
    drain: float = 20.0
    poll: float = 1.0

    @property
    def answer(self) -> float:
        """How long a worker waits for the store's answer: a heartbeat that was on time can then still be repeated."""
        return max(1.0, self.lease - self.heartbeat - 2.0)

    @property
    def stall(self) -> float:
        """Without an answer of the store for so long, other workers may have missed to renew their leases."""
        return self.lease - 1.5 * self.heartbeat

    @staticmethod
    def of_environment() -> Timing:
        """From HPO_TIMING, such as `heartbeat=1,lease=3`; the defaults for the rest.

        Raises:
            SpecError: it is malformed, or the lease is shorter than two heartbeats.
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
                f"{VARIABLE}: a lease of {timing.lease:g} s would expire before the second of two heartbeats, which "
                f"are {timing.heartbeat:g} s apart: give lease at least {2 * timing.heartbeat:g}"
            )
        return timing
