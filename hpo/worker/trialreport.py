"""What a trial reports while it trains: it is written down, judged, and answered with how to go on."""

from __future__ import annotations

import json
import logging
from functools import partial

from hpo import writes
from hpo.channel import Message
from hpo.definition import OWNERS
from hpo.limits import is_reached
from hpo.search.history import DIVERGED
from hpo.spec import StudySpec
from hpo.store.tables import HELD
from hpo.worker.runningtrial import BEST_CHECKPOINT, RunningTrial
from hpo.worker.stalling import has_stalled
from hpo.worker.workplace import Workplace

log = logging.getLogger(__name__)

# Stop, take the weights as the best, write a checkpoint to go on from, and drop what was taken.
GO_ON: Message = {"stop": False, "save": False, "checkpoint": False, "drop": False}


def take_start(place: Workplace, spec: StudySpec, trial: RunningTrial, message: Message) -> None:
    """The model is built: note what it was built with, also what was left to its defaults."""
    trial.parameters = message["parameters"]
    trial.config["executor"] = message["executor"]
    weights = trial.config.get("weights", {})
    for owner in OWNERS:
        said = trial.config[owner]
        # What the study says of other trials' weights stands; which files these were stands beside it.
        words = {name: value for name, value in said.items() if isinstance(value, str) and value in weights}
        trial.config[owner] = {"class": said["class"], **message[owner], **words}
    if message["from_epoch"]:
        log.info("trial %d goes on after epoch %d", trial.number, message["from_epoch"])
    known = place.history.curve(trial.number)
    for told in message["curve"]:
        if told["epoch"] not in known and told["value"] is not None:
            _record(place, trial, told)
    if message["from_epoch"] == 0:
        (trial.directory / BEST_CHECKPOINT).unlink(missing_ok=True)
    take_up(place, spec, trial, until=message["from_epoch"])
    config, from_epoch = dict(trial.config), message["from_epoch"]
    place.outbox.put(
        lambda connection: writes.describe(connection, trial.claim, config=config, from_epoch=from_epoch),
        then=partial(_on_written, trial),
    )
    _write_beside_checkpoint(trial)


def take_epoch(
    place: Workplace, spec: StudySpec, trial: RunningTrial, message: Message, *, target: float | None
) -> Message:
    """Take in an epoch's metrics, and decide how the trial goes on.

    Args:
        target: the study's, as it is now.
    """
    metric, epoch, value = spec.goal.metric, message["epoch"], message["value"]
    if epoch <= trial.epoch:
        log.warning("trial %d reported epoch %d after epoch %d: ignored", trial.number, epoch, trial.epoch)
        return GO_ON
    trial.epoch = epoch
    if value is None:
        trial.state, trial.kind, trial.cause = "FAIL", DIVERGED, DIVERGED
        trial.error = f"{metric} was not a finite number after epoch {epoch}"
        return GO_ON | {"stop": True, "drop": True}
    is_best = _note(trial, epoch, value, maximize=_is_to_grow(spec))
    is_hopeless = _record(place, trial, message)
    is_good_enough = target is not None and is_reached(target, value, maximize=_is_to_grow(spec))
    if trial.epoch >= trial.epochs or is_good_enough or _has_stalled(place, spec, trial):
        return GO_ON | {"stop": True, "save": is_best}
    rungs = place.history.rungs
    is_hopeless = is_hopeless and (rungs is None or trial.epoch > trial.granted)
    is_held = is_hopeless and rungs is not None and rungs.waits(trial.number, trial.epoch)
    if (is_hopeless and not is_held) or trial.wish == "stop":
        trial.state, trial.cause = "PRUNED", None if is_hopeless and not is_held else trial.wish_cause
        return GO_ON | {"stop": True, "drop": True}
    if is_held:
        trial.back = HELD
        return GO_ON | {"stop": True, "save": is_best, "checkpoint": True}
    if trial.wish == "pause":
        trial.back = trial.wish_cause or "paused"
        return GO_ON | {"stop": True, "save": is_best, "checkpoint": True}
    return GO_ON | {"save": is_best}


def take_up(place: Workplace, spec: StudySpec, trial: RunningTrial, *, until: int | None = None) -> None:
    """Stand where the attempts before have come to.

    Args:
        until: the epoch that this attempt goes on from; None while that is not known, and all of it stands.
    """
    curve = place.history.curve(trial.number)
    known = sorted(epoch for epoch in curve if until is None or epoch <= until)
    trial.value = trial.best_value = trial.best_epoch = None
    for epoch in known:
        _note(trial, epoch, curve[epoch], maximize=_is_to_grow(spec))
    trial.epoch = until if until is not None else max(known, default=0)


def _record(place: Workplace, trial: RunningTrial, message: Message) -> bool:
    """Write down an epoch's metrics; whether the pruner finds the trial hopeless."""
    epoch, value = message["epoch"], message["value"]
    is_hopeless, attributes = place.history.report(trial.number, epoch, value)
    place.outbox.put(
        lambda connection: writes.report(
            connection,
            trial.claim,
            epoch=epoch,
            value=value,
            metrics=message["metrics"],
            seconds=message["seconds"],
            system_attributes=attributes,
        ),
        then=partial(_on_written, trial),
    )
    return is_hopeless


def _on_written(trial: RunningTrial, is_ours: bool) -> None:
    trial.is_dropped = trial.is_dropped or not is_ours


def _note(trial: RunningTrial, epoch: int, value: float, *, maximize: bool) -> bool:
    """Take in a value; whether it is the trial's best."""
    trial.value = value
    best = trial.best_value
    is_best = best is None or (value > best if maximize else value < best)
    if is_best:
        trial.best_value, trial.best_epoch = value, epoch
    return is_best


def _has_stalled(place: Workplace, spec: StudySpec, trial: RunningTrial) -> bool:
    stopping = spec.early_stopping
    curve = place.history.curve(trial.number)
    return stopping is not None and has_stalled(
        [curve[epoch] for epoch in sorted(curve) if epoch <= trial.epoch],  # not what an earlier attempt reached
        patience=stopping.patience,
        min_delta=stopping.min_delta,
        maximize=_is_to_grow(spec),
    )


def _is_to_grow(spec: StudySpec) -> bool:
    return spec.goal.direction == "maximize"


def _write_beside_checkpoint(trial: RunningTrial) -> None:
    """The configuration as `config.json`: from it and a checkpoint, a model can be rebuilt without the store."""
    path = trial.directory / "config.json"
    partial_file = path.with_suffix(".partial")
    try:
        partial_file.write_text(json.dumps(trial.config, indent=2) + "\n", encoding="utf-8")
        partial_file.replace(path)
    except OSError as error:
        log.warning("trial %d: %s cannot be written: %s", trial.number, path, error.strerror)
