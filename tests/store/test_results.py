"""A study's records, on both databases; the rows are written by the queue, as a worker does, or by Optuna."""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated, Any, Literal

import optuna
import pytest
from optuna.distributions import FloatDistribution, IntDistribution, distribution_to_json
from stores import hand_back, write

from hpo.errors import HpoError, StoreError
from hpo.queue.claim import Claim, claim_trial
from hpo.queue.leases import register_worker
from hpo.queue.report import begin_trial, finish_trial, report_epoch
from hpo.queue.studies import StoredStudy, create_or_continue, set_study_state
from hpo.results.status import list_studies
from hpo.results.study import Study
from hpo.results.trial import TrialRecord
from hpo.space import Choice, Float, SearchSpace
from hpo.store import Store
from hpo.store.optuna_storage import optuna_storage
from hpo.study.resolved_study import ResolvedStudy
from hpo.study.spec import StudySpec
from hpo.study.states import StudyState


class Net:
    """Searches two parameters."""

    def __init__(
        self,
        lr: Annotated[float, Float(1e-4, 1e-1, log=True)] = 1e-3,
        optimizer: Annotated[Literal["adam", "sgd"], Choice()] = "adam",
    ) -> None: ...


def create(store: Store, name: str = "digits", *, direction: str = "maximize", trials: int = 4) -> StoredStudy:
    spec = StudySpec.model_validate(
        {
            "study": name,
            "model": "nets:Net",
            "data": "nets:Points",
            "objective": {"metric": "val_accuracy", "direction": direction},
            "budget": {"trials": trials},
        }
    )
    resolved = ResolvedStudy(spec, SearchSpace.of(Net), {"model": {}, "data": {}})
    return create_or_continue(store, resolved)[0]


def train(
    store: Store,
    study: StoredStudy,
    values: list[float],
    *,
    state: str | None = "COMPLETE",
    params: dict[str, tuple[float, str]] | None = None,
    **ending: Any,
) -> Claim:
    """Claim a trial, report these values as its epochs, and end it; state None leaves it running."""
    worker = register_worker(store, host="here", pid=42, slots=2)
    claim = claim_trial(store, study.study_id, worker_id=worker, slot=0, device="gpu 0")
    assert claim is not None
    write(store, begin_trial, claim, params=params or {}, config={"params": {}, "model": {"class": "nets:Net"}})
    for epoch, value in enumerate(values, start=1):
        metrics = {"val_accuracy": value, "val_loss": 1 - value}
        write(
            store,
            report_epoch,
            claim,
            epoch=epoch,
            value=value,
            metrics=metrics,
            seconds=0.5 * epoch,
            system_attributes={},
        )
    if state is not None:
        ends = {"COMPLETE": [max(values, default=0.0)], "PRUNED": values[-1:]}
        write(store, finish_trial, claim, state=state, values=ends.get(state, ()), seconds=2.5, **ending)
    return claim


# ---- trials


def test_the_record_of_a_complete_trial_is_complete(store: Store) -> None:
    study = create(store)
    params = {
        "lr": (0.01, distribution_to_json(FloatDistribution(1e-4, 1e-1, log=True))),
        "optimizer": (1.0, distribution_to_json(optuna.distributions.CategoricalDistribution(["adam", "sgd"]))),
        "depth": (3.0, distribution_to_json(IntDistribution(1, 6))),
    }
    train(store, study, [0.5, 0.9, 0.8], params=params, best_epoch=2, checkpoint="/somewhere/best.ckpt")

    [record] = Study(store, "digits").trials()

    assert (record.number, record.state, record.value, record.best_epoch) == (0, "complete", 0.9, 2)
    assert record.params == {"lr": 0.01, "optimizer": "sgd", "depth": 3}
    assert isinstance(record.params["depth"], int)
    assert record.config["model"] == {"class": "nets:Net"}
    assert record.curve == tuple(
        (epoch, {"val_accuracy": value, "val_loss": 1 - value}) for epoch, value in enumerate([0.5, 0.9, 0.8], start=1)
    )
    assert (record.epochs, record.seconds, record.attempts) == (3, 2.5, 1)
    assert (record.device, record.worker, record.checkpoint) == ("gpu 0", "here:42", "/somewhere/best.ckpt")
    assert record.cause is None
    assert record.started is not None
    assert record.ended is not None
    assert record.started <= record.ended


