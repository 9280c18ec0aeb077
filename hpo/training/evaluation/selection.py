"""Chooses the models of an ensemble by what they give on the validation part, and tells whether it pays.

Greedy selection with replacement, Caruana et al. 2004, "Ensemble selection from libraries of models", ICML: the
ensemble begins with the best model, and gets in each round the model with which its average is best; one that is chosen
twice counts twice. It is repeated with random halves of the models, and what these give is averaged, which fits less to
the samples that choose: Caruana et al. 2006, "Getting the most out of ensemble selection", ICDM. Where that is worse
than the best model on these samples, the selection among all models counts, which never is.

What is trained again on both parts needs weights that fit less still to these samples: their average over bootstrap
samples of the part, as in bagging (Breiman 1996).

Whether it is better on others, cross-validation tells: both the ensemble and the best single model are chosen on some
of the samples, and compared on the rest.
"""

from __future__ import annotations

import itertools
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from hpo.study.job import EvaluationJob
from hpo.training.evaluation.fitted import EvaluationError
from hpo.training.evaluation.outputs import Outputs, moved, output_of, outputs_of
from hpo.training.evaluation.scores import (
    compared_metric,
    is_higher_better,
    statistic_of,
    units_of,
    with_intervals,
)
from hpo.training.evaluation.together import Group, are_of_same_targets, groups_of
from hpo.training.inspection.samples import Array

BAGS = 10  # random halves of the models
ROUNDS = 30
PATIENCE = 5  # rounds without a better ensemble
LEAST_SHARE = 0.02  # of a model that is worth the time which it takes to predict
FOLDS = 5
TIMES = 5  # that a batch is predicted, to measure the fastest

Score = Callable[[Array, Array], tuple[float, ...]]  # of (truth, predicted): larger is better, further ones break ties


def select(job: EvaluationJob) -> dict[str, Any]:
    """The ensemble of the job's models, in plain values: see hpo.results.final:Choice, with the places of members.

    Raises:
        EvaluationError: no model can be evaluated.
        HpoError: a checkpoint cannot be read, or a class not be built.
    """
    found: dict[int, Outputs] = {}
    seconds: dict[int, float] = {}
    notes: list[str] = []
    for group in groups_of(job):
        for place, model in zip(group.places, group.models, strict=True):
            outputs, problems = outputs_of(model, group.fitted)
            first = next(iter(found.values()), outputs)
            if outputs is None or first is None:
                notes += problems
            elif not are_of_same_targets(first, outputs):
                notes.append("models that were trained for other targets cannot be averaged with the others")
            else:
                found[place], seconds[place] = outputs, _seconds(model, group)
    if not found:
        raise EvaluationError(f"no model can be chosen for an ensemble: {'; '.join(notes)}")
    places, every = list(found), list(found.values())
    compared = compared_metric(job.metric, every[0])
    score = score_of(compared, every[0])
    predicted = [outputs.predicted for outputs in every]
    chosen = choose(predicted, every[0].truth, score)
    best = best_of(predicted, every[0].truth, score)
    sign = 1 if is_higher_better(compared) else -1
    whole = sign * score(every[0].truth, average(predicted, chosen))[0]
    return {
        "members": [(places[number], weight) for number, weight in chosen.most_common()],
        "candidates": len(found),
        "metric": compared,
        "value": whole,
        "best": sign * score(every[0].truth, predicted[best])[0],
        "gain": gain_of(every, compared, score),
        "resampled": [(places[number], weight) for number, weight in resampled(every, score).most_common()],
        "cost": sum(seconds[places[number]] for number in chosen) / seconds[places[best]],
        "notes": list(dict.fromkeys(notes)),
    }


