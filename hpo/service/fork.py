"""A fork: a new study with another space, sampler, pruner or length, and all trials of the old one that fit it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sqlalchemy import select

from hpo.errors import SpecError, StoreError
from hpo.ipc.fork_server import ForkServer
from hpo.printable import counted
from hpo.queue.control import LIMITS
from hpo.queue.findings import earlier_of
from hpo.queue.fork import ForkedTrial, insert_fork
from hpo.queue.progress import has_study
from hpo.queue.studies import StoredStudy, load_study
from hpo.report.study_text import study_text
from hpo.search.algorithms import derive_seed, distributions_of
from hpo.search.halving import make_rungs
from hpo.service.earlier import read_earlier
from hpo.service.forked_trials import Candidate, Forking
from hpo.service.prepare import prepare
from hpo.store import Store
from hpo.store.clock import db_now
from hpo.store.tables import hpo_studies
from hpo.study.artifacts import is_checkpoint, is_file, is_folder, remove
from hpo.study.earlier import Earlier
from hpo.study.folder_mark import mark_folder
from hpo.study.limits import UNLIMITED, trials_in_words
from hpo.study.naming import check_study_name, study_folder, trial_folder
from hpo.study.object_store import address_of, fetch_study, object_store_of
from hpo.study.spec import StudySpec
from hpo.study.study_file import KeyPath, Source, apply_changes
from hpo.yaml_text import read_yaml

# With another one of these, the value of a trial would be another one, or mean something else.
_KEPT = ("objective", "model", "data", "folds", "repeats", "trainer")
_KEPT_RESOURCES = ("devices_per_trial", "strategy", "use_distributed_sampler", "precision")


@dataclass(frozen=True)
class Forked:
    """
    Attributes:
        trials: that were taken over.
        ended: of them, as the budget counts.
        left_out: the numbers of those that were not, by why.
        checkpoints: of the trials that were taken over.
        missing: checkpoints that the store names and that are not on this machine.
        target: trials of the new study; `hpo.study.limits.UNLIMITED` for no limit.
    """

    old: str
    new: str
    trials: int
    ended: int
    left_out: Mapping[str, Sequence[int]]
    checkpoints: int
    missing: int
    target: int

    def __str__(self) -> str:
        of = self.trials + sum(map(len, self.left_out.values()))
        lines = [
            f"study {self.new} was forked from {self.old}: {self.trials} of {counted(of, 'trial')} "
            f"{'is' if self.trials == 1 else 'are'} taken over, with {counted(self.checkpoints, 'checkpoint')}"
            + _listed(self.left_out)
        ]
        if self.missing:
            lines.append(f"{counted(self.missing, 'checkpoint')} left behind: not on this machine")
        budget = f"its budget is {trials_in_words(self.target)}, of which {self.ended} have ended"
        if self.ended < self.target:
            lines.append(f"{budget}: 'hpo worker {self.new}' trains the others")
        else:
            lines.append(f"{budget}: 'hpo set {self.new} trials=+20' makes room for more")
        return "\n".join(lines)


def fork_study(
    store: Store,
    old: str,
    new: str,
    changes: Sequence[str] | Mapping[str, Any] = (),
    *,
    server: ForkServer,
    project: Path,
    artifacts: Path,
) -> Forked:
    """Create a study from another one: with changes of its study file, and all trials that fit.

    The old study stays as it is, and may be trained meanwhile. Checkpoints are linked where the disk allows it, and
    else copied: what becomes of one study's files does not matter to the other. The rows are written in one
    transaction.

    Args:
        changes: of the study file: `key=value` as on the command line, or values by keys such as `space.lr.high`.
        artifacts: the folder for checkpoints and logs on this machine.

    Raises:
        SpecError: a change is invalid, or another value of the objective would be what it asks for.
        StoreError: there is no such study, another program made it, or the store has one of the new name.
        LoadError: a class cannot be imported.
    """
    check_study_name(new)
    if has_study(store, new):
        raise StoreError(f"the store has a study '{new}' already: choose another name")
    before = load_study(store, old)
    if before.plan is not None:
        raise SpecError(f"study '{old}' trains the best trials of a search again: fork the search")
    if before.resolved.spec.objectives.are_several:
        raise SpecError(
            f"study '{old}' has several objectives, and a fork takes over trials of one: begin another study, with "
            "the best points of this one as 'points'"
        )
    spec, source = _changed(store, before, new, changes)
    with prepare(spec, source, server=server, project=project) as prepared:
        resolved = replace(prepared.resolved, inputs=before.resolved.inputs)
        earlier = None
        if spec.start_from and spec.start_from != before.resolved.spec.start_from:
            earlier = read_earlier(store, resolved, source, project=project)
    forking = Forking(
        before.resolved,
        resolved,
        distributions_of(resolved.space),
        promotes=make_rungs(spec) is not None,
    )
    home = artifacts / study_folder(old, before.created)
    fetch_study(home)
    with store.read() as connection:
        found = forking.candidates(connection, before.study_id)
        now = float(connection.scalar(select(db_now())) or 0.0)
        known = earlier_of(connection, before.study_id)
    if not found.fitting:
        raise SpecError(f"no trial of study '{old}' fits: nothing was forked{_listed(found.left_out)}")
    if earlier is None and known is not None and spec.start_from:
        fitting = tuple(one for one in known.trials if resolved.space.contains(one.params))
        earlier = Earlier(fitting, known.words) if fitting else None
    created, folder = _free_folder(artifacts, new, now)
    is_same_pruner = all(
        getattr(spec, key) == getattr(before.resolved.spec, key) for key in ("pruner", "epochs", "steps")
    )
    is_written = False
    try:
        forked, checkpoints, missing = _with_files(found.fitting, home, folder, str(store.url))
        if (objects := object_store_of(artifacts)) is not None and folder.is_dir():
            objects.upload(folder, {}, attempt=1)
        with store.write() as connection:
            ended = insert_fork(
                connection, resolved, forked, created=created, keeps_rungs=is_same_pruner, earlier=earlier
            )
            is_written = True  # from here on the rows may be in the store, whatever becomes of the connection
    except BaseException:
        if not is_written:
            with suppress(OSError):
                remove(folder)
        raise
    return Forked(
        old,
        new,
        len(forked),
        ended,
        found.left_out,
        checkpoints,
        missing,
        spec.budget.trials_target,
    )


def _listed(left_out: Mapping[str, Sequence[int]]) -> str:
    """A line for each reason why trials were left out, with the numbers of some of them."""
    return "".join(
        f"\n  {counted(len(numbers), 'trial')} left out ({', '.join(map(str, numbers[:5]))}"
        f"{', ...' if len(numbers) > 5 else ''}): {why}"
        for why, numbers in left_out.items()
    )


def _changed(
    store: Store, before: StoredStudy, new: str, changes: Sequence[str] | Mapping[str, Any]
) -> tuple[StudySpec, Source]:
    """The study file of the fork: that of the old study, with its limits as they are now, and the changes."""
    old = before.resolved.spec
    source = Source.of_mapping(read_yaml(study_text(old)), call=f"fork of {before.name}")
    with store.read() as connection:
        query = select(hpo_studies.c.limits, hpo_studies.c.trials_target, hpo_studies.c.priority)
        row = connection.execute(query.where(hpo_studies.c.study_id == before.study_id)).one()
    limits = json.loads(row.limits)
    # Its points are among its trials. With its seed, a trial would be drawn like the old one of its number, which may
    # be here under another number.
    now: dict[KeyPath, Any] = {("study",): new, ("priority",): row.priority, ("points",): []}
    now[("seed",)] = derive_seed(old.seed, new, "fork")
    now |= {("budget", key): limits[key] for key in LIMITS if limits.get(key) != old.budget.limits[key]}
    if row.trials_target != old.budget.trials_target:
        now["budget", "trials"] = None if row.trials_target == UNLIMITED else row.trials_target
    for path, value in now.items():
        source.set(path, value, f"fork of {before.name}")
    if isinstance(changes, Mapping):
        for key, value in changes.items():
            source.set(tuple(str(key).split(".")), value, f"changes: {key}")
    else:
        apply_changes(source, changes)
    spec = source.study()
    compared: list[tuple[KeyPath, Any, Any]] = [((key,), spec, old) for key in _KEPT]
    compared += [(("resources", key), spec.resources, old.resources) for key in _KEPT_RESOURCES]
    refused: list[tuple[KeyPath, str]] = [
        (path, _refusal(str(path[-1]), before.name))
        for path, mine, theirs in compared
        if getattr(mine, str(path[-1])) != getattr(theirs, str(path[-1]))
    ]
    if spec.sampler.name == "grid":
        refused.append((("sampler",), "grid gives each trial the point of its number, and those of a fork have others"))
    if spec.unit != old.unit:
        refused.append(((spec.unit.plural,), f"study '{before.name}' counts in {old.unit.plural}, and so does a fork"))
    if refused:
        raise source.error(refused)
    return spec, source


def _refusal(key: str, old: str) -> str:
    what = {"objective": "the metric"}.get(key, key)
    return (
        f"a fork keeps {what}: the values of the trials of '{old}' would mean something else. Begin another study, "
        f"with start_from: [{old}]"
    )


def _free_folder(artifacts: Path, name: str, now: float) -> tuple[float, Path]:
    """The time of creation, or as many seconds later as no study of another store has this folder."""
    for seconds in range(3600):
        folder = artifacts / study_folder(name, now + seconds)
        if not os.path.lexists(folder):
            return now + seconds, folder
    raise StoreError(f"{artifacts} is full of folders of studies called {name}")


def _with_files(
    fitting: Sequence[Candidate], home: Path, folder: Path, store: str
) -> tuple[list[ForkedTrial], int, int]:
    """The trials with their files in the new folder; the number of checkpoints, and of those that are not here."""
    forked, checkpoints, missing = [], 0, 0
    try:
        for number, one in enumerate(fitting):
            source = one.checkpoint.parent if one.checkpoint is not None else home / trial_folder(one.number)
            target, trial = folder / trial_folder(number), one.trial
            address = None
            if trial.given is None and is_folder(source):
                if not folder.exists():
                    folder.mkdir(parents=True)
                    mark_folder(folder, store)  # so that 'hpo clean' removes it, should the fork end here
                _copy(source, target, with_checkpoints=one.checkpoint is not None or one.goes_on)
                if one.checkpoint is not None and (target / one.checkpoint.name).exists():
                    address = address_of(target / one.checkpoint.name)
            checkpoints += address is not None
            missing += one.checkpoint is not None and address is None
            columns = {**trial.columns, "checkpoint": address}
            if address is None:
                columns["checkpoint_sha256"] = None
            forked.append(replace(trial, columns=columns))
    except OSError as error:
        raise StoreError(f"the files of the trials cannot be copied: {error}. Nothing was forked") from error
    return forked, checkpoints, missing


def _copy(source: Path, target: Path, *, with_checkpoints: bool) -> None:
    """Copy a trial's folder; checkpoints, which are replaced and never written to, are linked where that works."""
    target.mkdir()
    for path in sorted(source.rglob("*")):
        if not is_file(path) or (is_checkpoint(path.relative_to(source)) and not with_checkpoints):
            continue
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # its trial is no longer among the best
            if is_checkpoint(path.relative_to(source)):
                try:
                    os.link(path, copy)
                    continue
                except FileNotFoundError:
                    raise
                except OSError:  # another disk, or one without links
                    pass
            shutil.copyfile(path, copy)
