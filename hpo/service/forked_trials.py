"""Which trials of a study are trials of a fork, and as what.

A trial fits when training its point in the new study would be what it has been: all constructor arguments are equal.
With other epochs, a curve is that of a longer training up to where it ends, unless the learning rate follows a plan.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.trial import FrozenTrial
from sqlalchemy import Connection, func, select

from hpo.queue.enqueue import FIXED, point_problems
from hpo.queue.fork import ForkedTrial
from hpo.queue.trained import last_attempts
from hpo.search import trial_rows
from hpo.search.prior import point_in
from hpo.space.values import equal, in_words, simplified
from hpo.store.tables import hpo_attempts, hpo_trials, trials
from hpo.study.object_store import local_path
from hpo.study.resolved_study import OWNERS, ResolvedStudy
from hpo.study.states import OPTUNA_ENDED, OptunaState, Request

# Schedules of the learning rate (`models.optimization`) that do not depend on the number of epochs.
UNPLANNED = ("constant", "plateau")


@dataclass(frozen=True)
class Candidate:
    """A trial of the old study that fits.

    Attributes:
        number: of the old one.
        checkpoint: its file, if the store names one, and if it means the same.
        goes_on: it has not ended, so that its files are needed to go on.
    """

    number: int
    trial: ForkedTrial
    checkpoint: Path | None
    goes_on: bool


@dataclass
class Candidates:
    """
    Attributes:
        left_out: the numbers of the others, by why; reasons of one kind are told in the words of the first.
    """

    fitting: list[Candidate] = field(default_factory=list)
    left_out: dict[str, list[int]] = field(default_factory=dict)
    _reasons: dict[str, str] = field(default_factory=dict)

    def leave_out(self, number: int, kind: str, reason: str) -> None:
        self.left_out.setdefault(self._reasons.setdefault(kind, reason), []).append(number)


class Forking:
    """What the trials of one study are in another one.

    Args:
        distributions: Optuna's, of the new study's parameters.
        promotes: the new study pauses and promotes trials.
    """

    def __init__(
        self,
        old: ResolvedStudy,
        new: ResolvedStudy,
        distributions: Mapping[str, BaseDistribution],
        *,
        promotes: bool,
    ) -> None:
        self._old = old
        self._new = new
        self._distributions = distributions
        self._promotes = promotes

    def candidates(self, connection: Connection, study_id: int) -> Candidates:
        """The trials that fit, by number, in a transaction that sees one snapshot."""
        found = Candidates()
        trained = {attempt.number for attempt in last_attempts(connection, study_id) if attempt.is_open}
        rows = trial_rows.changed(connection, study_id, known=0)
        ours = {
            row.trial_id: row
            for row in connection.execute(
                select(hpo_trials).where(hpo_trials.c.trial_id.in_([row.trial_id for row in rows]))
            )
        }
        spent = connection.execute(
            select(hpo_attempts.c.trial_id, func.sum(hpo_attempts.c.seconds))
            .join(trials, trials.c.trial_id == hpo_attempts.c.trial_id)
            .where(trials.c.study_id == study_id, trials.c.state == OptunaState.RUNNING)
            .group_by(hpo_attempts.c.trial_id)
        )
        seconds = {trial_id: total for trial_id, total in spent}
        for row, frozen in trial_rows.frozen(connection, rows, with_params=True):
            if frozen.number in trained:
                found.leave_out(frozen.number, "trained", "being trained at this moment")
                continue
            try:
                made = self._forked(row, frozen, ours.get(row.trial_id), seconds.get(row.trial_id))
            except _MisfitError as error:
                found.leave_out(frozen.number, error.kind, str(error))
            else:
                found.fitting.append(made)
        found.fitting.sort(key=lambda one: one.number)
        return found

    def _forked(self, row: Any, frozen: FrozenTrial, own: Any, seconds: float | None) -> Candidate:
        state = OptunaState(row.state)
        if state == OptunaState.WAITING:
            given = frozen.system_attrs.get(FIXED, {})
            if problems := point_problems(self._new.space, self._new.constants, given):
                raise _MisfitError("point", problems[0])
            return Candidate(frozen.number, ForkedTrial(row.trial_id, state, {}, None, None, {}, given), None, False)
        config = json.loads(own.config) if own is not None and own.config else {}
        if not frozen.params:
            raise _MisfitError("params", "without parameters yet")
        params = self._params(frozen, config)
        state, last, columns = self._ended(state, frozen, row, config)
        checkpoint = None if own is None or own.checkpoint is None else local_path(own.checkpoint)
        if last is not None:
            columns = {**columns, "best_epoch": self._best(frozen, last)}
            if own is None or own.best_epoch is None or own.best_epoch > last:
                checkpoint = None
        if config:
            unit = self._new.spec.unit.plural
            columns = {**columns, "config": json.dumps(config | {"params": params, unit: self._new.epochs(params)})}
        stored = self._new.space.stored(params)
        internal = {
            name: (self._distributions[name].to_internal_repr(value), distribution_to_json(self._distributions[name]))
            for name, value in stored.items()
        }
        if state in OPTUNA_ENDED and row.state == OptunaState.RUNNING:
            columns = {**columns, "seconds": seconds}
        value = self._value(state, frozen, last)
        made = ForkedTrial(row.trial_id, state, internal, last, value, columns)
        return Candidate(frozen.number, made, checkpoint, state not in OPTUNA_ENDED)

    def _params(self, frozen: FrozenTrial, config: Mapping[str, Any]) -> dict[str, Any]:
        """The trial as a point of the new space: with the arguments that it was trained with."""
        unit = self._new.spec.unit.plural
        built = {key: value for owner in OWNERS for key, value in config.get(owner, {}).items() if key != "class"}
        old = {name: self._old.space[name].range.take(value) for name, value in frozen.params.items()}
        theirs = {**built, **_arguments(self._old, old), unit: self._old.epochs(old)}
        length = {} if unit in self._new.space else {unit: self._new.epochs({})}
        point, _, problem = point_in(self._new.space, self._new.constants | length, old, theirs)
        if problem is not None:
            raise _MisfitError(*problem)
        for name, value in _arguments(self._new, point).items():
            if name in theirs and not equal(simplified(theirs[name]), simplified(value)):
                text = f"'{name}' was {in_words(simplified(theirs[name]))}, and is {in_words(simplified(value))}"
                raise _MisfitError(name, text)
        return point

    def _ended(
        self, state: OptunaState, frozen: FrozenTrial, row: Any, config: Mapping[str, Any]
    ) -> tuple[OptunaState, int | None, dict[str, Any]]:
        """The state of the new trial, the last epoch of its curve if it is cut, and columns that change."""
        curve = frozen.intermediate_values
        unit = self._new.spec.unit
        if unit.plural in self._new.space or unit.plural in self._old.space:
            before = after = 0
        else:
            before, after = self._old.epochs({}), self._new.epochs({})
        if after != before and state != OptunaState.FAIL:
            schedule = config.get("model", {}).get("schedule", UNPLANNED[0])
            if schedule not in UNPLANNED or config.get("model", {}).get("warmup", 0):
                raise _MisfitError("schedule", f"its learning rate follows a plan of {unit.counted(before)}")
            reached = max(curve, default=0)
            if reached >= before < after and state == OptunaState.COMPLETE:
                cause = f"{OptunaState.PRUNED.lower()}: forked after {before} of {unit.counted(after)}"
                return OptunaState.PRUNED, None, {"cause": cause}
            if after < before and (reached > after or (reached == after and state != OptunaState.COMPLETE)):
                if self._new.spec.trainings > 1 or not any(epoch <= after for epoch in curve):
                    raise _MisfitError("epochs", f"it has trained more than {unit.counted(after)}")
                return OptunaState.COMPLETE, after, {"cause": None, "request": None}
        if state == OptunaState.RUNNING and row.request == Request.AWAIT_PROMOTION and not self._promotes:
            return OptunaState.PRUNED, None, {"cause": None, "request": None}
        return state, None, {}

    def _value(self, state: OptunaState, frozen: FrozenTrial, last: int | None) -> float | None:
        curve = {epoch: value for epoch, value in frozen.intermediate_values.items() if math.isfinite(value)}
        if last is not None:
            return curve[self._best(frozen, last)]
        if state == OptunaState.PRUNED:
            return curve[max(curve)] if curve else None
        return frozen.value if state == OptunaState.COMPLETE else None

    def _best(self, frozen: FrozenTrial, last: int) -> int:
        cost = self._new.spec.objective.direction.cost
        curve = {epoch: value for epoch, value in frozen.intermediate_values.items() if epoch <= last}
        return min(curve, key=lambda epoch: cost(curve[epoch]))


class _MisfitError(Exception):
    """Why a trial does not fit; `kind` is the same for reasons of one kind."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


def _arguments(resolved: ResolvedStudy, params: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for owner in OWNERS for name, value in resolved.arguments(owner, params).items()}
