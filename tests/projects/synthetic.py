"""Studies without training: the parts that the queue and the history need."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optuna.trial import TrialState

from hpo.queue.claim import Claim, claim_trial
from hpo.queue.leases import register_worker
from hpo.queue.report import begin_trial, end_attempt, finish_trial, report_epoch
from hpo.queue.studies import StoredStudy, create_or_continue
from hpo.search.algorithms import make_pruner, sampler_factory
from hpo.search.halving import make_rungs
from hpo.search.history import History
from hpo.search.rungs import Verdict
from hpo.space import Choice, Float, Int, Parameter, SearchSpace
from hpo.store import Store
from hpo.study.resolved_study import ResolvedStudy
from hpo.study.spec import StudySpec
from hpo.study.states import AttemptEnd, OptunaState

# With a conditional parameter, and one that a step makes discrete.
SPACE = SearchSpace(
    (
        Parameter("lr", Float(1e-4, 1e-1, log=True), default=1e-3, has_default=True),
        Parameter("optimizer", Choice("adam", "sgd"), default="adam", has_default=True),
        Parameter("momentum", Float(0.0, 0.99), default=0.9, has_default=True, when={"optimizer": ("sgd",)}),
        Parameter("depth", Int(1, 4), default=2, has_default=True),
        Parameter("dropout", Float(0.0, 0.5, step=0.1), default=0.1, has_default=True),
    )
)
GRID = SearchSpace(
    (
        Parameter("optimizer", Choice("adam", "sgd"), default="adam", has_default=True),
        Parameter("momentum", Choice(0.5, 0.9), default=0.9, has_default=True, when={"optimizer": ("sgd",)}),
        Parameter("depth", Int(1, 4), default=2, has_default=True),
    )
)


def make_spec(**keys: Any) -> StudySpec:
    plain = {
        "study": "synthetic",
        "model": "nets:Line",
        "data": "nets:Points",
        "objective": {"metric": "val_accuracy", "direction": "maximize"},
        "epochs": 9,
        "budget": {"trials": 100},
    }
    return StudySpec.model_validate(plain | keys)


def create_study(store: Store, space: SearchSpace = SPACE, **keys: Any) -> StoredStudy:
    resolved = ResolvedStudy(make_spec(**keys), space, {"model": {}, "data": {}})
    return create_or_continue(store, resolved)[0]


def open_history(store: Store, study: StoredStudy) -> History:
    """What one worker opens for a study."""
    spec = study.resolved.spec
    return History(
        store,
        study.study_id,
        name=study.name,
        objectives=spec.objectives,
        samplers=sampler_factory(spec, study.resolved.space, Path()),
        pruner=make_pruner(spec, Path()),
        rungs=make_rungs(spec),
    )


class Claimant:
    """A worker as far as the queue knows it, with its own view of the trials."""

    def __init__(self, store: Store, study: StoredStudy) -> None:
        self.store = store
        self.study = study
        self.space = study.resolved.space
        self.history = open_history(store, study)
        self.worker_id = register_worker(store, host="here", pid=1, slots=1)

    def claim(self, *, is_last: bool = False) -> Claim | None:
        claimed = claim_trial(
            self.store,
            self.study.study_id,
            worker_id=self.worker_id,
            slot=0,
            device="cpu",
            promotable=self.history.promotable(is_last=is_last),
        )
        if claimed is not None:
            self.history.adopt(claimed.number, is_new=claimed.is_new)
        return claimed

    def begin(self, claim: Claim, *, point: Mapping[str, Any] | None = None) -> dict[str, Any]:
        params = self.history.suggest(claim.number, self.space, point=point)
        stored = self.history.params_to_store(claim.number)
        with self.store.write() as connection:
            attributes = self.history.attributes_to_store(claim.number)
            begin_trial(connection, claim, params=stored, config={"params": params}, system_attributes=attributes)
        return params

    def report(self, claim: Claim, epoch: int, value: float, *further: float) -> tuple[bool, bool]:
        """(whether to prune, whether the trial is still ours)."""
        verdict, attributes = self.history.report(claim.number, epoch, value, *further)
        others = dict(zip(self.study.resolved.spec.objectives.further, further, strict=True))
        with self.store.write() as connection:
            is_ours = report_epoch(
                connection,
                claim,
                epoch=epoch,
                value=value,
                metrics={"val_accuracy": value, "val_loss": 1 - value, **others},
                seconds=0.5 * epoch,
                system_attributes=attributes,
            )
        return verdict != Verdict.CONTINUE, is_ours

    def pause_at_rung(self, claim: Claim) -> None:
        """The trial is paused at its rung."""
        with self.store.write() as connection:
            end_attempt(connection, claim, end=AttemptEnd.AT_RUNG, cause="paused at a rung", seconds=1.0)
        self.history.release(claim.trial_id, claim.number, is_paused=True)

    def finish(self, claim: Claim, value: float | None, *further: float, state: str = "COMPLETE", **more: Any) -> bool:
        values = [] if value is None else [value, *further]
        with self.store.write() as connection:
            is_ours = finish_trial(connection, claim, state=OptunaState(state), values=values, seconds=2.5, **more)
        if is_ours:
            self.history.end(claim.number, TrialState[state], values)
        return is_ours


def begin_next(worker: Claimant, *curve: float) -> Claim:
    """The worker's next trial, begun, with the objective reported after each of these epochs."""
    claim = worker.claim()
    assert claim is not None
    if claim.params is None:
        worker.begin(claim)
    for epoch, value in enumerate(curve, start=1):
        worker.report(claim, epoch, value)
    return claim
