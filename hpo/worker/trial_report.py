"""The reports of a running trial: each is recorded, a decision is made, and the trial gets its answer."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from sqlalchemy import Connection

from hpo.errors import nearest
from hpo.ipc.messages import Answer, Epoch, Started
from hpo.queue.best import LOSS
from hpo.queue.report import SAMPLES_PER_SECOND, describe_trial, provenance_before, report_epoch
from hpo.results.warm_start import refers
from hpo.search.rungs import Verdict
from hpo.study.constraints import as_attributes, total
from hpo.study.job import BEST_CHECKPOINT, CONFIG, PREPROCESSING
from hpo.study.objectives import INFERENCE_MS, MEASURED
from hpo.study.resolved_study import BATCH_SIZE, OWNERS, ResolvedStudy
from hpo.study.spec import StudySpec
from hpo.study.states import AttemptEnd, OptunaState
from hpo.worker.decision import Action, Decision, decide, is_less
from hpo.worker.feasibility import judge_epoch
from hpo.worker.provenance import with_changes
from hpo.worker.running_trial import RunningTrial
from hpo.worker.study_context import StudyContext
from hpo.worker.trainings import take_later_start

log = logging.getLogger(__name__)

# An answer that ends an attempt saves as well where the epoch is the best so far.
ANSWERS = {
    Action.CONTINUE: Answer(),
    Action.SAVE: Answer(save=True),
    Action.PAUSE: Answer(stop=True, checkpoint=True),
    Action.PRUNE: Answer(stop=True, drop=True),
    Action.STOP: Answer(stop=True),
    Action.DROP: Answer(stop=True, drop=True),
}


def take_start(context: StudyContext, resolved: ResolvedStudy, trial: RunningTrial, report: Started) -> None:
    """The model is built: record its arguments, defaults included, its provenance, and the epoch that it resumes from.

    The provenance is what the store has of the trial's newest attempt.
    """
    is_first = trial.parameters is None  # of those that this attempt reports
    if report.training > 1:
        take_later_start(trial, report)
    if not is_first:
        return
    trial.parameters = report.parameters
    trial.config["executor"] = report.executor
    weights = trial.config.get("weights", {})
    for owner in OWNERS:
        before = trial.config[owner]
        # References to other trials' weights stay as in the study file; `weights` has the files that they stand for.
        references = {name: value for name, value in before.items() if refers(value, weights)}
        size = {BATCH_SIZE: before[BATCH_SIZE]} if BATCH_SIZE in before else {}  # of the parts together, if it has some
        trial.config[owner] = {"class": before["class"], **getattr(report, owner), **references, **size}
    if report.training > 1:
        _describe(context, resolved, trial, report, from_epoch=trial.epoch)
        return
    known = context.history.curve(trial.number)
    _log_resumption(trial, report, trained=max(known, default=0))
    for earlier in report.curve:
        earlier = with_all_objectives(resolved.spec, earlier)
        if earlier.epoch not in known and earlier.value is not None:
            _record(context, resolved.spec, trial, earlier)
    if report.from_epoch == 0:
        # Of an attempt that cannot be resumed.
        context.folder.remove(*(trial.directory / name for name in (BEST_CHECKPOINT, PREPROCESSING)))
    restore_progress(context, resolved.spec, trial, until=report.from_epoch)
    _describe(context, resolved, trial, report, from_epoch=report.from_epoch)
    _write_beside_checkpoint(trial)


def _describe(
    context: StudyContext, resolved: ResolvedStudy, trial: RunningTrial, report: Started, *, from_epoch: int
) -> None:
    """Record the configuration and the provenance."""
    config = dict(trial.config)
    provenance = context.provenance.of_trial(resolved, seed=config["seed"], slot=trial.slot, executor=report.executor)

    def write(connection: Connection) -> bool:
        before = provenance_before(connection, trial.claim) if trial.claim.attempt > 1 else None
        text = with_changes(provenance, before, attempt=trial.claim.attempt, from_epoch=from_epoch)
        return describe_trial(connection, trial.claim, config=config, from_epoch=from_epoch, provenance=text)

    context.outbox.put(write, then=partial(_on_written, trial))


def take_epoch(
    context: StudyContext,
    spec: StudySpec,
    trial: RunningTrial,
    report: Epoch,
    *,
    target: float | None,
) -> Answer:
    """Record an epoch's metrics, decide about the trial, and answer it.

    Args:
        target: the study's current one.
    """
    report = with_all_objectives(spec, report)
    if report.epoch <= trial.epoch:
        log.warning("trial %d reported %s %d after %d: ignored", trial.number, trial.unit, report.epoch, trial.epoch)
        return Answer()
    trial.epoch, trial.reached, trial.step = report.epoch, None, 0
    if trial.samples is not None and report.seconds > 0:
        trial.samples_per_second = trial.samples * (report.epoch - trial.trained_from) / report.seconds
    curve = context.history.curve(trial.number)
    # Not what an earlier attempt reached later, nor anything where this one has restored nothing.
    known = curve if trial.best_value is not None else {}
    before = [known[epoch] for epoch in sorted(known) if epoch < report.epoch]
    if (loss := report.metrics.get(LOSS)) is not None:
        trial.losses[report.epoch] = loss
    wins_tie = report.value == trial.best_value and is_less(loss, trial.losses.get(trial.best_epoch or 0))
    direction = spec.objective.direction
    is_best = report.value is not None and (
        trial.best_value is None or wins_tie or direction.better(report.value, trial.best_value)
    )
    hopeless = judge_epoch(spec, trial, report, is_best=is_best)
    verdict = (
        _record(context, spec, trial, report) if report.value is not None or not report.is_judged else Verdict.CONTINUE
    )
    is_infeasible = total(trial.violations) > 0
    decision = decide(
        before,
        report.value,
        is_judged=report.is_judged,
        wins_tie=wins_tie,
        epoch=report.epoch,
        epochs=trial.epochs,
        direction=direction,
        verdict=verdict if hopeless is None else Verdict.PRUNE,
        granted=trial.granted if hopeless is None else 0,
        requested=trial.requested,
        # what several objectives reach together, the study's progress says
        target=target if trial.trainings == 1 and not spec.objectives.are_several and not is_infeasible else None,
        early_stopping=spec.early_stopping,
        is_planned=trial.is_planned,
        unit=spec.unit,
        keeps_diverged=spec.diverged == "keep",
        keeps_last="stop_after" in trial.config,
    )
    lacking = (metric for metric in spec.objectives.metrics if metric not in report.metrics)
    _apply(trial, decision, report, metric=next(lacking, spec.objective.metric))
    if hopeless is not None and decision.action == Action.PRUNE:
        trial.cause = f"infeasible: {hopeless}"
    answer = ANSWERS[decision.action]
    if decision.action == Action.STOP and trial.trainings > 1:
        answer, trial.is_decided = replace(answer, is_trained=True), False
    drop = answer.drop and not (decision.action == Action.PRUNE and spec.keep.checkpoints)
    return replace(answer, save=decision.is_best and not drop, drop=drop)


def restore_progress(context: StudyContext, spec: StudySpec, trial: RunningTrial, *, until: int | None = None) -> None:
    """Set the trial's epoch and values from the curve of earlier attempts.

    Args:
        until: the epoch that this attempt resumes from; None while that is not known, for the whole curve.
    """
    curve = context.history.curve(trial.number)
    known = sorted(epoch for epoch in curve if until is None or epoch <= until)
    trial.value = trial.best_value = trial.best_epoch = trial.best_file_before = None
    for epoch in known:
        trial.value, loss = curve[epoch], trial.losses.get(epoch)
        wins_tie = trial.value == trial.best_value and is_less(loss, trial.losses.get(trial.best_epoch or 0))
        if trial.best_value is None or wins_tie or spec.objective.direction.better(trial.value, trial.best_value):
            trial.best_value, trial.best_epoch = trial.value, epoch
    trial.epoch = until if until is not None else max(known, default=0)


def with_all_objectives(spec: StudySpec, report: Epoch) -> Epoch:
    """The report; without a value where an objective is not among its metrics, as after one that is not finite."""
    is_whole = all(metric in report.metrics for metric in spec.objectives.further)
    return report if is_whole or report.value is None else replace(report, value=None)


def _record(context: StudyContext, spec: StudySpec, trial: RunningTrial, report: Epoch) -> Verdict:
    """Record an epoch's metrics; the pruner's verdict on the trial, if the objectives were among them."""
    value, verdict = report.value, Verdict.CONTINUE
    attributes: dict[str, Any] = {}
    if value is not None:
        further = [report.metrics[metric] for metric in spec.objectives.further]
        verdict, attributes = context.history.report(
            trial.number, report.epoch, value, *further, violations=trial.violations
        )
    attributes |= as_attributes(trial.violations)
    told: dict[str, Any] = {}
    if trial.samples_per_second is not None and trial.reported == 1:  # it hardly changes, and each costs a statement
        told = {SAMPLES_PER_SECOND: round(trial.samples_per_second), "parameters": trial.parameters}
    context.outbox.put(
        lambda connection: report_epoch(
            connection,
            trial.claim,
            epoch=report.epoch,
            value=value,
            metrics=report.metrics,
            seconds=report.seconds,
            system_attributes=attributes,
            attributes=told,
        ),
        then=partial(_on_written, trial),
    )
    return verdict


def _apply(trial: RunningTrial, decision: Decision, report: Epoch, *, metric: str) -> None:
    """Apply the decision to the trial's state."""
    if report.value is not None:
        trial.value = report.value
    trial.metrics = report.metrics
    if decision.is_best:
        trial.best_value, trial.best_epoch = report.value, report.epoch
        trial.best_file_before = trial.best_file
    trial.is_decided = ANSWERS[decision.action].stop
    match decision.action:
        case Action.DROP:
            trial.state, trial.end, trial.cause = OptunaState.FAIL, decision.end, decision.reason
            trial.error = f"{metric} was not a finite number after {trial.unit} {report.epoch}"
        case Action.PRUNE:
            trial.state = OptunaState.FAIL if trial.value is None else OptunaState.PRUNED
            trial.cause = decision.reason
        case Action.PAUSE:
            trial.handed_back = decision.end
        case Action.STOP if decision.end == AttemptEnd.DIVERGED:
            trial.end, trial.cause = decision.end, f"{decision.reason} at {trial.unit} {report.epoch}"
        case Action.STOP if decision.reason is not None:
            log.info("trial %d ends at %s %d: %s", trial.number, trial.unit, report.epoch, decision.reason)


