"""Points that people enqueue: trials that wait in the store with their parameters, until a worker claims them.

They are entered as Optuna's `enqueue_trial` does it, so that our workers and Optuna's own scripts take each of them
exactly once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select

from hpo.errors import SpecError
from hpo.queue.control import lock_own_study
from hpo.queue.progress import counts_of, find_study, progress_of
from hpo.space import SearchSpace
from hpo.space.from_text import value_of_text
from hpo.space.values import in_words
from hpo.store import Store
from hpo.store.tables import trial_system_attributes, trials
from hpo.study.states import OptunaState, StudyState

FIXED = "fixed_params"  # Optuna's key of the parameters that a waiting trial was given


@dataclass(frozen=True)
class Enqueued:
    """What became of a request for some points.

    Attributes:
        numbers: of the trials, in the order of the points.
        waiting_already: those numbers that an equal point had before, or of an equal point of the same request.
        beyond: by how many trials the study's budget would have to grow, for all that wait to be trained.
        limit: another limit that the study has reached, in words.
        state: of the study; nothing is claimed unless it runs.
    """

    study: str
    numbers: tuple[int, ...]
    waiting_already: frozenset[int]
    beyond: int
    limit: str | None
    state: StudyState

    def __str__(self) -> str:
        new = [number for number in dict.fromkeys(self.numbers) if number not in self.waiting_already]
        lines = [f"study {self.study}: {_trials(new)} {_verb(new)} for a worker"] if new else []
        if self.waiting_already:
            known = sorted(self.waiting_already)
            lines.append(f"study {self.study}: {_trials(known)} {_verb(known)} already with an equal point")
        return "\n".join(lines + self.notes())

    def notes(self) -> list[str]:
        """What keeps the points from being trained, in words, and what to do about it."""
        found = []
        if self.beyond:
            found.append(
                f"its budget has no room for all that wait: 'hpo set {self.study} trials=+{self.beyond}' makes room"
            )
        if self.limit is not None:
            found.append(f"it takes no more trials ({self.limit}) until 'hpo set {self.study}' changes that limit")
        if self.state != StudyState.RUNNING:
            found.append(f"it is {self.state}: 'hpo resume {self.study}' lets it go on")
        return found


@dataclass(frozen=True)
class Point:
    """Values for some of a study's parameters.

    Attributes:
        values: by the parameter's name; texts are converted where `is_text`.
        where: what to call the point in an error, such as `points.csv:3`; empty where there is only one.
    """

    values: Mapping[str, Any]
    where: str = ""
    is_text: bool = False


def enqueue_points(
    store: Store, name: str, points: Sequence[Point], *, also: Callable[[Connection, Enqueued], None] | None = None
) -> Enqueued:
    """Enqueue trials at these points: all of them, or none.

    What a point leaves out is sampled when a worker takes it. A point that equals one that still waits is not entered
    again, so the same request can be repeated. Points beyond the budget wait until it is extended: who extended it
    first could lose the room to a sampled trial.

    Args:
        also: is done in the same transaction, with the outcome.

    Raises:
        SpecError: points that the study cannot train, all of them with all that is wrong; or it is a grid study.
        StoreError: there is no such study, or another program made it.
    """
    study_id, _ = find_study(store, name)
    with store.write() as connection:
        study = lock_own_study(connection, study_id, name)
        if study.plan is not None:
            raise SpecError(f"study '{name}' only trains the best trials of a search again: it takes no other points")
        plain = json.loads(study.spec)
        if plain["spec"]["sampler"]["name"] == "grid":
            raise SpecError(
                f"study '{name}' tries every point of its grid (sampler: grid): add trials with "
                f"'hpo set {name} trials=+1'"
            )
        space = SearchSpace.from_json(json.loads(study.space))
        # A searched one that is fixed too has this value while it is inactive.
        fixed = {key: value for of in plain["fixed"].values() for key, value in of.items() if key not in space}
        taken = _take(name, space, fixed, points)
        counts = counts_of(connection, study_id, target=study.trials_target)
        known = _waiting(connection, study_id, space)
        numbers, repeated, number = [], set(), counts.next_number
        for values in taken:
            key = _key(values)
            if key in known:
                repeated.add(known[key])
            else:
                insert_waiting(connection, study_id, number, space.stored(values))
                known[key], number = number, number + 1
            numbers.append(known[key])
        limit = progress_of(connection, study_id).limit
        beyond = max(0, number - counts.target)
        found = Enqueued(name, tuple(numbers), frozenset(repeated), beyond, limit, StudyState(study.state))
        if also is not None:
            also(connection, found)
    return found


def _take(name: str, space: SearchSpace, fixed: Mapping[str, Any], points: Sequence[Point]) -> list[dict[str, Any]]:
    """The points in the parameters' own types.

    Raises:
        SpecError: with everything that is wrong with them.
    """
    problems, taken = [], []
    if not points:
        raise SpecError(f"study '{name}': no point was given")
    for point in points:
        values = {key: _value(space, key, value, is_text=point.is_text) for key, value in point.values.items()}
        found = point_problems(space, fixed, values)
        problems += [f"{point.where}: {problem}" if point.where else problem for problem in found]
        if not found:
            taken.append(_taken(space, values))
    if problems:
        listed = f" {problems[0]}" if len(problems) == 1 else "".join(f"\n  {problem}" for problem in problems)
        raise SpecError(f"study '{name}':{listed}" + ("\nNothing was entered" if len(points) > 1 else ""))
    return taken


def point_problems(space: SearchSpace, fixed: Mapping[str, Any], point: Mapping[str, Any]) -> list[str]:
    """What is wrong with a point, which may leave parameters to the sampler, in words.

    Args:
        fixed: the arguments that are the same in every trial, by name.
    """
    found = [f"'{key}' is not searched: it is {in_words(fixed[key])} in every trial" for key in point if key in fixed]
    found += space.problems({key: value for key, value in point.items() if key not in fixed}, partial=True)
    found += _orphans(space, point)
    if not point:
        found.append(f"no parameter has a value; the study searches {', '.join(space.names)}")
    return found


def insert_points(
    connection: Connection, study_id: int, space: SearchSpace, points: Sequence[Mapping[str, Any]], *, number: int
) -> int:
    """Enter points without problems, in a transaction that has locked the study; how many, each different one once.

    Args:
        number: of the next trial.
    """
    taken = {_key(values): values for values in (_taken(space, point) for point in points)}
    for place, values in enumerate(taken.values()):
        insert_waiting(connection, study_id, number + place, space.stored(values))
    return len(taken)


def _taken(space: SearchSpace, point: Mapping[str, Any]) -> dict[str, Any]:
    """The point in the parameters' own types."""
    return {key: space[key].range.take(value) for key, value in point.items()}


