"""What `hpo replay` does: a trial's configuration is trained again, and compared with what its study has of it."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpo.errors import HpoError, RunError, SpecError
from hpo.ipc.channel import ChannelClosedError, Message
from hpo.ipc.messages import Answer, Epoch, Started
from hpo.results.trial import TrialRecord
from hpo.results.warm_start import refers
from hpo.service.prepare import PreparedStudy
from hpo.service.replay_result import Difference, Replay
from hpo.service.retraining import retrain
from hpo.study.devices import Slot
from hpo.study.fingerprints import inputs_of, path_of_data
from hpo.study.job import BEST_CHECKPOINT, WeightsJob
from hpo.study.objectives import MEASURED, PARAMETERS
from hpo.study.resolved_study import OWNERS
from hpo.worker.provenance import StudyProvenance, ask_git, earlier_changes, provenance_changes, resumed_after

Metrics = Mapping[str, float]

# Which rows a training uses (a trial with folds has the curve of the first one), and in how many parts it takes each
# batch.
KEPT = ("folds", "trained_on", "parts")


def replay_trial(
    prepared: PreparedStudy,
    record: TrialRecord,
    *,
    slot: Slot,
    epochs: int | None = None,
    on_epoch: Callable[[int, int], None] = lambda epoch, last: None,
) -> Replay:
    """Train a trial's configuration again, outside of its study, and compare each epoch and the weights.

    Args:
        record: a trial of the prepared study, with its curve and its provenance.
        slot: where it trains; with the threads of the trial's own, where they were recorded.
        epochs: only so many, or steps; all that the trial was trained for by default.
        on_epoch: called with the epoch, or step, that has ended, and the last one.

    Raises:
        SpecError: the trial has no epochs, or none among so many.
        RunError: its training fails now.
    """
    curve = {epoch: _reproducible(its) for epoch, its in record.curve if epochs is None or epoch <= epochs}
    if not curve:
        raise SpecError(_nothing_to_compare(record, epochs))
    last = max(curve)
    before = record.provenance or {}
    slot = dataclasses.replace(slot, threads=before.get("threads", slot.threads))
    inputs = inputs_of(prepared.code, {**_former_paths(prepared, before), **prepared.paths})
    provenance = StudyProvenance(ask_git(prepared.project), inputs, prepared.libraries)
    found: dict[int, Metrics] = {}

    def answer(report: Epoch) -> Answer:
        found[report.epoch] = _reproducible(report.metrics)
        on_epoch(report.epoch, last)
        return Answer(stop=report.epoch >= last, save=report.epoch == record.best_epoch)

    def changes(executor: str) -> list[str]:
        provenance.tree.wait()
        now = provenance.of_trial(prepared.resolved, seed=config["seed"], slot=slot, executor=executor)
        return provenance_changes(now, before)

    config = _config(prepared, record)
    with tempfile.TemporaryDirectory(prefix="hpo-", ignore_cleanup_errors=True) as folder:
        try:
            started = retrain(
                _with_executor(prepared, before),
                config,
                trial=record.number,
                slot=slot,
                directory=Path(folder),
                answer=answer,
            )
        except RunError as error:
            raise _failed(prepared, record, error, changes(before.get("executor", ""))) from error
        weights = _compare_weights(prepared, record, Path(folder), last)
    return Replay(
        study=prepared.spec.study,
        trial=record.number,
        unit=record.unit,
        epochs=last,
        epochs_of_trial=record.epochs,
        metrics=tuple(dict.fromkeys(name for metrics in curve.values() for name in metrics)),
        differences=(*_differences(curve, found), *weights.differences),
        tensors=weights.tensors,
        weights_epoch=record.best_epoch,
        weights_note=weights.note,
        provenance_changes=(*changes(started.executor), *_other_arguments(record, started)),
        notes=(*earlier_changes(before), *([f"since then: {record.before_change}"] if record.before_change else [])),
        is_provenance_known=bool(before),
        resumed_after=resumed_after(before),
        device=slot.device,
    )


def _reproducible(metrics: Metrics) -> Metrics:
    """Without objectives that were measured: no time is the same twice."""
    return {name: value for name, value in metrics.items() if name not in MEASURED or name == PARAMETERS}


def _nothing_to_compare(record: TrialRecord, epochs: int | None) -> str:
    unit = record.unit
    if not record.curve:
        return f"trial {record.number} ({record.state}) has trained no {unit} that could be compared"
    first = record.curve[0][0]
    return (
        f"trial {record.number} has its first metrics after {unit} {first}: to compare these, give at least "
        f"{unit.counted(first)}, not {epochs}"
    )


def _former_paths(prepared: PreparedStudy, provenance: Mapping[str, Any]) -> dict[str, Path]:
    """The files that the trial had, which may be gone by now."""
    return {name: path_of_data(name, prepared.project) for name in provenance.get("data", {})}


def _config(prepared: PreparedStudy, record: TrialRecord) -> dict[str, Any]:
    """The trial's configuration as its own attempts were given it: what the data gives to the model, it gives again."""
    resolved, unit = prepared.resolved, record.unit
    return {
        **{
            owner: {"class": record.config[owner]["class"], **resolved.arguments(owner, record.params)}
            for owner in OWNERS
        },
        unit.plural: record.config[unit.plural],
        "seed": record.config["seed"],
        "weights": record.config.get("weights", {}),
        **{name: record.config[name] for name in KEPT if name in record.config},
    }