def never_logged(objectives: Sequence[str], metrics: Mapping[str, float], *, after: str) -> str:
    """The error of a model that has not logged an objective.

    Args:
        objectives: their metrics.
        metrics: those that it did log.
        after: how long it was trained, such as `two epochs`.
    """
    metric = next((one for one in objectives if one not in metrics), objectives[0])
    if metric == INFERENCE_MS:
        return f"{metric} cannot be measured: validation_step does not call the model as self(...)"
    if metric in MEASURED:
        return f"{metric} cannot be measured on this system"
    names = ", ".join(sorted(metrics)) or "nothing"
    return (
        f"the model never logs '{metric}'{nearest(metric, metrics) or '.'} After {after} it had logged {names}. "
        f"Log it in validation_step with self.log('{metric}', ...)"
    )


def _log_resumption(trial: RunningTrial, report: Started, *, trained: int) -> None:
    """Log from where the attempt goes on.

    Args:
        trained: the last epoch of earlier attempts.
    """
    lost, reasons = trial.unit.counted(max(0, trained - report.from_epoch)), "; ".join(report.unusable)
    if report.from_epoch:
        log.info("trial %d resumes after %s %d", trial.number, trial.unit, report.from_epoch)
        if reasons:
            log.warning("trial %d trains %s a second time, because %s", trial.number, lost, reasons)
    elif reasons or trained > report.from_epoch:
        because = reasons or f"there is no checkpoint in {trial.directory}"
        log.warning("trial %d begins again, and trains %s a second time: %s", trial.number, lost, because)


def _on_written(trial: RunningTrial, is_ours: bool) -> None:
    trial.is_dropped = trial.is_dropped or not is_ours


def _write_beside_checkpoint(trial: RunningTrial) -> None:
    """The configuration as `config.json`: from it and a checkpoint, a model can be rebuilt without the store."""
    path = trial.directory / CONFIG
    partial_file = path.with_suffix(".partial")
    try:
        partial_file.write_text(json.dumps(trial.config, indent=2) + "\n", encoding="utf-8")
        partial_file.replace(path)
    except OSError as error:
        log.warning("trial %d: %s cannot be written: %s", trial.number, path, error.strerror)