def _value(space: SearchSpace, name: str, value: Any, *, is_text: bool) -> Any:
    if is_text:
        return value_of_text(space[name], value) if name in space else value
    # A number of numpy or pandas, which is not one of Python's.
    return value.item() if type(value).__module__ == "numpy" and hasattr(value, "item") else value


def _orphans(space: SearchSpace, values: Mapping[str, Any]) -> list[str]:
    """Given parameters whose existence would be left to the sampler, so that it could drop them."""
    found = []
    for name in values:
        missing = [parent for parent in space[name].when if parent not in values] if name in space else []
        if missing:
            parents = " and ".join(f"'{parent}'" for parent in missing)
            found.append(f"'{name}' exists only when {space[name].condition()}: give {parents} too")
    return found


def _waiting(connection: Connection, study_id: int, space: SearchSpace) -> dict[str, int]:
    """The numbers of the waiting trials by the key of what they were given."""
    rows = connection.execute(
        select(trials.c.number, trial_system_attributes.c.value_json)
        .join(trial_system_attributes, trial_system_attributes.c.trial_id == trials.c.trial_id)
        .where(
            trials.c.study_id == study_id,
            trials.c.state == OptunaState.WAITING,
            trial_system_attributes.c.key == FIXED,
        )
        .order_by(trials.c.number.desc())
    )
    found = {}
    for row in rows:
        values = json.loads(row.value_json)
        if not space.problems(values, partial=True):  # another program may have enqueued anything
            found[_key(_taken(space, values))] = row.number
    return found


def _key(values: Mapping[str, Any]) -> str:
    return json.dumps(values, sort_keys=True)


def insert_waiting(connection: Connection, study_id: int, number: int, values: Mapping[str, Any]) -> None:
    """Enter one trial, which waits for a worker.

    Args:
        values: of its parameters, as the store has them.
    """
    inserted = connection.execute(insert(trials).values(study_id=study_id, number=number, state=OptunaState.WAITING))
    trial_id = int(inserted.inserted_primary_key[0])  # type: ignore[index]
    connection.execute(
        insert(trial_system_attributes).values(trial_id=trial_id, key=FIXED, value_json=json.dumps(values))
    )


def _trials(numbers: Sequence[int]) -> str:
    if len(numbers) == 1:
        return f"trial {numbers[0]}"
    if len(numbers) > 2 and list(numbers) == list(range(numbers[0], numbers[-1] + 1)):
        return f"trials {numbers[0]} to {numbers[-1]}"
    return f"trials {', '.join(map(str, numbers))}"


def _verb(numbers: Sequence[int]) -> str:
    return "waits" if len(numbers) == 1 else "wait"
