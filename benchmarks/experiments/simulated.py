"""Simulated trials, on a worker's real code: claims, sampling, reports, decisions and ends, without torch.

A study of eight parameters whose objective is a formula, a function that fills its store in bulk, and a worker of one
slot whose trials are reported by a loop instead of a process. All code that uses the store is that of `hpo worker`.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

from sqlalchemy import insert

from hpo.ipc.channel import Channel, Message
from hpo.ipc.fork_server import ForkedProcess, ForkServer
from hpo.ipc.messages import Epoch, Started
from hpo.queue.leases import heartbeat, register_worker
from hpo.queue.studies import StoredStudy, create_or_continue
from hpo.space import Choice, Float, Int, Parameter, SearchSpace
from hpo.store import Store
from hpo.store.tables import (
    hpo_attempts,
    hpo_epochs,
    hpo_trials,
    trial_intermediate_values,
    trial_params,
    trial_system_attributes,
    trial_values,
    trials,
)
from hpo.study.devices import Slot
from hpo.study.resolved_study import ResolvedStudy
from hpo.study.spec import StudySpec
from hpo.study.states import AttemptEnd, OptunaState
from hpo.worker.outbox import Outbox
from hpo.worker.running_trial import RunningTrial
from hpo.worker.study_run import StudyRun

EPOCHS = 10
OPTIMIZERS, ACTIVATIONS = ("adam", "sgd", "rmsprop"), ("relu", "gelu", "tanh", "elu")
SPACE = SearchSpace(
    (
        Parameter("lr", Float(1e-5, 1e-1, log=True)),
        Parameter("weight_decay", Float(1e-6, 1e-1, log=True)),
        Parameter("dropout", Float(0.0, 0.5)),
        Parameter("momentum", Float(0.5, 0.99)),
        Parameter("depth", Int(1, 6)),
        Parameter("width", Int(16, 512, log=True)),
        Parameter("optimizer", Choice(*OPTIMIZERS)),
        Parameter("activation", Choice(*ACTIVATIONS)),
    )
)
_FILL_AT_ONCE = 2_000  # trials


def create_study(store: Store, *, name: str = "simulated", **keys: Any) -> StoredStudy:
    plain: dict[str, Any] = {
        "study": name,
        "model": "nobody:Model",
        "data": "nobody:Data",
        "objective": {"metric": "score", "direction": "maximize"},
        "epochs": EPOCHS,
        "budget": {"trials": 1_000_000},
    }
    resolved = ResolvedStudy(StudySpec.model_validate(plain | keys), SPACE, {"model": {}, "data": {}})
    return create_or_continue(store, resolved)[0]


def score(params: Mapping[str, Any], epoch: int) -> float:
    """The objective of a trial with these parameters: a hill in six of them, climbed in ten epochs."""
    distance = (
        (math.log10(params["lr"]) + 3) ** 2 / 4
        + (math.log10(params["weight_decay"]) + 4) ** 2 / 25
        + (params["dropout"] - 0.2) ** 2
        + (params["depth"] - 3) ** 2 / 25
        + (math.log2(params["width"]) - 7) ** 2 / 25
        + 0.1 * OPTIMIZERS.index(params["optimizer"])
    )
    return float((1 - math.exp(-epoch / 3)) / (1 + distance))


class SimulatedWorker:
    """A worker of one slot, with its own connections and its own view of the study, controlled by its methods."""

    def __init__(
        self, store: Store, study: StoredStudy, artifacts: Path, *, host: str = "simulated", pid: int = 1
    ) -> None:
        self.store = store
        self.outbox = Outbox(store, on_return=lambda: self.heartbeat(*self._trained))
        self._trained: list[RunningTrial] = []
        self.worker_id = register_worker(store, host=host, pid=pid, slots=1)
        self.run = StudyRun(
            store,
            study,
            outbox=self.outbox,
            server=cast(ForkServer, _NoServer()),
            project=artifacts,
            artifacts=artifacts,
            worker_id=self.worker_id,
        )

    def claim(self) -> RunningTrial | None:
        """Claim and sample, as when a slot is free."""
        trial = self.outbox.attempt(lambda: self.run.start_next(Slot(0, (), 1, 1)))
        self._trained = [] if trial is None else [trial]
        return trial

    def started(self, trial: RunningTrial) -> None:
        """Report that the process has built its model."""
        model, data = dict(trial.config["model"]), dict(trial.config["data"])
        self.run.on_started(trial, Started(model, data, parameters=1000, from_epoch=0, executor="lean", curve=[]))

    def epoch(self, trial: RunningTrial, epoch: int) -> bool:
        """Report an epoch; whether the trial must stop."""
        value = score(trial.config["params"], epoch)
        metrics = {"score": value, "train_loss": 1 - value, "val_loss": 1 - value}
        return self.run.on_epoch(trial, Epoch(epoch, value, metrics, float(epoch))).stop

    def end(self, trial: RunningTrial) -> None:
        self._trained = []
        self.run.end(trial)
        for process in trial.processes:
            process.channel.close()

    def heartbeat(self, *trials: RunningTrial) -> None:
        heartbeat(self.store, self.worker_id, [trial.claim.attempt_id for trial in trials])


class _NoServer:
    """Replaces the fork server: its processes do not exist, and so report nothing."""

    def fork(self, job: Message, *, with_spare: bool = False) -> ForkedProcess:
        channel, theirs = Channel.pair()
        theirs.close()
        return ForkedProcess(channel)


def fill(store: Store, study: StoredStudy, count: int, *, seed: int = 0) -> None:
    """Write finished trials in bulk, as workers would, two thirds of them pruned at the first rung."""
    from hpo.search.history import History  # noqa: F401  (imports Optuna, for the format of the distributions)

    draw = random.Random(seed)
    worker = register_worker(store, host="filled", pid=1, slots=1)
    distributions = _distributions()
    for first in range(0, count, _FILL_AT_ONCE):
        rows: dict[Any, list[dict[str, Any]]] = {
            table: []
            for table in (
                trials, trial_params, trial_values, trial_intermediate_values, trial_system_attributes,
                hpo_trials, hpo_attempts, hpo_epochs,
            )
        }  # fmt: skip
        for number in range(first, min(count, first + _FILL_AT_ONCE)):
            _add(rows, study.study_id, number, worker=worker, draw=draw, distributions=distributions)
        with store.write() as connection:
            for table, values in rows.items():
                connection.execute(insert(table), values)
    if store.engine.dialect.name == "postgresql":
        with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            for table in ("trials", "trial_params", "trial_intermediate_values", "hpo_attempts", "hpo_trials"):
                # rows with explicit ids do not advance the sequences
                connection.exec_driver_sql(f"ANALYZE {table}")


def _distributions() -> dict[str, Any]:
    import optuna

    trial = optuna.trial.FixedTrial({parameter.name: parameter.first() for parameter in SPACE.values()})
    for parameter in SPACE.values():
        parameter.range.suggest(trial, parameter.name)
    return trial.distributions


def _add(
    rows: dict[Any, list[dict[str, Any]]],
    study_id: int,
    number: int,
    *,
    worker: int,
    draw: random.Random,
    distributions: Mapping[str, Any],
) -> None:
    from optuna.distributions import distribution_to_json

    trial = number + 1  # the store is empty before
    params: dict[str, Any] = {
        "lr": 10 ** draw.uniform(-5, -1),
        "weight_decay": 10 ** draw.uniform(-6, -1),
        "dropout": draw.uniform(0, 0.5),
        "momentum": draw.uniform(0.5, 0.99),
        "depth": draw.randint(1, 6),
        "width": round(2 ** draw.uniform(4, 9)),
        "optimizer": draw.choice(OPTIMIZERS),
        "activation": draw.choice(ACTIVATIONS),
    }
    is_pruned = draw.random() < 2 / 3
    epochs = 3 if is_pruned else EPOCHS
    state = OptunaState.PRUNED if is_pruned else OptunaState.COMPLETE
    curve = {epoch: score(params, epoch) for epoch in range(1, epochs + 1)}
    ended = datetime.now(UTC).replace(tzinfo=None) - timedelta(days=1) + timedelta(milliseconds=number)
    rows[trials].append(
        {"study_id": study_id, "number": number, "state": state, "datetime_start": ended, "datetime_complete": ended}
    )
    rows[trial_values].append({"trial_id": trial, "objective": 0, "value": curve[epochs], "value_type": "FINITE"})
    for name, value in params.items():
        distribution = distributions[name]
        rows[trial_params].append(
            {
                "trial_id": trial,
                "param_name": name,
                "param_value": float(distribution.to_internal_repr(value)),
                "distribution_json": distribution_to_json(distribution),
            }
        )
    for epoch, value in curve.items():
        rows[trial_intermediate_values].append(
            {"trial_id": trial, "step": epoch, "intermediate_value": value, "intermediate_value_type": "FINITE"}
        )
        metrics = json.dumps({"score": value, "train_loss": 1 - value, "val_loss": 1 - value})
        rows[hpo_epochs].append(
            {"trial_id": trial, "epoch": epoch, "attempt": 1, "metrics": metrics, "seconds": float(epoch)}
        )
    for rung, epoch in enumerate((3, 9)):
        if epoch in curve:
            rows[trial_system_attributes].append(
                {"trial_id": trial, "key": f"completed_rung_{rung}", "value_json": json.dumps(curve[epoch])}
            )
    config = {"params": params, "model": {}, "data": {}, "epochs": EPOCHS, "seed": number}
    rows[hpo_trials].append(
        {"trial_id": trial, "config": json.dumps(config), "seed": number, "best_epoch": epochs, "seconds": 10.0}
    )
    rows[hpo_attempts].append(
        {
            "trial_id": trial, "number": 1, "worker_id": worker, "slot": 0, "device": "cpu", "started": 1.0,
            "lease_until": 11.0, "ended": 11.0, "kind": AttemptEnd.DONE, "cause": "complete", "seconds": 10.0,
            "from_epoch": 0,
        }
    )  # fmt: skip
