"""Two studies compared: what differs in their files, search spaces, data and code, and in what came out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import func, select

from hpo.queue.progress import progress_of
from hpo.results.columns import Found, Origin, TrialColumns
from hpo.results.trial import TrialRecord
from hpo.space import SearchSpace
from hpo.store import Store
from hpo.store.tables import hpo_studies, trials
from hpo.study.length import Unit
from hpo.study.objectives import Objectives
from hpo.study.states import StudyState, TrialState

_STATES = frozenset(TrialState)


@dataclass(frozen=True)
class Difference:
    """One thing of both studies; None where a study does not have it."""

    name: str
    a: Any
    b: Any


@dataclass(frozen=True)
class StudyDifferences:
    """What differs between two studies, `a` and `b`; what is the same is left out, but for the outcome.

    Attributes:
        a: its name, as `b` is the other's.
        file: keys of the study file, such as `pruner.eta`, as they were resolved.
        space: parameters, each with its range, default and condition in words.
        inputs: data files and modules, each with the fingerprint of its contents.
        outcome: trials by state, the best value, what was spent.
        best: the parameters of the best trial of each.
        remarks: what to bear in mind when their values are compared, in sentences.
        is_comparable: whether their values are of the same metric, in the same direction.
    """

    a: str
    b: str
    file: Sequence[Difference]
    space: Sequence[Difference]
    inputs: Sequence[Difference]
    outcome: Sequence[Difference]
    best: Sequence[Difference]
    remarks: Sequence[str]
    is_comparable: bool

    def _repr_html_(self) -> str:
        """As a cell of a notebook shows it: a table for each part."""
        from hpo.notebook import block, line, table

        parts = {
            "study file": self.file,
            "search space": self.space,
            "data and code": self.inputs,
            "outcome": self.outcome,
            "best trial": self.best,
        }
        tables = [
            table((title, self.a, self.b), [(one.name, one.a, one.b) for one in found])
            for title, found in parts.items()
            if found
        ]
        return block(*tables, *map(line, self.remarks))

    def to_json(self) -> dict[str, Any]:
        """Plain types."""
        plain = dict(vars(self))
        for part in ("file", "space", "inputs", "outcome", "best"):
            plain[part] = [{name: _plain(value) for name, value in vars(one).items()} for one in plain[part]]
        return plain | {"remarks": list(self.remarks)}


@dataclass(frozen=True)
class StudyFacts:
    """What is compared of a study.

    Attributes:
        file: keys with dots and values; empty of a study of another program.
        objective: such as `maximize val_accuracy`; the metric of another program has no name.
    """

    name: str
    objective: str
    file: Mapping[str, Any] = field(default_factory=dict)
    space: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    outcome: Mapping[str, Any] = field(default_factory=dict)
    best: Mapping[str, Any] = field(default_factory=dict)


def compare(a: StudyFacts, b: StudyFacts) -> StudyDifferences:
    """What differs between the two; the second one is told apart where both have one name, in two stores."""
    if a.name == b.name:
        b = replace(b, name=f"{b.name} (other)")
    return StudyDifferences(
        a.name,
        b.name,
        file=_differing(a.file, b.file) if a.file and b.file else (),
        space=_differing(a.space, b.space),
        inputs=_differing(a.inputs, b.inputs) if a.inputs and b.inputs else (),
        outcome=[one for one in _all_of(a.outcome, b.outcome) if one.name not in _STATES or one.a or one.b],
        best=_all_of(a.best, b.best),
        remarks=list(_remarks(a, b)),
        is_comparable=a.objective == b.objective,
    )


def facts_of(
    store: Store, study_id: int, name: str, *, objectives: Objectives, best: Sequence[TrialRecord]
) -> StudyFacts:
    """What is compared of a study, read from its store.

    Args:
        best: its best trial, where there is one; of several objectives the front.
    """
    with store.read() as connection:
        row = connection.execute(
            select(hpo_studies.c.spec, hpo_studies.c.space).where(hpo_studies.c.study_id == study_id)
        ).first()
        progress = progress_of(connection, study_id, hours="measured")
        columns = TrialColumns(connection, study_id, objectives.first)
        found = Found(Origin.TRIAL, "epochs")
        epochs = sum(columns.read([found])[found].values)
        times = select(func.min(trials.c.datetime_start), func.max(trials.c.datetime_complete))
        first, last = connection.execute(times.where(trials.c.study_id == study_id)).one()
    plain = None if row is None else json.loads(row.spec)
    counts, spent = progress.counts, progress.spent
    is_done = progress.state == StudyState.RUNNING and counts.target > 0 and progress.is_over
    outcome = {
        "state": str(StudyState.DONE if is_done else progress.state),
        "trials": sum(counts.by_state.values()),
        **counts.by_state,
        **_of_best(best, objectives),
        _unit(plain).plural: epochs,
    }
    if plain is not None and spent is not None:
        outcome |= {"device-hours": round(spent.gpu_hours, 4), "hours": round(spent.hours, 4)}
    outcome |= {"first trial began": first, "last trial ended": last}
    params = dict(best[0].params) if best and not objectives.are_several else {}
    if row is None or plain is None:
        return StudyFacts(name, " and ".join(objectives.directions), outcome=outcome, best=params)
    return StudyFacts(
        name,
        str(objectives),
        dict(_file(plain)),
        {parameter.name: str(parameter) for parameter in SearchSpace.from_json(json.loads(row.space)).values()},
        plain.get("inputs", {}),
        outcome,
        params,
    )


def _of_best(best: Sequence[TrialRecord], objectives: Objectives) -> dict[str, Any]:
    """The best trial; of several objectives, how large the front is, and how far it goes in each of them."""
    if not objectives.are_several:
        return {"best value": best[0].value if best else None, "best trial": best[0].number if best else None}
    columns = list(zip(*(record.values for record in best), strict=True)) or [()] * len(objectives.directions)
    names = objectives.metrics or tuple(f"objective {place + 1}" for place in range(len(columns)))
    found = {
        f"best {name}": min(values, key=direction.cost, default=None)
        for name, direction, values in zip(names, objectives.directions, columns, strict=True)
    }
    return {"trials on the front": len(best), **found}


def _unit(plain: Mapping[str, Any] | None) -> Unit:
    """What the length of trials is counted in: a resolved study file has both keys."""
    return Unit.EPOCH if plain is None or plain["spec"].get("steps") is None else Unit.STEP


def _file(plain: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The keys of a resolved study file as a person writes them; the space is compared apart."""
    for key, value in plain["spec"].items():
        if key in ("study", "space"):
            continue
        if key in ("model", "data"):
            yield key, value["label"]
            yield from _flat(key, plain["fixed"][key])
        elif key in ("sampler", "pruner"):
            yield key, value["name"] or value["label"]
            yield from _flat(key, value["options"])
        else:
            yield from _flat(key, value)


def _flat(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _flat(f"{key}.{name}", item)
    else:
        yield key, value


def _differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Difference]:
    return [one for one in _all_of(a, b) if one.a != one.b]


def _all_of(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Difference]:
    return [Difference(name, a.get(name), b.get(name)) for name in dict.fromkeys([*a, *b])]


def _remarks(a: StudyFacts, b: StudyFacts) -> Iterator[str]:
    if a.objective != b.objective:
        yield (
            f"Their values cannot be compared: the objective of {a.name} is to {a.objective}, that of {b.name} to "
            f"{b.objective}."
        )
    for study in (a, b):
        if not study.file:
            yield f"{study.name} was made by another program: it has no study file and no search space here."
        elif not study.inputs:
            yield f"The data and the code of {study.name} are not known."
    if a.inputs and b.inputs and a.inputs != b.inputs:
        yield "They learned from other data or with other code: the same configuration may have another value."


def _plain(value: Any) -> Any:
    return value.isoformat(timespec="milliseconds") + "Z" if isinstance(value, datetime) else value