def choose(predicted: Sequence[Array], truth: Array, score: Score) -> Counter[int]:
    """The models' weights in the ensemble."""
    best = best_of(predicted, truth, score)
    draws = np.random.default_rng(0)
    total: dict[int, float] = dict.fromkeys(range(len(predicted)), 0.0)
    for _ in range(BAGS):
        half = np.sort(draws.choice(len(predicted), -(-len(predicted) // 2), replace=False)).tolist()
        found = greedy(predicted, truth, score, among=half)
        for number, times in found.items():
            total[number] += times / found.total() / BAGS
    weights = _worth_it(total)
    if score(truth, average(predicted, weights)) < score(truth, predicted[best]):
        weights = greedy(predicted, truth, score, among=range(len(predicted)))
    divisor = math.gcd(*weights.values())
    return Counter({number: weight // divisor for number, weight in weights.items()})


def resampled(every: Sequence[Outputs], score: Score) -> Counter[int]:
    """The models' weights on average over bootstrap samples of the part, in hundredths: as `choose` does for one.

    Where few samples cannot tell models apart, these share the weight. Without those below LEAST_SHARE.
    """
    units, draws = units_of(every[0]), np.random.default_rng(0)
    total: dict[int, float] = dict.fromkeys(range(len(every)), 0.0)
    for _ in range(BAGS):
        rows = np.concatenate([units[number] for number in draws.integers(len(units), size=len(units))])
        found = choose([outputs.predicted[rows] for outputs in every], every[0].truth[rows], score)
        for number, weight in found.items():
            total[number] += weight / found.total() / BAGS
    return _worth_it(total)


def _worth_it(shares: Mapping[int, float]) -> Counter[int]:
    """In hundredths, the shares of the models that are worth their time."""
    least = min(LEAST_SHARE, max(shares.values()))
    return Counter({number: max(1, round(100 * share)) for number, share in shares.items() if share >= least})


def greedy(predicted: Sequence[Array], truth: Array, score: Score, *, among: Sequence[int]) -> Counter[int]:
    """How often each of these models is in the ensemble."""
    members = [best_of(predicted, truth, score, among=among)]
    total = predicted[members[0]].copy()
    best, best_count = score(truth, total), 1
    while len(members) < ROUNDS and len(members) - best_count < PATIENCE:
        scores = {number: score(truth, (total + predicted[number]) / (len(members) + 1)) for number in among}
        taken = max(among, key=lambda number: (*scores[number], -number))
        members.append(taken)
        total += predicted[taken]
        if scores[taken] > best:
            best, best_count = scores[taken], len(members)
    return Counter(members[:best_count])


def best_of(predicted: Sequence[Array], truth: Array, score: Score, *, among: Sequence[int] | None = None) -> int:
    """The best single model, of these; of equal ones the first."""
    return max(
        range(len(predicted)) if among is None else among,
        key=lambda number: (*score(truth, predicted[number]), -number),
    )


def average(predicted: Sequence[Array], weights: Counter[int]) -> Array:
    """The weighted mean of the models that have a weight."""
    return np.asarray(np.average([predicted[number] for number in weights], axis=0, weights=list(weights.values())))


def score_of(compared: str, outputs: Outputs) -> Score:
    """The compared metric; between ensembles that are right as often, the more probable truth."""
    statistic, sign = statistic_of(outputs), 1 if is_higher_better(compared) else -1
    also = ["log_loss"] if outputs.task == "classes" and compared != "log_loss" else []

    def score(truth: Array, predicted: Array) -> tuple[float, ...]:
        values = (sign * statistic(truth, predicted, compared)[compared],)
        return values + tuple(-statistic(truth, predicted, name)[name] for name in also)

    return score


def gain_of(every: Sequence[Outputs], compared: str, score: Score) -> dict[str, float]:
    """Of the ensemble over the best model, on samples that have chosen neither: {value, low, high}, positive is better.

    Samples that depend on each other, as neighbouring windows, are in the same fold.
    """
    units = units_of(every[0])
    folds = folds_of(units, is_ordered=every[0].block > 1)
    together, alone = every[0].predicted.copy(), every[0].predicted.copy()
    truth = every[0].truth
    for number, fold in enumerate(folds):
        rest = np.concatenate([other for place, other in enumerate(folds) if place != number])
        known = [outputs.predicted[rest] for outputs in every]
        chosen, best = choose(known, truth[rest], score), best_of(known, truth[rest], score)
        together[fold] = average([outputs.predicted[fold] for outputs in every], chosen)
        alone[fold] = every[best].predicted[fold]
    sign = 1 if is_higher_better(compared) else -1
    outputs = replace(every[0], predicted=together)
    found = with_intervals(outputs, statistic_of(outputs), only=compared, against=alone).get(compared, {"value": 0.0})
    ends = sorted(sign * found[end] for end in ("low", "high") if end in found)
    return {"value": sign * found["value"], **dict(zip(("low", "high"), ends, strict=False))}


def folds_of(units: Sequence[Array], *, is_ordered: bool) -> list[Array]:
    """The rows of each fold.

    Args:
        is_ordered: neighbours are alike, as windows of a series are, so that a fold is a stretch of them.

    Raises:
        EvaluationError: there is one unit only.
    """
    count = min(FOLDS, len(units))
    if count < 2:
        raise EvaluationError("a validation part of one sample cannot choose an ensemble")
    if is_ordered:
        cuts = [units[start:stop] for start, stop in _spans(len(units), count)]
    else:
        cuts = [units[start::count] for start in range(count)]
    return [np.concatenate(cut) for cut in cuts]


def _spans(total: int, count: int) -> list[tuple[int, int]]:
    ends = [round(total * number / count) for number in range(count + 1)]
    return list(itertools.pairwise(ends))


def _seconds(model: Any, group: Group) -> float:
    """To predict a batch."""
    batch = moved(next(iter(group.fitted.loader())), group.fitted.device)
    measured = []
    with torch.no_grad():
        for _ in range(TIMES):
            started = time.perf_counter()
            output_of(model, batch, 0)
            measured.append(time.perf_counter() - started)
    return min(measured)
