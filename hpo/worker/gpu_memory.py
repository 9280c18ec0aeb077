"""Makes room on a GPU for a trial: processes that wait for another trial of their study keep its data there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hpo.ipc.fork_server import ForkServer
from hpo.study.gpus import free_share

LEAST_FREE_SHARE = 0.5  # of a GPU's memory, at the start of a trial beside idle processes


def make_room(others: Iterable[ForkServer], devices: Sequence[str]) -> None:
    """End other studies' idle processes on these GPUs, if these have little memory left.

    Args:
        others: the servers of the other studies.
    """
    idle = [(server, found) for server in others if (found := server.idle_on(devices))]
    if idle and free_share(devices) < LEAST_FREE_SHARE:
        for server, processes in idle:
            server.dismiss(processes)
