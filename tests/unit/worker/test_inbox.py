"""Ends of trial processes for which the kernel's count of kills tells why."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hpo.ipc.channel import Channel
from hpo.ipc.fork_server import ForkedProcess
from hpo.ipc.messages import Failed, message_of
from hpo.queue.claim import Claim
from hpo.study.devices import Slot
from hpo.study.states import AttemptEnd
from hpo.worker import inbox
from hpo.worker.inbox import take_messages
from hpo.worker.running_trial import RunningTrial

NO_RUN: Any = None  # of the study: these ends ask nothing of it
LOADER = "RuntimeError: DataLoader worker (pid 7) is killed by signal: Killed. "


@pytest.fixture
def process() -> Iterator[tuple[ForkedProcess, Channel]]:
    """A trial process that has sent nothing yet, and its own end of the channel."""
    ours, theirs = Channel.pair()
    own = Channel(theirs)
    yield ForkedProcess(ours), own
    ours.close()
    own.close()


def trial_of(process: ForkedProcess, folder: Path) -> RunningTrial:
    claim = Claim(study_id=1, trial_id=1, number=0, study="study", attempt_id=1, attempt=1, params={})
    trial = RunningTrial(claim, Slot(0, (), 1, 1), epochs=3, config={"epochs": 3}, directory=folder, claimed_at=0.0)
    trial.oom_kills, trial.processes = 4, [process]
    return trial


@pytest.mark.parametrize(
    ("kills", "error", "end", "cause"),
    [
        (5, LOADER, AttemptEnd.OUT_OF_MEMORY, "out of memory"),
        (4, LOADER, AttemptEnd.ERROR, "error: RuntimeError"),  # by a person
        (5, "RuntimeError: shapes differ", AttemptEnd.ERROR, "error: RuntimeError"),
    ],
)
def test_a_data_loader_that_the_kernel_killed_ran_out_of_memory(
    process: tuple[ForkedProcess, Channel], kills: int, error: str, end: AttemptEnd, cause: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    forked, own = process
    trial = trial_of(forked, tmp_path)
    monkeypatch.setattr(inbox, "oom_kills", lambda: kills)
    own.send(message_of(Failed("error: RuntimeError", error, error, "model")) | {"trial": 0})

    take_messages(trial, NO_RUN)

    assert (trial.end, trial.cause) == (end, cause)


@pytest.mark.parametrize(
    ("kills", "status", "end"),
    [
        (5, -signal.SIGKILL, AttemptEnd.OUT_OF_MEMORY),
        (4, -signal.SIGKILL, AttemptEnd.CRASH),
        (None, -signal.SIGKILL, AttemptEnd.CRASH),
        (5, -signal.SIGSEGV, AttemptEnd.CRASH),
    ],
)
def test_a_process_that_exits_without_reporting_ran_out_of_memory_if_the_kernel_killed_one(
    process: tuple[ForkedProcess, Channel], kills: int | None, status: int, end: AttemptEnd, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    forked, _ = process
    trial = trial_of(forked, tmp_path)
    monkeypatch.setattr(inbox, "oom_kills", lambda: kills)
    forked.status = status

    take_messages(trial, NO_RUN)

    assert trial.end == end
