"""Trials of two processes each: they stop together, fail together, and leave no process behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from projects.launch import Hpo, finish, left_of, watch

from hpo.ipc.channel import Channel
from hpo.ipc.fork_server import ForkedProcess
from hpo.ipc.messages import LOST_RANK, OUT_OF_MEMORY
from hpo.queue.claim import Claim
from hpo.results.trial import TrialRecord
from hpo.study.budget import Budget
from hpo.study.devices import Slot
from hpo.study.states import AttemptEnd, OptunaState
from hpo.worker.running_trial import RunningTrial
from hpo.worker.supervise import stall_minutes

FATES = ("first", "hopeless", "killed", "raises", "second")


@dataclass(frozen=True)
class Outcome:
    code: int
    output: str
    trials: Mapping[str, TrialRecord]  # by fate
    trace: Path
    left: list[psutil.Process]

    def epochs(self, fate: str, rank: int) -> list[int]:
        return [int(line) for line in (self.trace / f"{fate}-{rank}").read_text().split()]


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Five trials, one a fate, each on two devices."""
    folder = tmp_path_factory.mktemp("devices")
    hpo = Hpo(folder, f"sqlite:///{folder}/hpo.db")
    trace = folder / "trace"
    trace.mkdir()
    file = hpo.study(
        "pairs",
        model={"class": "projects.ranks:Ranks", "trace": str(trace)},
        objective={"metric": "score", "direction": "minimize"},
        epochs=3,
        sampler="grid",
        pruner={"name": "threshold", "upper": 10.0},
        budget={"trials": len(FATES)},
        resources={"devices_per_trial": 2, "accelerator": "cpu"},
    )
    process = hpo.start("run", file, "--slots", 1)
    seen = watch(process)
    code, output = finish(process)
    return Outcome(code, output, {r.params["fate"]: r for r in hpo.trials("pairs")}, trace, left_of(seen))


def test_all_trials_end_each_in_its_own_way(outcome: Outcome) -> None:
    states = {fate: outcome.trials[fate].state for fate in FATES}

    assert outcome.code == 0, outcome.output
    assert states == {
        "first": "complete", "hopeless": "pruned", "killed": "failed", "raises": "failed", "second": "complete",
    }  # fmt: skip
    assert {record.device for record in outcome.trials.values()} == {"cpu x2"}


def test_both_ranks_of_a_pruned_trial_stop_after_the_same_epoch(outcome: Outcome) -> None:
    assert outcome.trials["hopeless"].epochs == 2
    assert outcome.epochs("hopeless", 0) == [1, 2]
    assert outcome.epochs("hopeless", 1) == [1, 2]


def test_both_ranks_of_a_complete_trial_train_all_epochs(outcome: Outcome) -> None:
    assert [outcome.epochs("second", rank) for rank in (0, 1)] == [[1, 2, 3], [1, 2, 3]]


def test_the_metric_is_the_mean_over_the_ranks(outcome: Outcome) -> None:
    assert [metrics["score"] for _, metrics in outcome.trials["second"].curve] == [1.5, 1.5, 1.5]


def test_the_kill_of_a_rank_is_the_reported_cause(outcome: Outcome) -> None:
    record = outcome.trials["killed"]

    assert record.cause == "killed: SIGKILL"
    assert "rank 1" in (record.error or "")


def test_the_exception_of_one_rank_is_the_reported_cause(outcome: Outcome) -> None:
    record = outcome.trials["raises"]

    assert record.cause == "error: ValueError"
    assert "rank 1 alone cannot go on" in (record.error or "")


