"""Trains a configuration in processes of its study's server, outside of the study: nothing of it enters the store."""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hpo.errors import RunError
from hpo.ipc.fork_server import ForkedProcess
from hpo.ipc.incoming import InvalidMessageError, read_report
from hpo.ipc.messages import Answer, Done, Epoch, Failed, Report, Started, message_of
from hpo.service.prepare import PreparedStudy
from hpo.study.devices import Slot
from hpo.worker.jobs import trial_jobs


def retrain(
    prepared: PreparedStudy,
    config: Mapping[str, Any],
    *,
    trial: int,
    slot: Slot,
    directory: Path,
    answer: Callable[[Epoch], Answer],
) -> Started:
    """Train a configuration to its end, or until an answer ends it.

    Args:
        config: of a trial, see `trial_jobs`.
        trial: the number that its processes are told.
        directory: an empty folder for its log and its checkpoints.
        answer: to the report of an epoch, or of a validation of a trial in steps.

    Returns:
        What its process reported when the model was built.

    Raises:
        RunError: the training failed, or there was no step for the study's `stall_minutes`.
    """
    jobs = trial_jobs(prepared.resolved, config, trial=trial, slot=slot, project=prepared.project, directory=directory)
    # A process that is used once: nothing that another trial has left in it can have an effect.
    processes = [prepared.server.fork(replace(job, is_reusable=False, trainings=1)) for job in jobs]
    try:
        return _Retraining(prepared, answer).result(processes)
    finally:
        for process in processes:
            process.kill()
            process.channel.close()


class _Retraining:
    """The processes of one training, until rank 0 has ended or one of them fails."""

    def __init__(self, prepared: PreparedStudy, answer: Callable[[Epoch], Answer]) -> None:
        self._server = prepared.server
        self._answer = answer
        self._minutes = prepared.spec.budget.stall_minutes
        self._started: Started | None = None
        self._done: list[ForkedProcess] = []

    def result(self, processes: Sequence[ForkedProcess]) -> Started:
        with selectors.DefaultSelector() as selector:
            for process in processes:
                selector.register(process.channel, selectors.EVENT_READ, process)
            deadline = self._deadline()
            while ready := selector.select(deadline - time.monotonic()):
                for key, _ in ready:
                    self._take_messages(key.data)
                    if key.data in self._done:
                        selector.unregister(key.fileobj)
                if processes[0] in self._done and self._started is not None:
                    return self._started
                deadline = self._deadline()
        raise RunError(f"no step for {self._minutes:g} minutes")

    def _deadline(self) -> float:
        return time.monotonic() + 60 * self._minutes

    def _take_messages(self, process: ForkedProcess) -> None:
        messages, is_open = process.channel.receive_ready()
        if process.channel.garbled is not None:
            raise RunError(f"its process sent {process.channel.garbled}")
        for message in messages:
            try:
                self._take(read_report(message), process)
            except InvalidMessageError as error:
                raise RunError(f"its process sent {error}") from error
        if not is_open and process not in self._done:
            raise RunError(f"its process exited without reporting{self._server.end_of(process)}")

    def _take(self, report: Report, process: ForkedProcess) -> None:
        match report:
            case Started():
                self._started = report
            case Epoch():
                process.channel.send(message_of(self._answer(report)))
            case Failed():
                raise RunError(report.reason or report.error)
            case Done():
                self._done.append(process)