def test_every_state_has_its_name_and_value(store: Store) -> None:
    study = create(store, trials=9)
    train(store, study, [0.5, 0.6])
    train(store, study, [0.4, 0.3], state="PRUNED")
    train(store, study, [], state="FAIL", cause="error: ValueError", error="Traceback ...\nValueError: no")
    train(store, study, [0.1, 0.2], state=None)
    with optuna_storage(store.url) as storage:
        optuna.load_study(study_name="digits", storage=storage).enqueue_trial({"lr": 0.01})

    records = Study(store, "digits").trials()

    assert [record.number for record in records] == [0, 1, 2, 3, 4]
    assert [record.state for record in records] == ["complete", "pruned", "failed", "running", "waiting"]
    assert [record.value for record in records] == [0.6, 0.4, None, 0.2, None]
    assert [record.cause for record in records] == [None, None, "error: ValueError", None, None]
    assert records[2].error == "Traceback ...\nValueError: no"
    assert [record.epochs for record in records] == [2, 2, 0, 2, 0]
    assert [record.attempts for record in records] == [1, 1, 1, 1, 0]


def test_attempts_and_their_seconds_add_up(store: Store) -> None:
    study = create(store)
    hand_back(store, train(store, study, [0.1], state=None), seconds=4.0)

    train(store, study, [0.2])

    [record] = Study(store, "digits").trials()
    assert (record.attempts, record.seconds, record.state) == (2, 6.5, "complete")


def test_a_record_does_not_change(store: Store) -> None:
    train(store, create(store), [0.5])
    record = Study(store, "digits").best()[0]

    with pytest.raises(dataclasses.FrozenInstanceError):
        record.value = 1.0  # type: ignore[misc]


def test_a_record_as_json_has_plain_types_and_times_in_utc(store: Store) -> None:
    train(store, create(store), [0.5])

    plain = Study(store, "digits").trials()[0].to_json()

    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert plain["started"].endswith("Z")
    assert plain["epochs"] == 1
    assert "curve" not in plain


# ---- the best


@pytest.mark.parametrize(("direction", "numbers"), [("maximize", [1, 3, 0]), ("minimize", [0, 3, 1])])
def test_the_best_come_first_in_the_studys_direction(direction: str, numbers: list[int], store: Store) -> None:
    study = create(store, direction=direction, trials=5)
    for values, state in (([0.1], "COMPLETE"), ([0.9], "COMPLETE"), ([0.99], "PRUNED"), ([0.5], "COMPLETE")):
        train(store, study, values, state=state)

    found = Study(store, "digits")

    assert found.direction == direction
    assert [record.number for record in found.best(5)] == numbers
    assert [record.number for record in found.best()] == numbers[:1]


def test_of_equals_the_first_is_the_best(store: Store) -> None:
    study = create(store)
    for _ in range(3):
        train(store, study, [0.5])

    assert [record.number for record in Study(store, "digits").best(2)] == [0, 1]


def test_a_study_without_a_complete_trial_has_no_best(store: Store) -> None:
    create(store)

    assert Study(store, "digits").best(3) == []
    assert Study(store, "digits").status().best is None


def test_the_error_of_a_trial_without_a_checkpoint_names_the_reason(store: Store) -> None:
    train(store, create(store), [0.5])

    with pytest.raises(HpoError, match=r"trial 0 \(complete\) has no checkpoint: .* \(keep: "):
        Study(store, "digits").best()[0].load_model()


# ---- the study


def test_the_status_counts_the_spent_budget(store: Store) -> None:
    study = create(store)
    train(store, study, [0.5])
    train(store, study, [0.4], state="PRUNED")
    train(store, study, [0.3], state=None)

    status = Study(store, "digits").status()

    assert (status.study, status.state, status.reason) == ("digits", "running", None)
    assert status.counts == {
        "complete": 1,
        "pruned": 1,
        "failed": 0,
        "running": 1,
        "paused": 0,
        "idle": 0,
        "waiting": 0,
    }
    assert status.budget == {"trials": {"target": 4, "spent": 3}}
    assert isinstance(status.best, TrialRecord)
    assert status.best.number == 0
    assert sum(worker.running for worker in status.workers) == 1
    assert {worker.name for worker in status.workers} == {"here:42"}


