"""The worker's end of a trial's channel, for trainings in the process of the test."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from hpo.ipc.channel import Channel, ChannelClosedError
from hpo.training.worker_connection import WorkerConnection


class Worker:
    """The other end of a trial's channel: answers every epoch, and asks for a checkpoint and the end at one of them.

    Args:
        best_at: the epochs at which the weights are to be taken as the best.
        is_pruned: at the end nothing is asked for, and what was taken is to be dropped.
    """

    def __init__(self, end_at: int, best_at: Sequence[int] = (), *, is_pruned: bool = False) -> None:
        self._end_at = end_at
        self._best_at = best_at
        self._is_pruned = is_pruned
        self._channel, theirs = Channel.pair()
        self.connection = WorkerConnection(Channel(theirs))
        self.values: dict[int, float] = {}
        self.metrics: dict[int, dict[str, float]] = {}
        self.warnings: list[str] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                message = self._channel.receive()
            except ChannelClosedError:
                return
            if message["kind"] == "warning":
                self.warnings.append(message["text"])
            if message["kind"] == "epoch":
                self.values[message["epoch"]] = message["value"]
                self.metrics[message["epoch"]] = message["metrics"]
                is_end, is_pruned = message["epoch"] == self._end_at, self._is_pruned
                answer = {"stop": is_end, "checkpoint": is_end and not is_pruned, "drop": is_end and is_pruned}
                self._channel.send(answer | {"save": message["epoch"] in self._best_at})
