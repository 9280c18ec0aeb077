"""TPE in studies of many trials: the trials that it is shown, and proposals equal to those of Optuna's own."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Any, Literal

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from hpo.search import tpe
from hpo.search.tpe import TPE, Memory

LR = optuna.distributions.FloatDistribution(1e-4, 1e-1, log=True)
DEPTH = optuna.distributions.IntDistribution(1, 4)
KIND = optuna.distributions.CategoricalDistribution(("adam", "sgd"))
Direction = Literal["minimize", "maximize"]

MOMENTUM = optuna.distributions.FloatDistribution(0.0, 1.0)


def suggest_plain(trial: optuna.Trial) -> dict[str, object]:
    return {"lr": trial.suggest_float("lr", 1e-4, 1e-1, log=True), "depth": trial.suggest_int("depth", 1, 4)}


def suggest_conditional(trial: optuna.Trial) -> dict[str, object]:
    found = suggest_plain(trial) | {"kind": trial.suggest_categorical("kind", ("adam", "sgd"))}
    return found | ({"momentum": trial.suggest_float("momentum", 0.0, 1.0)} if found["kind"] == "sgd" else {})


def ended(count: int, *, is_conditional: bool, seed: int = 0) -> list[FrozenTrial]:
    draw = random.Random(seed)
    found = []
    for _ in range(count):
        distributions = {"lr": LR, "depth": DEPTH}
        params: dict[str, object] = {"lr": 10 ** draw.uniform(-4, -1), "depth": draw.randint(1, 4)}
        if is_conditional:
            distributions["kind"], params["kind"] = KIND, draw.choice(KIND.choices)
            if params["kind"] == "sgd":
                distributions["momentum"], params["momentum"] = MOMENTUM, draw.random()
        value = draw.random()
        state = draw.choice((TrialState.COMPLETE, TrialState.PRUNED))
        curve = {1: value, 2: value} if draw.random() < 0.5 else {1: value}
        found.append(
            create_trial(
                state=state, value=value, params=params, distributions=distributions, intermediate_values=curve
            )
        )
    return found


def study_of(trials: list[FrozenTrial], direction: Direction = "minimize") -> optuna.Study:
    study = optuna.create_study(direction=direction)
    study.add_trials(trials)
    return study


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("suggest", [suggest_plain, suggest_conditional])
def test_up_to_a_number_of_trials_the_proposals_are_optunas(
    suggest: Callable[[optuna.Trial], dict[str, object]],
) -> None:
    is_conditional = suggest is suggest_conditional
    options: dict[str, Any] = {"multivariate": True, "group": True} if is_conditional else {}
    memory = Memory()
    study = study_of(ended(60, is_conditional=is_conditional))
    twin = study_of(ended(60, is_conditional=is_conditional))

    for number in range(15):  # what is remembered from one sampler to the next makes no difference
        study.sampler = TPE(memory, seed=number, **options)
        twin.sampler = optuna.samplers.TPESampler(seed=number, **options)
        ours, theirs = study.ask(), twin.ask()
        assert suggest(ours) == suggest(theirs)
        if number % 3:  # the others go on
            for one, trial in ((study, ours), (twin, theirs)):
                one.tell(trial, number / 15)


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_of_many_trials_the_best_and_the_newest_are_shown_and_some_of_all_the_rest(direction: Direction) -> None:
    trials = study_of(ended(9_000, is_conditional=False)).get_trials(deepcopy=False)
    study = study_of([], direction)

    shown = [trial.number for trial in Memory().choose(trials, study.directions)]

    complete = sorted((t for t in trials if t.state == TrialState.COMPLETE), key=lambda t: t.value or 0.0)
    best = complete[:25] if direction == "minimize" else complete[-25:]
    assert tpe.MOST - tpe.BEST <= len(shown) <= tpe.MOST
    assert shown == sorted(set(shown))
    assert {trial.number for trial in best} <= set(shown)
    assert shown[-tpe.NEWEST :] == list(range(9_000 - tpe.NEWEST, 9_000))
    assert max(after - before for before, after in itertools.pairwise(shown)) < 40


def test_pruned_trials_that_came_far_are_the_best_where_none_is_complete() -> None:
    trials = study_of(ended(5_000, is_conditional=False)).get_trials(deepcopy=False)
    pruned = [trial for trial in trials if trial.state == TrialState.PRUNED]

    shown = {trial.number for trial in Memory().choose(pruned, [optuna.study.StudyDirection.MINIMIZE])}

    far = sorted((t for t in pruned if len(t.intermediate_values) == 2), key=lambda t: t.intermediate_values[2])
    assert {trial.number for trial in far[:25]} <= shown


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("suggest", [suggest_plain, suggest_conditional])
def test_a_proposal_after_many_trials_reads_few_of_them(
    suggest: Callable[[optuna.Trial], dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tpe, "MOST", 40)
    monkeypatch.setattr(tpe, "BEST", 26)
    monkeypatch.setattr(tpe, "NEWEST", 4)
    is_conditional = suggest is suggest_conditional
    options: dict[str, Any] = {"multivariate": True, "group": True} if is_conditional else {}
    trials = ended(300, is_conditional=is_conditional)
    study = study_of(trials)
    study.sampler = TPE(Memory(), seed=1, **options)
    asked = study.ask()
    *chosen, own = Memory().choose(study.get_trials(deepcopy=False), study.directions)
    few = study_of([trials[trial.number] for trial in chosen])
    few.sampler = optuna.samplers.TPESampler(seed=1, **options)

    of_many, of_few = suggest(asked), suggest(few.ask())

    assert own.number == asked.number

    assert of_many == of_few


@pytest.mark.parametrize("constant_liar", [False, True])
def test_a_promoted_trial_counts_by_its_last_epoch_while_it_runs(constant_liar: bool) -> None:
    """It is among the best: a sampler that waited for its end would turn away from what is good meanwhile."""
    study = optuna.create_study(direction="maximize")
    for number in range(30):
        trial = study.ask()
        trial.suggest_float("x", 0.0, 1.0)
        for epoch in range(1, 4):
            trial.report(number / 100, epoch)
        if number < 28:
            study.tell(trial, state=TrialState.PRUNED)
    for epoch in range(4, 8):
        study._storage.set_trial_intermediate_value(29, epoch, 0.9)
    states = (TrialState.COMPLETE, TrialState.PRUNED, *([TrialState.RUNNING] if constant_liar else []))

    def shown(memory: Memory) -> dict[int, TrialState]:
        found = tpe._Shown(study, memory, {}, counts_first=False)._get_trials(deepcopy=False, states=states)
        return {one.number: one.state for one in found if one.number >= 28}

    assert shown(Memory(first_rung=3))[29] == TrialState.PRUNED
    assert shown(Memory(first_rung=3)).get(28) == (TrialState.RUNNING if constant_liar else None)
    assert shown(Memory()).get(29) == (TrialState.RUNNING if constant_liar else None)
    assert study.trials[29].state == TrialState.RUNNING