def _with_executor(prepared: PreparedStudy, provenance: Mapping[str, Any]) -> PreparedStudy:
    """The study with the executor that trained the trial, since a study may get another one."""
    used = provenance.get("executor", "").partition(",")[0]
    if used in ("", prepared.spec.executor):
        return prepared
    spec = prepared.spec.model_copy(update={"executor": "lightning" if used == "lightning" else "auto"})
    return dataclasses.replace(prepared, resolved=dataclasses.replace(prepared.resolved, spec=spec))


def _failed(prepared: PreparedStudy, record: TrialRecord, error: RunError, changes: list[str]) -> RunError:
    lines = "".join(f"\n  {line}" for line in changes)
    differs = f"\nWhat differs from when it was trained:{lines}" if changes else ""
    return RunError(
        f"trial {record.number} of study '{prepared.spec.study}' could not be trained again: {error}{differs}"
    )


def _other_arguments(record: TrialRecord, started: Started) -> list[str]:
    """Arguments that the model or the data has now, and had not then: defaults of changed code, or facts of other data.

    What both have is compared; what JSON cannot hold is not known.
    """
    weights = record.config.get("weights", {})
    found = []
    for owner, now in (("model", started.model), ("data", started.data)):
        before = record.config[owner]
        for name in now.keys() & before.keys():
            if now[name] != before[name] and not refers(before[name], weights):
                found.append(f"{owner}'s argument {name}: {now[name]}, before {before[name]}")
    return sorted(found)


def _differences(curve: Mapping[int, Metrics], found: Mapping[int, Metrics]) -> list[Difference]:
    """The first difference of each metric."""
    by_name: dict[str, Difference] = {}
    for epoch in sorted(curve):
        then, now = curve[epoch], found.get(epoch, {})
        for name in dict.fromkeys([*then, *now]):
            one, other = then.get(name), now.get(name)
            if one == other:
                continue
            apart = None if one is None or other is None else abs(one - other)
            first = by_name.setdefault(name, Difference(name, epoch, one, other, apart))
            largest = max((d for d in (first.largest, apart) if d is not None), default=None)
            by_name[name] = dataclasses.replace(first, largest=largest, count=first.count + 1)
    return list(by_name.values())


@dataclass(frozen=True)
class _Weights:
    """What the comparison of weights has shown.

    Attributes:
        tensors: how many were compared.
        note: why none were; empty where they were compared.
    """

    tensors: int = 0
    differences: tuple[Difference, ...] = ()
    note: str = ""


def _compare_weights(prepared: PreparedStudy, record: TrialRecord, folder: Path, last: int) -> _Weights:
    """The weights of the trial's best epoch, with those that the replay has written."""
    best = record.best_epoch
    if record.checkpoint is None or best is None:
        return _Weights(note=f"the trial ({record.state}) has no checkpoint")
    if best > last:
        return _Weights(note=f"the checkpoint is of {record.unit} {best}, which was not reached")
    mine = folder / BEST_CHECKPOINT
    try:
        theirs = record.kept_checkpoint()
    except HpoError as error:
        return _Weights(note=str(error))
    if not theirs.is_file():
        return _Weights(note=f"{theirs} is not on this machine")
    if not mine.is_file():
        return _Weights(note="the replay could not write its own")
    answer = _compared(prepared, mine, theirs)
    if answer["kind"] == "unreadable":
        return _Weights(note=answer["reason"])
    found = [
        Difference(each["name"], best, None, None, each["largest"], kind="tensor") for each in answer["differences"]
    ]
    return _Weights(answer["tensors"], tuple(found))


def _compared(prepared: PreparedStudy, one: Path, other: Path) -> Message:
    process = prepared.server.fork(WeightsJob(str(prepared.project), str(one), str(other)))
    try:
        return process.channel.receive()
    except ChannelClosedError:
        end = prepared.server.end_of(process)
        return {"kind": "unreadable", "reason": f"the process that compared them exited without reporting{end}"}
    finally:
        process.kill()
        process.channel.close()
