"""From a study that was read to trials that train: prepare, try one batch, create or continue, and work.

`hpo submit` and `hpo run` without a terminal; the command line, Python and the tests call these.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hpo.errors import RunError
from hpo.ipc.fork_server import ForkServer
from hpo.printable import all_of
from hpo.queue.progress import has_study
from hpo.queue.studies import StoredStudy, create_or_continue
from hpo.results.warm_start import find_weights
from hpo.service.earlier import read_earlier
from hpo.service.notify import check_targets
from hpo.service.preflight import slots_for, try_one_batch
from hpo.service.prepare import PreparedStudy, prepare
from hpo.store import Store
from hpo.study.by_value import is_by_value, refusal
from hpo.study.devices import Slot
from hpo.study.fingerprints import inputs_of
from hpo.study.plan import Plan
from hpo.study.spec import StudySpec
from hpo.study.study_file import Source
from hpo.worker.loop import Worker
from hpo.worker.provenance import StudyProvenance, ask_git
from hpo.worker.study_run import StudyRun

log = logging.getLogger(__name__)

ANY_CPU = Slot(0, (), 1, 1)  # whoever submits need not have the workers' GPUs


@dataclass(frozen=True)
class Workspace:
    """Where studies are created and trained.

    Attributes:
        server: has torch and Lightning, or is about to; studies' own servers are forked from it.
        project: folder that classes are imported from.
        store: open, with its tables.
        artifacts: folder for checkpoints and logs.
    """

    server: ForkServer
    project: Path
    store: Store
    artifacts: Path


@dataclass(frozen=True)
class Search:
    """A study that this machine's worker is about to train.

    Attributes:
        message: one line that says whether the study was created, continued or extended.
    """

    worker: Worker
    run: StudyRun
    message: str

    @property
    def study(self) -> StoredStudy:
        """The study, as the store had it at the last look."""
        return self.run.study

    def check_end(self) -> None:
        """Say how the training ended, unless it ended well.

        Raises:
            KeyboardInterrupt: it was interrupted; the study continues when it is run again.
            RunError: the study was stopped because of failures, cannot be trained here, or has ended without a value.
        """
        if self.worker.is_draining:
            raise KeyboardInterrupt(f"study {self.study.name} was interrupted: the same call continues it")
        if self.run.stop_reason and not self.run.progress.is_ended_by_request:
            raise RunError(f"study {self.study.name} was stopped: {self.run.stop_reason}")
        if self.run.best is None and not self.run.progress.is_held:
            failed = self.run.counts.failed
            why = f"{all_of(failed, 'trial')} failed" if failed else "none of its trials trained an epoch"
            if self.run.resolved.spec.constraints and (self.run.counts.complete or self.run.counts.pruned):
                why = "all of its trials violate a constraint"
            raise RunError(f"study {self.study.name} has no model: {why}; 'hpo trials {self.study.name}' shows why")


def submit(
    workspace: Workspace, spec: StudySpec, source: Source, *, is_change_accepted: bool = False
) -> tuple[StoredStudy, str]:
    """Create or continue a study, and leave the training to workers; it is tried with one batch first.

    Args:
        is_change_accepted: see `create_or_continue`.

    Returns:
        The study, and one line that says whether it was created, continued or extended.

    Raises:
        SpecError: the study is invalid, or the batch fails.
        LoadError: a class cannot be imported; also one of a script or notebook, which no worker could import.
        StoreError: the store has a study of this name that searches something else, or with other data or code.
    """
    labels = tuple(spec.classes.values())
    if any(map(is_by_value, labels)):
        reason = "workers cannot import what is defined in a script or notebook; only hpo.run can train it"
        raise source.place("data" if not any(map(is_by_value, labels[:-1])) else "model", refusal(labels, reason))
    with prepare(spec, source, server=workspace.server, project=workspace.project) as prepared:
        return enter(prepared, workspace.store, slot=ANY_CPU, is_change_accepted=is_change_accepted)


def begin(
    workspace: Workspace,
    spec: StudySpec,
    source: Source,
    *,
    machine: Sequence[Slot] | None = None,
    on_frame: Callable[[StudyRun], None] = lambda run: None,
    is_change_accepted: bool = False,
    plan: Plan | None = None,
    parent_id: int | None = None,
) -> Search:
    """Create or continue a study, and adopt it by a worker of this process, whose `run_until_done` trains it.

    Args:
        machine: slots of this machine, see `slots_for`; by default as many as the study requests.
        on_frame: called a few times a second while it trains.
        is_change_accepted, plan, parent_id: see `create_or_continue`.

    Raises:
        SpecError: the study is invalid, the batch fails, or this machine has fewer slots than requested.
        LoadError: a class cannot be imported.
        StoreError: the store has a study of this name that searches something else, or with other data or code.
    """
    if plan is None:  # a study file; models are trained again also where nobody can be told
        check_targets(spec, source, workspace.project)
    machine = machine or slots_for(spec, source)
    tree = ask_git(workspace.project)
    prepared = prepare(spec, source, server=workspace.server, project=workspace.project)
    try:
        study, message = enter(
            prepared,
            workspace.store,
            slot=machine[0],
            is_change_accepted=is_change_accepted,
            plan=plan,
            parent_id=parent_id,
        )
        runs: list[StudyRun] = []
        worker = Worker(
            workspace.store,
            server=prepared.server,
            slots=machine,
            project=workspace.project,
            artifacts=workspace.artifacts,
            on_frame=lambda: on_frame(runs[0]),
        )
        provenance = StudyProvenance(tree, study.resolved.inputs, prepared.libraries)
        runs.append(
            worker.adopt(
                study,
                server=prepared.server,
                resolved=prepared.resolved,
                paths=prepared.paths,
                provenance=provenance,
            )
        )
    except BaseException:
        prepared.close()
        raise
    return Search(worker, runs[0], message)


def enter(
    prepared: PreparedStudy,
    store: Store,
    *,
    slot: Slot,
    is_change_accepted: bool = False,
    plan: Plan | None = None,
    parent_id: int | None = None,
) -> tuple[StoredStudy, str]:
    """Try one batch, and create or continue a prepared study in the store.

    Args:
        slot: that the batch is tried on.
        is_change_accepted, plan, parent_id: see `create_or_continue`.

    Returns:
        The study, and one line that says whether it was created, continued or extended.

    Raises:
        SpecError: the batch fails, the checkpoint of another study's trial is not there, or a study that it starts
            from is not, or does not fit.
        StoreError: the store has a study of this name that searches something else, or with other data or code.
    """
    weights = find_weights(store, prepared.resolved, prepared.source)
    earlier, firsts = None, []
    if plan is None and not has_study(store, prepared.spec.study):  # later, it has its own copy
        earlier = read_earlier(store, prepared.resolved, prepared.source, project=prepared.project)
        firsts = [*(earlier.best_points() if earlier else ()), *prepared.portfolio]
    # Also of a study that is continued: its data or its code may have changed, or be gone.
    points = prepared.resolved.first_points() if plan is None else [plan.candidate(0).params]
    for params in points:
        more = {} if plan is None else plan.config(0)
        probe = try_one_batch(prepared, slot=slot, weights=weights, params=params, more=more)
        if (words := probe.infeasible(prepared.spec)) is not None:
            log.warning("%s", words)
    # Not before the batch: data modules write into their folders when they are used for the first time.
    resolved = replace(prepared.resolved, inputs=inputs_of(prepared.code, prepared.paths))
    return create_or_continue(
        store,
        resolved,
        is_change_accepted=is_change_accepted,
        plan=plan,
        parent_id=parent_id,
        points=firsts,
        earlier=earlier,
    )
