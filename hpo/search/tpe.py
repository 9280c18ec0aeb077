"""Optuna's TPE for studies of any size: a proposal after many thousands of trials costs little more than after one.

Optuna reads each trial of the study for each proposal, which takes half a second after ten thousand. Of more than MOST
trials it is shown a part: the best ones, which make up the good side of TPE's comparison as always, the newest ones,
and others spread evenly over the rest of the study for its other side, where more of them would add little information.
Up to MOST trials the proposals are Optuna's to the last bit, unless trials violate constraints.

Of several objectives, all trials that have a curve are shown as complete, see `hpo.search.several`: Optuna's would read
complete ones only.
"""

from __future__ import annotations

import copy
import heapq
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import optuna
from optuna.distributions import BaseDistribution
from optuna.search_space import IntersectionSearchSpace
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from hpo.search.points import Points
from hpo.search.prior import FADED, fading
from hpo.search.several import as_complete, is_infeasible, points_of, signs_of
from hpo.study.constraints import total
from hpo.study.earlier import Earlier
from hpo.study.objectives import ranks

MOST = 500
BEST = 50  # TPE's good side has 25
NEWEST = 200  # those that run are among them
EARLIER = 40  # trials of earlier studies, as long as there are none of its own
MOST_PROPOSALS = 20  # that are looked at for a feasible one


_Rank = tuple[float, ...]


class Memory:
    """A cache of one study's ended trials, shared by the samplers of a worker's trials.

    Args:
        earlier: what earlier studies know: some of their trials are shown while the study has few.
        distributions: of all parameters.
        first_rung: the epoch, or step, of the first rung at which trials pause; None where they do not.
    """

    def __init__(
        self,
        earlier: Earlier | None = None,
        distributions: Mapping[str, BaseDistribution] | None = None,
        *,
        first_rung: int | None = None,
    ) -> None:
        self._first_rung = first_rung
        self._promoted: dict[int, FrozenTrial] = {}  # by number, as a pruned one
        self.distributions = {} if earlier is None else dict(distributions or {})
        self._earlier = [] if earlier is None else sorted(earlier.trials, key=lambda one: one.rank)
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

    def with_promoted(self, trials: list[FrozenTrial], *, shows_running: bool) -> list[FrozenTrial]:
        """The trials, where those that run beyond the first rung are pruned ones with the values of their last epochs.

        They are among the best: as running ones they would be left out, or be on the bad side by a constant liar.

        Args:
            shows_running: also those that run and were not promoted.
        """
        found = []
        for trial in trials:
            if trial.state != TrialState.RUNNING:
                found.append(trial)
            elif self._first_rung is not None and max(trial.intermediate_values, default=0) > self._first_rung:
                known = self._promoted.get(trial.number)
                if known is None or len(known.intermediate_values) != len(trial.intermediate_values):
                    known = self._promoted[trial.number] = copy.copy(trial)
                    known.state, known.intermediate_values = TrialState.PRUNED, dict(trial.intermediate_values)
                found.append(known)
            elif shows_running:
                found.append(trial)
        return found

    def with_earlier(self, trials: list[FrozenTrial], direction: StudyDirection) -> list[FrozenTrial]:
        """The study's trials after those of earlier ones, each with the value of the study's own trial of its rank.

        They are the fewer, the more the study has; they come first, so that they count less, as the oldest ones.
        """
        if not self._earlier or len(trials) >= FADED + NEWEST:
            return trials
        feasible = [one for one in trials if one.state.is_finished() and not _is_infeasible(one)]
        count = round(min(EARLIER, len(self._earlier)) * fading(len(feasible)))
        sign = -1.0 if direction == StudyDirection.MAXIMIZE else 1.0
        own = sorted(feasible, key=lambda one: _rank(one, sign))
        shown = []
        for place in range(count):
            one = self._earlier[int((place + 0.5) * len(self._earlier) / count)]
            like = own[int(one.rank * len(own))] if own else None
            shown.append(
                FrozenTrial(
                    number=place - count,
                    trial_id=place - count,
                    state=TrialState.COMPLETE if like is None else like.state,
                    value=sign * one.rank if like is None else like.value,
                    datetime_start=None,
                    datetime_complete=None,
                    params=dict(one.params),
                    distributions={name: self.distributions[name] for name in one.params},
                    user_attrs={},
                    system_attrs={},
                    intermediate_values={} if like is None else like.intermediate_values,
                )
            )
        return [*shown, *trials]


