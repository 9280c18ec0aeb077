"""Optuna's TPE for studies of any size: a proposal after many thousands of trials costs little more than after one.

Optuna reads each trial of the study for each proposal, which takes half a second after ten thousand. Of more than MOST
trials it is shown a part: the best ones, which make up the good side of TPE's comparison as always, the newest ones,
and others spread evenly over the rest of the study for its other side, where more of them would add little information.
Up to MOST trials the proposals are Optuna's to the last bit.

Of several objectives, all trials that have a curve are shown as complete, see `hpo.search.several`: Optuna's would read
complete ones only.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from typing import Any, cast

import optuna
from optuna.distributions import BaseDistribution
from optuna.search_space import IntersectionSearchSpace
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from hpo.search.several import as_complete, is_infeasible, points_of, signs_of
from hpo.study.objectives import ranks

MOST = 500
BEST = 50  # TPE's good side has 25
NEWEST = 200  # those that run are among them


_Rank = tuple[float, ...]


class Memory:
    """A cache of one study's ended trials, shared by the samplers of a worker's trials."""

    def __init__(self) -> None:
        self.common = IntersectionSearchSpace(include_pruned=True)  # reads each ended trial once
        self._ranks: dict[int, tuple[FrozenTrial, int, _Rank]] = {}  # (ended trial, its epochs then, rank) by id

    def choose(self, trials: list[FrozenTrial], directions: Sequence[StudyDirection]) -> list[FrozenTrial]:
        """The trials that the sampler is shown, in their order."""
        if len(trials) <= MOST:
            return trials
        older, newest = trials[:-NEWEST], trials[-NEWEST:]
        ranked = self._ranked(older, directions) if len(directions) == 1 else _by_front(older, directions)
        spread = MOST - NEWEST - BEST
        places = {place for _, place in heapq.nsmallest(BEST, ranked)}
        places |= {len(older) * part // spread for part in range(spread)}
        return [*(older[place] for place in sorted(places)), *newest]

    def _ranked(self, older: Sequence[FrozenTrial], directions: Sequence[StudyDirection]) -> list[tuple[_Rank, int]]:
        sign = -1.0 if directions[0] == StudyDirection.MAXIMIZE else 1.0
        known = self._ranks
        ranked = []
        for place, trial in enumerate(older):  # without a function call for each: they are many
            entry = known.get(id(trial))
            # One that was paused at a rung may have been promoted.
            if entry is None or entry[1] != len(trial.intermediate_values):
                if not trial.state.is_finished():
                    continue
                entry = known[id(trial)] = trial, len(trial.intermediate_values), _rank(trial, sign)
            ranked.append((entry[2], place))
        return ranked


class TPE(optuna.samplers.TPESampler):
    """Proposes the same as Optuna's own class, for the trials that it is shown."""

    def __init__(self, memory: Memory, **options: Any) -> None:
        super().__init__(**options)
        self._memory = memory
        self._complete: dict[tuple[TrialState, ...], list[FrozenTrial]] = {}  # of several objectives

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        if self._group or not self._is_multivariate(study):
            return super().infer_relative_search_space(self._shown(study, counts_first=False), trial)
        found = self._memory.common.calculate(study)
        return {name: distribution for name, distribution in found.items() if not distribution.single()}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return super().sample_relative(self._shown(study), trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return super().sample_independent(self._shown(study), trial, param_name, param_distribution)

    def _shown(self, study: optuna.Study, *, counts_first: bool = True) -> optuna.Study:
        return cast(optuna.Study, _Shown(study, self._memory, self._complete, counts_first=counts_first))


class _Shown:
    """A study of which a sampler sees only some trials.

    Args:
        complete: the trials of a study of several objectives, as they are shown, by the states that are asked for.
        counts_first: the sampler's first query only counts the trials, so that it gets all of them.
    """

    def __init__(
        self,
        study: optuna.Study,
        memory: Memory,
        complete: dict[tuple[TrialState, ...], list[FrozenTrial]],
        *,
        counts_first: bool,
    ) -> None:
        self._study = study
        self._memory = memory
        self._is_counting = counts_first
        # Of several objectives, parameters are proposed one by one: their trials are converted once.
        self._chosen = complete if len(study.directions) > 1 else {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def _get_trials(self, deepcopy: bool, states: Iterable[TrialState], use_cache: bool = False) -> list[FrozenTrial]:
        # Called by Optuna's TPE; a version that called another method would get all trials, and only be slower.
        key = tuple(states)
        is_counting, self._is_counting = self._is_counting, False
        if is_counting or key not in self._chosen:
            trials = self._study._get_trials(deepcopy=deepcopy, states=key, use_cache=use_cache)
            if is_counting:
                return trials
            chosen, directions = self._memory.choose(trials, self._study.directions), self._study.directions
            self._chosen[key] = chosen if len(directions) == 1 else as_complete(chosen, directions)
        return self._chosen[key]


def _by_front(older: Sequence[FrozenTrial], directions: Sequence[StudyDirection]) -> list[tuple[_Rank, int]]:
    """The non-domination rank of each trial by its last epoch, or by its values, and its place."""
    signs, found = signs_of(directions), {}
    for place, trial in enumerate(older):
        points = points_of(trial, len(signs))
        if trial.state == TrialState.COMPLETE and not is_infeasible(trial):
            found[place] = tuple(signs * trial.values)
        elif points and trial.state != TrialState.COMPLETE:
            found[place] = tuple(signs * points[max(points)])
    return [((float(rank),), place) for place, rank in zip(found, ranks(list(found.values())), strict=True)]


def _rank(trial: FrozenTrial, sign: float) -> _Rank:
    """TPE's order, the best first: complete trials, then pruned ones by their last epoch, then infeasible ones."""
    if is_infeasible(trial):
        return (2.0,)
    if trial.state == TrialState.COMPLETE:
        return (0.0, sign * cast(float, trial.value))
    if not trial.intermediate_values:
        return (1.0, 1.0)
    step, value = max(trial.intermediate_values.items())
    return (1.0, -step, sign * value)
