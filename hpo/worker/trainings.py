"""A trial that is trained several times, on folds of the data or with other seeds: its later trainings.

The first one is reported, pruned and shown as that of any trial. What the others reach counts in the trial's value,
which is the mean. After each, a trial is pruned that is hopeless against the best one on the same folds.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from functools import partial
from statistics import fmean, stdev

from hpo.ipc.messages import Answer, Epoch, Started
from hpo.queue.best import LOSS
from hpo.queue.report import report_trainings
from hpo.study.spec import StudySpec
from hpo.study.states import Direction, OptunaState, Request
from hpo.worker.decision import Action, decide, is_less
from hpo.worker.running_trial import RunningTrial
from hpo.worker.study_context import StudyContext

HOPELESS = 2.0  # standard errors of the best trial's values, by which a mean is worse

log = logging.getLogger(__name__)


def take_later_start(trial: RunningTrial, report: Started) -> None:
    """The model of a later training is built."""
    trial.training = report.training
    known = [epoch for epoch in report.curve if epoch.value is not None]
    trial.later = [epoch.value for epoch in known if epoch.value is not None]
    trial.later_losses = [epoch.metrics.get(LOSS) for epoch in known]


def take_later_epoch(spec: StudySpec, trial: RunningTrial, report: Epoch) -> Answer:
    """Decide about a later training after an epoch: as for a trial, but without its pruner and the study's target."""
    decision = decide(
        trial.later,
        report.value,
        is_judged=report.is_judged,
        wins_tie=_wins_tie(trial, report, spec.objective.direction),
        epoch=report.epoch,
        epochs=trial.epochs,
        direction=spec.objective.direction,
        requested=trial.requested,
        early_stopping=spec.early_stopping,
        is_planned=trial.is_planned,
        unit=spec.unit,
        keeps_diverged=spec.diverged == "keep",
    )
    if report.value is not None:
        trial.later.append(report.value)
        trial.later_losses.append(report.metrics.get(LOSS))
    trial.metrics = report.metrics
    match decision.action:
        case Action.DROP:
            trial.state, trial.end, trial.cause = OptunaState.FAIL, decision.end, decision.reason
            trial.error = (
                f"{spec.objective.metric} was not a finite number after {trial.unit} {report.epoch} of training "
                f"{trial.training} of {trial.trainings}"
            )
        case Action.PRUNE:
            trial.state, trial.cause = OptunaState.PRUNED, decision.reason
        case Action.PAUSE:
            trial.handed_back = decision.end
    ends = decision.ends_attempt
    is_trained = decision.action == Action.STOP
    return Answer(
        stop=ends,
        save=decision.is_best and (not ends or is_trained or decision.action == Action.PAUSE),
        checkpoint=decision.action == Action.PAUSE,
        drop=ends and not is_trained and decision.action != Action.PAUSE,
        is_trained=is_trained,
    )


def _wins_tie(trial: RunningTrial, report: Epoch, direction: Direction) -> bool:
    """Whether the epoch's value is as good as the training's best one, and its loss smaller than that of all these."""
    best = min(trial.later, key=direction.cost, default=None)
    if report.value is None or report.value != best:
        return False
    its = [loss for value, loss in zip(trial.later, trial.later_losses, strict=True) if value == best]
    return all(is_less(report.metrics.get(LOSS), loss) for loss in its)


def take_trained(context: StudyContext, spec: StudySpec, trial: RunningTrial, *, best: Sequence[float]) -> Answer:
    """Record what a training has reached, and answer whether the next one follows.

    Args:
        best: what the best trial has reached in each of its trainings; empty without one.
    """
    direction = spec.objective.direction
    reached = trial.best_value if trial.training == 1 else min(trial.later, key=direction.cost, default=None)
    if reached is None:
        return Answer(stop=True)  # the trial fails, as one without an epoch
    trial.results.append(reached)
    trial.later, trial.later_losses = [], []
    trial.training = len(trial.results) + 1
    results = list(trial.results)
    context.outbox.put(
        lambda connection: report_trainings(connection, trial.claim, results), then=partial(_on_written, trial)
    )
    log.info(
        "trial %d: %s %d of %d reached %s %.4g", trial.number, _what(spec), len(results), trial.trainings,
        spec.objective.metric, reached,
    )  # fmt: skip
    if len(results) >= trial.trainings:
        trial.is_decided = True
        return Answer(stop=True)
    requested = trial.requested
    if requested is not None and requested.request == Request.STOP:
        trial.state, trial.cause = OptunaState.PRUNED, requested.reason
        return Answer(stop=True)
    if requested is not None:
        trial.handed_back = requested.end
        return Answer(stop=True)
    if spec.pruner.name != "none" and is_hopeless(results, best, direction):
        trial.state = OptunaState.PRUNED
        trial.cause = f"hopeless after {len(results)} of {trial.trainings} {_what(spec)}s"
        return Answer(stop=True)
    return Answer()


def is_hopeless(results: Sequence[float], best: Sequence[float], direction: Direction) -> bool:
    """Whether the mean so far is worse than the best trial's in the same trainings by two of its standard errors.

    The standard error is that of as many values as the best trial's, whose spread includes how hard each fold is: as
    both are trained on the same folds, it is larger than that of their difference, and few are pruned by mistake.
    """
    if len(best) < 2:
        return False
    lead = direction.gain(fmean(best[: len(results)]), fmean(results))
    return lead > HOPELESS * stdev(best) / math.sqrt(len(results))


def standard_error(results: Sequence[float]) -> float | None:
    """Of the mean; None of one value."""
    return stdev(results) / math.sqrt(len(results)) if len(results) > 1 else None


def _what(spec: StudySpec) -> str:
    return "fold" if spec.folds else "repeat"


def _on_written(trial: RunningTrial, is_ours: bool) -> None:
    trial.is_dropped = trial.is_dropped or not is_ours
