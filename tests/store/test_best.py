"""The best trials of a study, complete or not, and the checkpoints that are kept for them."""

from __future__ import annotations

from pathlib import Path

import pytest
from projects.synthetic import Claimant, begin_next, create_study
from stores import hand_back

from hpo.queue.best import unneeded_checkpoints
from hpo.queue.claim import Claim
from hpo.queue.report import report_epoch
from hpo.queue.studies import StoredStudy
from hpo.results.status import list_studies
from hpo.results.study import Study
from hpo.store import Store
from hpo.study.objectives import Objectives
from hpo.study.states import Direction, TrialState

BETTER = {"maximize": 1.0, "minimize": -1.0}


def one_of_each_state(store: Store, study: StoredStudy, sign: float) -> None:
    """Five trials that are not complete: each is best at its second epoch, and better than the one before."""
    workers = [Claimant(store, study) for _ in range(5)]
    claims = [
        begin_next(worker, sign * 0.1, sign * (0.2 + 0.1 * rank), sign * 0.15) for rank, worker in enumerate(workers)
    ]
    workers[1].pause_at_rung(claims[1])
    hand_back(store, claims[2])
    workers[3].finish(claims[3], sign * 0.15, state="PRUNED")
    workers[4].finish(claims[4], None, state="FAIL", cause="error: ValueError")


@pytest.mark.parametrize("direction", BETTER)
def test_while_no_trial_is_complete_the_best_value_that_any_has_reached_is_the_best(
    store: Store, direction: str
) -> None:
    sign = BETTER[direction]
    study = create_study(store, sampler="random", objective={"metric": "value", "direction": direction})
    one_of_each_state(store, study, sign)

    found = Study(store, study.name).best(10)

    assert [record.number for record in found] == [3, 2, 1, 0]
    assert [record.value for record in found] == [pytest.approx(sign * value) for value in (0.5, 0.4, 0.3, 0.2)]
    assert [record.best_epoch for record in found] == [2, 2, 2, 2]
    assert [record.state for record in found] == ["pruned", "idle", "paused", "running"]
    assert found[0].remark == "pruned after 3 epochs"
    status = Study(store, study.name).status()
    assert status.best is not None
    assert status.best.number == 3


def test_a_complete_trial_is_the_best_whatever_the_others_have_reached(store: Store) -> None:
    study = create_study(store, sampler="random")
    worker = Claimant(store, study)
    worker.finish(begin_next(worker, 0.05), 0.05)
    one_of_each_state(store, study, 1.0)

    found = Study(store, study.name).best(10)

    assert [(record.number, record.value, record.remark) for record in found] == [(0, 0.05, "")]


def test_a_study_of_which_every_trial_failed_has_no_best(store: Store) -> None:
    study = create_study(store, sampler="random")
    worker = Claimant(store, study)
    worker.finish(begin_next(worker, 0.5), None, state="FAIL", cause="error: ValueError")

    assert Study(store, study.name).best(5) == []


def test_the_checkpoints_of_the_best_are_kept_also_while_none_is_complete(store: Store) -> None:
    study = create_study(store, sampler="random")
    worker = Claimant(store, study)
    for value in (0.2, 0.4, 0.3):
        claim = begin_next(worker, value)
        worker.finish(claim, value, state="PRUNED", checkpoint=f"/art/{claim.number}/best.ckpt")

    def unneeded(keep: int) -> list[str]:
        objectives = Objectives((Direction.MAXIMIZE,))
        return [path.parent.name for _, path in unneeded_checkpoints(store, study.study_id, objectives, keep=keep)]

    assert (unneeded(5), unneeded(2), unneeded(0)) == ([], ["0"], ["0", "1", "2"])
    worker.finish(begin_next(worker, 0.1), 0.1, checkpoint="/art/3/best.ckpt")
    assert (unneeded(2), unneeded(1)) == (["0", "2"], ["0", "1", "2"])  # the only complete one is the best


def begin_with_loss(worker: Claimant, value: float, **metrics: float) -> Claim:
    claim = begin_next(worker, value)
    with worker.store.write() as connection:
        assert report_epoch(
            connection,
            claim,
            epoch=1,
            value=value,
            metrics={"score": value, **metrics},
            seconds=1,
            system_attributes={},
        )
    return claim


def test_of_equal_trials_that_with_the_smaller_loss_is_the_best(store: Store) -> None:
    study = create_study(store, sampler="random")
    worker = Claimant(store, study)
    for value, metrics in ((0.5, {}), (0.9, {}), (0.9, {"val_loss": 0.3}), (0.9, {"val_loss": 0.2}), (0.9, {})):
        claim = begin_with_loss(worker, value, **metrics)
        assert worker.finish(claim, value, best_epoch=1)

    assert [record.number for record in Study(store, study.name).best(5)] == [3, 2, 1, 4, 0]
    assert [record.number for record in Study(store, study.name).best(2)] == [3, 2]
    assert [record.number for record in Study(store, study.name).best(9)] == [3, 2, 1, 4, 0]
    assert [status.best.number for status in list_studies(store) if status.best is not None] == [3]


def test_the_checkpoint_of_a_trial_that_is_to_go_on_is_never_unneeded(store: Store, tmp_path: Path) -> None:
    study = create_study(store, sampler="random")
    workers = [Claimant(store, study), Claimant(store, study)]
    first, second = begin_next(workers[0], 0.1), begin_next(workers[1], 0.2)
    hand_back(store, first, checkpoint=str(tmp_path / "best.ckpt"))
    workers[1].finish(second, 0.2)

    assert unneeded_checkpoints(store, study.study_id, Objectives((Direction.MAXIMIZE,)), keep=0) == []
    record = Study(store, study.name).trials()[0]
    assert (record.state, record.checkpoint) == (TrialState.IDLE, str(tmp_path / "best.ckpt"))
