"""What a search takes over from earlier ones: trials whose parameters are points of its space, ranked.

Values of other data cannot be compared with its own, so that only ranks are used; and the more trials of its own a
search has, the less those of others count (`fading`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpo.errors import SpecError
from hpo.search.expected import expected_costs
from hpo.space import SearchSpace
from hpo.space.values import equal, in_words
from hpo.study.earlier import Earlier, EarlierTrial
from hpo.study.states import Direction

MOST = 100  # trials of an earlier study: the better half by rank, the others spread over the rest
FADED = 40  # trials of its own, from which on a search knows more than the earlier ones


@dataclass(frozen=True)
class FinishedTrial:
    """
    Attributes:
        params: as the study has them, or the store.
        curve: the objective after each epoch, or step, that has one.
        value: of a complete trial; of others, it is expected from the curve.
    """

    params: Mapping[str, Any]
    curve: Mapping[int, float]
    value: float | None = None


@dataclass(frozen=True)
class FinishedStudy:
    """
    Attributes:
        trials: without those that have no value.
        constants: the arguments that are the same in all of them, by name.
    """

    name: str
    direction: Direction
    trials: Sequence[FinishedTrial]
    constants: Mapping[str, Any]


def taken_over(
    studies: Sequence[FinishedStudy], space: SearchSpace, constants: Mapping[str, Any] | None = None
) -> Earlier:
    """The trials of earlier studies that fit the space.

    Args:
        constants: the arguments that are the same in every trial of the new study.

    Raises:
        SpecError: a study has none that fits; says why.
    """
    found: list[EarlierTrial] = []
    words: list[str] = []
    problems: list[str] = []
    for place, study in enumerate(studies):
        fitting: list[tuple[Mapping[str, Any], FinishedTrial]] = []
        reasons: Counter[str] = Counter()
        examples: dict[str, str] = {}
        assumed: dict[str, Any] = {}
        for trial in study.trials:
            point, added, problem = point_in(space, constants or {}, trial.params, study.constants)
            if problem is None:
                fitting.append((space.stored(point), trial))
                assumed |= added
            else:
                reasons[problem[0]] += 1
                examples.setdefault(*problem)
        line = _in_words(study.name, len(study.trials), len(fitting), reasons, examples, assumed)
        (words if fitting else problems).append(line)
        found += _ranked(place, fitting, study.direction)
    if problems:
        raise SpecError("\n".join(problems))
    return Earlier(tuple(found), tuple(words))


def point_in(
    space: SearchSpace, constants: Mapping[str, Any], params: Mapping[str, Any], theirs: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any], tuple[str, str] | None]:
    """The trial as a point of the space, what it lacked, and what keeps it from being one: (parameter, reason).

    Args:
        constants: arguments that are the same in every trial of the space.
        params: of the trial, as its study has them, or the store.
        theirs: other arguments that it was trained with.
    """
    point: dict[str, Any] = {}
    added: dict[str, Any] = {}
    for name, value in params.items():
        if name in space:
            continue
        if name not in constants:
            return {}, {}, (name, f"'{name}' is searched there only")
        if not equal(value, constants[name]):
            here = in_words(constants[name])
            return {}, {}, (name, f"'{name}' is {in_words(value)} there, and {here} in every trial here")
    for name, parameter in space.items():
        if not parameter.is_active(point):
            if name in params:
                return {}, {}, (name, f"'{name}' is searched here only when {parameter.condition()}")
            continue
        if name in params:
            value = params[name]
        elif name in theirs:
            added[name] = value = theirs[name]
        elif parameter.has_default:
            added[name] = value = parameter.default
        else:
            return {}, {}, (name, f"'{name}' is searched here only, and has no default")
        if (problem := parameter.range.problem(value)) is not None:
            return {}, {}, (name, f"'{name}': {in_words(value)} {problem}")
        point[name] = parameter.range.take(value)
    return point, added, None


def fading(own: int) -> float:
    """How much earlier trials count beside so many of the search's own: from 1 down to 0."""
    return max(0.0, 1 - own / FADED)


def _in_words(
    name: str,
    count: int,
    fitting: int,
    reasons: Counter[str],
    examples: Mapping[str, str],
    assumed: Mapping[str, Any],
) -> str:
    said = f"start_from {name}: {fitting} of its {count} finished trial{'s' * (count != 1)} fit{'s' * (fitting == 1)}"
    if not count:
        return f"start_from {name}: it has no finished trial"
    if assumed:
        said += f", with {', '.join(f'{key}={in_words(value)}' for key, value in assumed.items())} where it is not"
        said += " searched there"
    if reasons:
        listed = (f"{number}: {examples[key]}" for key, number in reasons.most_common())
        said += f"; the others do not ({'; '.join(listed)})"
    return said


def _ranked(
    place: int, fitting: Sequence[tuple[Mapping[str, Any], FinishedTrial]], direction: Direction
) -> list[EarlierTrial]:
    if not fitting:
        return []
    epochs = sorted({epoch for _, trial in fitting for epoch in trial.curve})
    column = {epoch: number for number, epoch in enumerate(epochs)}
    curves = np.full((len(fitting), max(1, len(epochs))), np.nan)
    for row, (_, trial) in enumerate(fitting):
        for epoch, value in trial.curve.items():
            if np.isfinite(value):
                curves[row, column[epoch]] = direction.cost(value)
    costs = expected_costs(curves)
    for row, (_, trial) in enumerate(fitting):
        if trial.value is not None:
            costs[row] = direction.cost(trial.value)
    ranked = [
        EarlierTrial(place, fitting[row][0], (at + 0.5) / len(fitting), fitting[row][1].value is not None)
        for at, row in enumerate(np.argsort(costs, kind="stable").tolist())
    ]
    return Earlier(tuple(ranked), ()).some(MOST)
