"""Whether a running trial satisfies its study's constraints: before it trains, and after each epoch."""

from __future__ import annotations

import logging
from typing import Any

from hpo.ipc.messages import Answer, Epoch, Probed
from hpo.study.constraints import UNITS, refusing, violated, violations
from hpo.study.objectives import INFERENCE_MS, PARAMETERS, PEAK_MEMORY, SECONDS_PER_EPOCH
from hpo.study.spec import StudySpec
from hpo.study.states import AttemptEnd, OptunaState
from hpo.worker.running_trial import RunningTrial
from hpo.worker.study_context import StudyContext

log = logging.getLogger(__name__)


def take_probe(context: StudyContext, spec: StudySpec, trial: RunningTrial, report: Probed) -> Answer:
    """Take what one batch has shown, or what is known before it; a trial that violates a constraint is refused."""
    limits = spec.limits_of_trials
    known = {PARAMETERS: report.parameters, INFERENCE_MS: report.inference_ms, PEAK_MEMORY: report.memory}
    trial.measured |= {name: float(value) for name, value in known.items() if value is not None}
    trial.violations |= violations(refusing(limits), trial.measured)
    against = violated(refusing(limits), trial.measured)
    context.history.constrain(trial.number, trial.violations)
    if not against:
        return Answer()
    trial.state, trial.end, trial.is_decided = OptunaState.FAIL, AttemptEnd.REFUSED, True
    trial.cause = f"{AttemptEnd.REFUSED}: {', '.join(one.text for one in against)}"
    trial.error = "; ".join(one.shown(trial.measured[one.name]) for one in against)
    log.info("trial %d is refused before it trains: %s", trial.number, trial.error)
    return Answer(stop=True)


def judge_epoch(spec: StudySpec, trial: RunningTrial, report: Epoch, *, is_best: bool) -> str | None:
    """Bring what the trial measures and violates up to date; what it violates for good, in words.

    A metric counts at the best epoch, whose weights are the trial's model. Memory that is too much stays too much.

    Args:
        is_best: the epoch is the trial's best so far.
    """
    limits = spec.limits_of_trials
    if not limits:
        return None
    if trial.memory is not None:
        trial.measured[PEAK_MEMORY] = float(trial.memory)
    if trial.parameters is not None:
        trial.measured[PARAMETERS] = float(trial.parameters)
    if (seconds := _epoch_seconds(trial, report)) is not None:
        trial.measured[SECONDS_PER_EPOCH] = seconds
    if is_best:
        metrics = {one.name for one in limits} - UNITS.keys()
        trial.measured |= {name: report.metrics[name] for name in metrics if name in report.metrics}
    trial.violations |= violations(limits, trial.measured)
    for_good = [one for one in limits if one.name == PEAK_MEMORY and one.is_upper]
    found = [one.shown(trial.measured[one.name]) for one in violated(for_good, trial.measured)]
    return "; ".join(found) or None


def _epoch_seconds(trial: RunningTrial, report: Epoch) -> float | None:
    """The mean of this attempt's epochs; from the second one on without the first, which takes longer."""
    if trial.reported <= 1:
        trial.first_epoch_seconds = report.seconds
        return report.seconds
    return (report.seconds - trial.first_epoch_seconds) / (trial.reported - 1)


def measured_in_words(spec: StudySpec, trial: RunningTrial) -> dict[str, Any]:
    """User attributes, which optuna-dashboard shows: what the constraints are about, and why a trial is infeasible."""
    limits = spec.limits_of_trials
    shown = {one.name: trial.measured[one.name] for one in limits if one.name in trial.measured}
    against = [one.shown(trial.measured[one.name]) for one in violated(limits, trial.measured)]
    # `parameters` and the memory in MiB are told of every trial
    return {name: value for name, value in shown.items() if name in (INFERENCE_MS, SECONDS_PER_EPOCH)} | (
        {"infeasible": "; ".join(against)} if against else {}
    )
