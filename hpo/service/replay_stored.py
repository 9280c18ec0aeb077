"""A trial of a study in the store is replayed on this machine, and the result kept as a finding about its study."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from hpo.errors import LoadError, RunError, SpecError, StoreError
from hpo.ipc.fork_server import ForkServer
from hpo.queue.findings import add_finding
from hpo.queue.progress import find_study
from hpo.queue.studies import load_study
from hpo.results.study import Study
from hpo.results.trial import TrialRecord
from hpo.service.prepare import prepare
from hpo.service.replay import replay_trial
from hpo.service.replay_result import Replay
from hpo.store import Store
from hpo.study.by_value import is_by_value
from hpo.study.devices import Slot, slots_of
from hpo.study.gpu_locks import GpuLocks
from hpo.study.gpus import visible_gpus
from hpo.study.resources import Resources
from hpo.study.states import TrialState
from hpo.study.study_file import Source

log = logging.getLogger(__name__)


def replay_stored(
    store: Store,
    name: str,
    number: int,
    *,
    epochs: int | None = None,
    server: ForkServer,
    project: Path,
    on_epoch: Callable[[int, int], None] = lambda epoch, last: None,
) -> Replay:
    """Replay a trial, see `replay_trial`, and keep the result as a finding.

    Raises:
        StoreError: there is no such study or trial, or another program made it.
        SpecError: the trial has nothing to compare with, or the study's classes have changed so much that its file
            does not fit them.
        LoadError: they cannot be imported; also those of a script or notebook.
        RunError: its training fails now, or its GPU is in use.
    """
    record = replayable(store, name, number)
    if epochs is not None and (isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 1):
        raise SpecError(f"epochs={epochs!r}: a replay trains a whole number of {record.unit.plural}, at least one")
    study = load_study(store, name)
    locks = GpuLocks()
    try:
        slot = _slot(study.resolved.spec.resources, record)
        try:
            locks.hold(slot.uuids)
        except RunError as error:
            raise RunError(f"{slot.device} is used by {error}: wait, or give this process another GPU") from None
        source = Source.of_stored(name)
        with prepare(study.resolved.spec, source, server=server, project=project) as prepared:
            # The study's arguments as they are stored: what a default was then, the study file need not say.
            stored = replace(study.resolved, spec=prepared.spec)
            result = replay_trial(
                replace(prepared, resolved=stored), record, slot=slot, epochs=epochs, on_epoch=on_epoch
            )
    finally:
        locks.release()
    try:
        with store.write() as connection:
            add_finding(connection, study.study_id, "replay", result.to_json())
    except (SQLAlchemyError, StoreError) as error:  # such as a store that this user may only read
        log.warning("the result is not kept in the store: %s", error)
    return result


def replayable(store: Store, name: str, number: int) -> TrialRecord:
    """A trial that can be trained again, and compared.

    Raises:
        StoreError: there is no such study or trial, or another program made it.
        LoadError: its classes were defined in a script or notebook.
        SpecError: it has trained no epoch.
    """
    find_study(store, name)
    record = Study(store, name).trial(number)
    if record is None:
        raise StoreError(f"study '{name}' has no trial {number}; 'hpo trials {name}' lists those it has")
    which = f"trial {number} of study '{name}'"
    if record.state == TrialState.WAITING:
        raise SpecError(f"{which} waits for a worker: there is nothing to replay yet")
    labels = [record.config.get(owner, {}).get("class") for owner in ("model", "data")]
    if None in labels or "seed" not in record.config:
        raise StoreError(
            f"{which} has no configuration in the store, from which it could be trained again: another program made "
            "it, or it ended before it began"
        )
    if any(map(is_by_value, labels)):
        raise LoadError(
            f"{which} cannot be replayed: its classes were defined in a script or notebook, and are not kept. Move "
            "them into a module of the project, for the next search"
        )
    if not record.curve:
        why = f": {record.failure}" if record.failure else ""
        raise SpecError(
            f"{which} ({record.state}) has trained no {record.unit} that a replay could be compared with{why}"
        )
    return record


def _slot(resources: Resources, record: TrialRecord) -> Slot:
    """A slot of the kind that the trial had, or of the CPU where there is no GPU.

    Raises:
        SpecError: this machine has no such slot that is free.
    """
    had_gpu = (record.device or "").startswith("gpu")
    has_gpu = had_gpu and bool(visible_gpus())
    if had_gpu and not has_gpu:
        log.warning("it was trained on a GPU, and this machine shows none: it is replayed on the CPU")
    wanted = resources.model_copy(update={"accelerator": "gpu" if has_gpu else "cpu", "slots": "auto"})
    return slots_of(wanted)[0]