def test_a_silent_exit_outweighs_the_error_that_it_causes_in_the_other_rank() -> None:
    """The news may come in any order: the other rank's lost connection first, or the death."""
    words = AttemptEnd.ERROR, "error: RuntimeError", "connection closed"
    silence = AttemptEnd.CRASH, "killed: SIGKILL", "rank 1 ended"
    channel, theirs = Channel.pair()
    theirs.close()
    told_first, died_first, diverged = (running_trial(channel) for _ in range(3))

    told_first.fail(*words)
    was_to_be_killed = told_first.is_to_be_killed
    told_first.fail(*silence, is_silent=True)
    died_first.fail(*silence, is_silent=True)
    died_first.fail(*words)
    diverged.state, diverged.end, diverged.cause = OptunaState.FAIL, AttemptEnd.DIVERGED, "diverged"
    diverged.fail(*silence, is_silent=True)

    assert not was_to_be_killed
    assert told_first.is_to_be_killed
    assert [trial.cause for trial in (told_first, died_first, diverged)] == [silence[1], silence[1], "diverged"]
    channel.close()


def test_what_ended_a_rank_outweighs_the_connection_that_the_other_has_lost() -> None:
    channel, theirs = Channel.pair()
    theirs.close()
    first, second, alone = (running_trial(channel) for _ in range(3))
    lost = AttemptEnd.ERROR, LOST_RANK, "Connection closed by peer"
    memory = AttemptEnd.OUT_OF_MEMORY, OUT_OF_MEMORY, "out of memory"

    first.fail(*lost)
    was_to_be_killed = first.is_to_be_killed
    first.fail(*memory)
    second.fail(*memory)
    second.fail(*lost)
    alone.fail(*lost)
    alone.fail(*lost)
    alone.done += alone.processes

    assert not was_to_be_killed
    assert alone.is_to_be_killed  # nobody is left who could say more
    assert [trial.cause for trial in (first, second, alone)] == [OUT_OF_MEMORY, OUT_OF_MEMORY, LOST_RANK]
    channel.close()


def running_trial(channel: Channel) -> RunningTrial:
    claim = Claim(study_id=1, trial_id=1, number=0, study="two", attempt_id=1, attempt=1, params=None)
    ranks = [ForkedProcess(channel), ForkedProcess(channel)]
    slot = Slot(0, (), ranks=2, threads=1)
    return RunningTrial(claim, slot, epochs=3, config={}, directory=Path(), claimed_at=0.0, processes=ranks)


def test_no_process_is_left(outcome: Outcome) -> None:
    assert outcome.left == []


def test_trials_of_several_devices_are_paused_and_promoted(tmp_path: Path) -> None:
    hpo = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")
    file = hpo.study(
        "pairs",
        pruner={"name": "asha", "eta": 2, "min_epochs": 1},
        epochs=4,
        budget={"trials": 6},
        resources={"devices_per_trial": 2, "accelerator": "cpu"},
    )

    code, output = hpo.run("run", file, "--slots", 1)

    records = hpo.trials("pairs")
    assert code == 0, output
    assert hpo.counts("pairs").keys() == {"complete", "pruned"}
    assert {record.epochs for record in records if record.state == "complete"} == {4}
    assert any(record.state == "complete" and record.attempts > 1 for record in records)
    for record in records:
        assert [epoch for epoch, _ in record.curve] == list(range(1, record.epochs + 1))


def test_a_rank_that_hangs_is_seen_in_the_log(tmp_path: Path) -> None:
    hpo = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")
    file = hpo.study(
        "stuck",
        model="projects.ranks:Stuck",
        epochs=5,
        retries={"stalled": 0},
        budget={"trials": 1, "stall_minutes": 0.5},
        resources={"devices_per_trial": 2, "accelerator": "cpu"},
    )

    process = hpo.start("run", file, "--slots", 1)
    seen = watch(process)
    code, output = finish(process)

    assert code == 1, output
    [record] = hpo.trials("stuck")
    assert record.cause == "stalled"
    assert "no step for 0.5 minutes; where its processes were is at the end of its log" in (record.error or "")
    log = hpo.run("logs", "stuck", 0)[1]
    assert log.count("Current thread") == 2  # of each process
    assert "in wait_for_ever" in log
    assert left_of(seen) == []


def test_several_devices_are_waited_for_less_long_by_default() -> None:
    assert [stall_minutes(Budget(), ranks=ranks) for ranks in (1, 2)] == [60, 10]
    assert [stall_minutes(Budget(stall_minutes=30), ranks=ranks) for ranks in (1, 2)] == [30, 30]