class TPE(optuna.samplers.TPESampler):
    """Proposes the same as Optuna's own class, for the trials that it is shown, until one of these is infeasible.

    From then on it proposes as often as it takes to find a point that is likely to be feasible: Optuna's class only
    counts infeasible trials among the bad ones, so that a third of its proposals are still infeasible.

    Args:
        points: of the search space; without it, it proposes the same as Optuna's class throughout.
        distributions: of all parameters.
    """

    def __init__(
        self,
        memory: Memory,
        points: Points | None = None,
        distributions: Mapping[str, BaseDistribution] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._memory = memory
        self._points = points
        self._distributions = distributions or {}
        self._complete: dict[tuple[TrialState, ...], list[FrozenTrial]] = {}  # of several objectives

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        if not self._is_multivariate(study) and _has_infeasible(study):
            return {name: found for name, found in self._distributions.items() if not found.single()}
        if self._group or not self._is_multivariate(study):
            return super().infer_relative_search_space(self._shown(study, counts_first=False), trial)
        found = self._memory.common.calculate(study) or self._memory.distributions
        return {name: distribution for name, distribution in found.items() if not distribution.single()}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if not search_space or self._points is None or not _has_infeasible(study):
            return super().sample_relative(self._shown(study), trial, search_space)
        from hpo.search.feasible import LIKELY, Feasibility  # which takes a while to import

        feasible, found = Feasibility(self._points, _trials(study)), {}
        best = -1.0
        for _ in range(MOST_PROPOSALS):
            proposal = self._proposal(study, trial, search_space)
            if not feasible.has_both or not proposal:
                return proposal
            [probability] = feasible.probabilities([proposal])
            if probability > best:
                found, best = proposal, float(probability)
            if probability >= LIKELY:
                break
        return found

    def _proposal(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if self._is_multivariate(study):
            return super().sample_relative(self._shown(study), trial, search_space)
        shown = self._shown(study)
        return {
            name: super(TPE, self).sample_independent(shown, trial, name, search_space[name]) for name in search_space
        }

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
            is_one = len(self._study.directions) == 1
            asked = {*key, TrialState.RUNNING} if is_one else key
            trials = self._study._get_trials(deepcopy=deepcopy, states=tuple(asked), use_cache=use_cache)
            if is_one:
                trials = self._memory.with_promoted(trials, shows_running=TrialState.RUNNING in key)
                trials = self._memory.with_earlier(trials, self._study.direction)
            if is_counting:
                return trials
            chosen, directions = self._memory.choose(trials, self._study.directions), self._study.directions
            self._chosen[key] = chosen if len(directions) == 1 else as_complete(chosen, directions)
        return self._chosen[key]


def _trials(study: optuna.Study) -> list[FrozenTrial]:
    return study._get_trials(deepcopy=False, use_cache=True)


def _has_infeasible(study: optuna.Study) -> bool:
    return any(trial.system_attrs and total(trial.constraints) > 0 for trial in _trials(study))


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
    if (violation := total(trial.constraints)) > 0:
        return (2.0, violation)
    if trial.state == TrialState.COMPLETE:
        return (0.0, sign * cast(float, trial.value))
    if not trial.intermediate_values:
        return (1.0, 1.0)
    step, value = max(trial.intermediate_values.items())
    return (1.0, -step, sign * value)


def _is_infeasible(trial: FrozenTrial) -> bool:
    return any(violation > 0 for violation in trial.constraints.values())
