"""`hpo worker`: this machine trains whatever study is open, or the named ones, until it is asked to end."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from hpo.errors import SpecError, StoreUnreachableError
from hpo.queue.progress import load_progress
from hpo.queue.studies import bounds_of_running, load_study
from hpo.service.assembly import Workspace
from hpo.store import Store
from hpo.store.engine import store_errors
from hpo.study.devices import slots_of
from hpo.study.resources import Resources
from hpo.worker.health import Health
from hpo.worker.loop import Worker


@dataclass(frozen=True)
class WorkerOptions:
    """
    Attributes:
        studies: names of those to work on; all open ones by default.
        slots: trials at a time; by default as many as the first named study requests.
        trials_per_device: that share a GPU, or `auto`; by default as the first named study requests.
        is_until_idle: it ends when there is nothing left to do.
        drain_seconds: for which trials may finish their epoch when it is asked to end.
        max_seconds: within which it ends.
        health: where it answers whether it is alive and ready: a port, or `host:port`.
    """

    studies: Sequence[str] = ()
    slots: int | None = None
    trials_per_device: int | Literal["auto"] | None = None
    is_until_idle: bool = False
    drain_seconds: float | None = None
    max_seconds: float | None = None
    health: str | None = None


def work(workspace: Workspace, options: WorkerOptions) -> bool:
    """Train trials until the worker is asked to end, or until nothing is left to do.

    Returns:
        Whether it was asked to end and trials are left, which another worker may train.

    Raises:
        StoreError: a named study does not exist, or was created with other code.
        SpecError: a named study cannot be trained on this machine, or an option is invalid.
        RunError: the process that starts trials exited.
    """
    store, names = workspace.store, options.studies
    drain = store.timing.drain if options.drain_seconds is None else options.drain_seconds
    if options.max_seconds is not None and options.max_seconds <= drain:
        raise SpecError(
            f"--max-seconds {options.max_seconds:g}: trials may take {drain:g} s to finish their epoch, so that no "
            "time is left to train: give it more, or give less with --drain-seconds"
        )
    resources = load_study(store, names[0]).resolved.spec.resources if names else Resources()
    if options.trials_per_device is not None:
        resources = resources.model_copy(update={"trials_per_device": options.trials_per_device})
        if resources.trials_per_device != 1 and resources.devices_per_trial > 1:
            raise SpecError(
                "--trials-per-device: a trial with several devices_per_trial has them to itself: leave it out"
            )
    with contextlib.ExitStack() as stack:
        health = None if options.health is None else stack.enter_context(Health.at(options.health))
        worker = Worker(
            store,
            server=workspace.server,
            slots=slots_of(resources, wanted=options.slots),
            project=workspace.project,
            artifacts=workspace.artifacts,
            on_frame=lambda: None if health is None else health.note(worker),
            drain_seconds=drain,
            max_seconds=options.max_seconds,
        )
        worker.run_service(names, is_until_idle=options.is_until_idle)
    if worker.is_draining:
        return _is_work_left(store, names)
    if hindered := [run for run in worker.runs.values() if run.is_hindered and run.study.name in names]:
        raise SpecError("\n".join(f"study {run.study.name} was left: {run.stop_reason}" for run in hindered))
    return False


def _is_work_left(store: Store, names: Sequence[str]) -> bool:
    """Whether any of the studies, of all where none is named, has trials to train."""
    try:
        with store_errors(store.url):
            return any(
                not (progress := load_progress(store, study_id)).is_over and not progress.is_held
                for study_id, bounds in bounds_of_running(store).items()
                if not names or bounds.name in names
            )
    except StoreUnreachableError:
        return True