def test_a_study_is_done_when_all_that_was_asked_for_has_ended(store: Store) -> None:
    study = create(store, trials=1)
    claim = train(store, study, [0.5], state=None)
    assert Study(store, "digits").status().state == "running"

    write(store, finish_trial, claim, state="COMPLETE", values=[0.5], seconds=1.0)

    assert Study(store, "digits").status().state == "done"


def test_a_stopped_study_has_its_reason(store: Store) -> None:
    set_study_state(store, create(store).study_id, StudyState.STOPPED, "5 trials in a row failed")

    status = Study(store, "digits").status()

    assert (status.state, status.reason) == ("stopped", "5 trials in a row failed")


def test_studies_are_listed_in_the_order_of_their_creation(store: Store) -> None:
    assert list_studies(store) == []
    for name in ("zebra", "ant"):
        create(store, name)

    assert [status.study for status in list_studies(store)] == ["zebra", "ant"]


def test_trials_of_another_study_are_not_shown(store: Store) -> None:
    train(store, create(store, "one"), [0.5])
    create(store, "two")

    assert Study(store, "two").trials() == []


def test_a_study_that_does_not_exist_names_the_nearest(store: Store) -> None:
    with pytest.raises(StoreError, match=r"no study 'digits'\. It has none\."):
        Study(store, "digits")
    create(store)

    with pytest.raises(StoreError, match=r"no study 'digit', did you mean 'digits'\? It has digits\."):
        Study(store, "digit")


def test_the_frame_has_a_row_a_trial(store: Store) -> None:
    study = create(store)
    train(store, study, [0.5], params={"lr": (0.01, distribution_to_json(FloatDistribution(0.0, 1.0)))})
    train(store, study, [], state="FAIL", cause="error: ValueError")

    frame = Study(store, "digits").frame()

    assert list(frame["number"]) == [0, 1]
    assert list(frame["state"]) == ["complete", "failed"]
    assert frame.loc[0, "params_lr"] == 0.01
    assert {"value", "epochs", "best_epoch", "seconds", "attempts", "cause", "device", "checkpoint"} <= set(frame)


# ---- studies of other programs


def test_a_study_of_plain_optuna_can_be_read(store: Store) -> None:
    def objective(trial: optuna.Trial) -> float:
        x, kind = trial.suggest_float("x", -1, 1), trial.suggest_categorical("kind", ["a", None, 3])
        trial.report(x, 1)
        return x if kind is None else x + 1

    with optuna_storage(store.url) as storage:
        foreign = optuna.create_study(study_name="foreign", storage=storage, direction="minimize")
        foreign.optimize(objective, n_trials=3)
        theirs, best_value = foreign.trials, foreign.best_value

    study = Study(store, "foreign")
    assert study.direction == "minimize"
    assert study.best()[0].value == best_value
    assert [record.params for record in study.trials()] == [trial.params for trial in theirs]
    assert study.trials()[0].curve == ((1, {"value": theirs[0].params["x"]}),)
    assert study.trials()[0].attempts == 0
    assert (study.status().state, study.status().reason) == ("running", None)
    assert study.status().counts["complete"] == 3
    assert study.status().budget == {"trials": {"target": 0, "spent": 3}}


def test_values_that_json_does_not_know_are_none(store: Store) -> None:
    with optuna_storage(store.url) as storage:
        foreign = optuna.create_study(study_name="foreign", storage=storage)
        foreign.add_trial(optuna.trial.create_trial(value=float("inf")))
        foreign.add_trial(optuna.trial.create_trial(value=1.0, intermediate_values={0: float("nan")}))

    records = Study(store, "foreign").trials()

    assert [record.value for record in records] == [None, 1.0]
    assert Study(store, "foreign").best(5) == [records[1]]
