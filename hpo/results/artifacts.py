"""What the artifacts of this machine take on the disk, and which of them no trial needs.

Only what workers and trainings write is looked at: the folders of studies and trials, by their names, our files in
them, and the checkpoints of a module's own callbacks, which are kept as ours are. Links are never followed. The folders
are listed before the store is asked: a trial's row is older than its folder, so what begins meanwhile is not taken for
something that nobody knows.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Connection, select, true

from hpo.errors import HpoError
from hpo.queue.best import best_trials, needed_checkpoints
from hpo.queue.front import objectives_of
from hpo.store import Store
from hpo.store.tables import hpo_studies, hpo_trials, studies, trials
from hpo.study.artifacts import checkpoints_in, is_file, is_folder, size_of
from hpo.study.folder_mark import MARK, marked_store
from hpo.study.job import BEST_CHECKPOINT, CONFIG, LAST_CHECKPOINT, PREPROCESSING, RESUME_CHECKPOINTS
from hpo.study.naming import is_study_folder, study_folder, trial_folder, trial_of_folder
from hpo.study.spec import Keep
from hpo.study.states import OPTUNA_ENDED
from hpo.study.writable import PROBE

REMOVED = ".removed-"  # begins the name of a folder that is being removed

_CHECKPOINTS = (BEST_CHECKPOINT, *RESUME_CHECKPOINTS)
_NOT_KEPT = "its trial is not among the best, whose checkpoints are kept"
_PARTIAL = tuple(sorted({Path(name).with_suffix(".partial").name for name in (*_CHECKPOINTS, PREPROCESSING, CONFIG)}))


@dataclass(frozen=True)
class Leftover:
    """A file or folder that no trial needs.

    Attributes:
        size: in bytes.
        unknown_trial: its number, for the folder of a trial that its study does not have.
        named_by: the trial_id of the trial whose row names this checkpoint, though it is not kept.
    """

    path: Path
    size: int
    why: str
    unknown_trial: int | None = None
    named_by: int | None = None


@dataclass(frozen=True)
class FolderUse:
    """A study's folder.

    Attributes:
        study: its name; None for a study that the store does not know.
        study_id: its number in the store.
        size: of all that is in it, in bytes.
        kept: why the folder of an unknown study is left alone.
    """

    folder: Path
    study: str | None
    study_id: int | None
    size: int
    leftovers: tuple[Leftover, ...] = ()
    kept: str | None = None

    @property
    def unneeded(self) -> int:
        """Bytes that no trial needs, and that may be removed."""
        return 0 if self.kept else sum(leftover.size for leftover in self.leftovers)


@dataclass(frozen=True)
class _Trial:
    """A trial of the store.

    Attributes:
        checkpoint: the name of the file that its row names.
        is_kept: it is among the best, whose checkpoints are kept.
        keeps_last: so is the state after its last epoch.
    """

    trial_id: int
    state: str
    checkpoint: str | None
    is_kept: bool
    keeps_last: bool


@dataclass(frozen=True)
class _Kept:
    """What a study keeps.

    Attributes:
        trial_ids: the trials whose checkpoints are kept; None, for all, where that cannot be read.
        last: also the states after their last epochs.
    """

    trial_ids: Collection[int] | None
    last: bool


@dataclass(frozen=True)
class _Known:
    """A study of the store, and its trials by number."""

    study_id: int
    name: str
    trials: dict[int, _Trial] = field(default_factory=dict)


def survey(store: Store, artifacts: Path) -> list[FolderUse]:
    """Each study's folder below the artifacts, by name; none where there is no such folder."""
    if not artifacts.is_dir():
        return []
    found = {folder: _entries(folder) for folder in _folders(artifacts) if is_study_folder(folder.name)}
    with store.read() as connection:
        known = _known(connection)
    uses = []
    for folder, entries in found.items():
        study = known.get(folder.name)
        if study is None:
            uses.append(_unknown(folder, entries, str(store.url)))
        else:
            leftovers = tuple(_leftovers(study, entries))
            uses.append(FolderUse(folder, study.name, study.study_id, size_of(folder), leftovers))
    return uses


def leftovers_of_ended(store: Store, study_id: int, folder: Path, numbers: Collection[int]) -> list[Leftover]:
    """What no trial needs in the folders of these trials of a study, as far as they have ended.

    Args:
        folder: the study's.
    """
    if not numbers:
        return []
    with store.read() as connection:
        known = next(iter(_known(connection, study_id).values()), None)
    if known is None:
        return []
    entries = {path: _listed(path) for number in numbers if is_folder(path := folder / trial_folder(number))}
    return [leftover for leftover in _leftovers(known, entries) if leftover.unknown_trial is None]


def _folders(parent: Path) -> Iterator[Path]:
    try:
        return (path for path in sorted(parent.iterdir()) if is_folder(path))
    except OSError as error:
        raise HpoError(f"the artifacts in {parent} cannot be listed: {error.strerror or error}") from error


def _entries(folder: Path) -> dict[Path, list[Path]]:
    """By what is in a study's folder, the files of a trial."""
    return {path: _listed(path) if is_folder(path) else [] for path in _listed(folder)}


def _listed(folder: Path) -> list[Path]:
    with contextlib.suppress(OSError):  # it is gone by now, or not ours
        return sorted(folder.iterdir())
    return []


def _unknown(folder: Path, entries: Mapping[Path, list[Path]], store: str) -> FolderUse:
    size, marked = size_of(folder), marked_store(folder)
    strange = [path.name for path in entries if not _is_ours(path)]
    kept = None
    if marked is not None and marked != store:
        kept = f"it belongs to another store: {marked}"
    elif strange:
        kept = f"it holds something that no worker wrote: {strange[0]}"
    if kept is not None:
        return FolderUse(folder, None, None, size, kept=kept)
    if marked is None:
        kept = f"it has no {MARK}, so it may belong to another store"
    return FolderUse(folder, None, None, size, (Leftover(folder, size, "the store does not know its study"),), kept)


def _is_ours(path: Path) -> bool:
    is_trial = trial_of_folder(path.name) is not None or path.name.startswith(REMOVED)
    is_of_worker = path.name == MARK or path.name.startswith(PROBE)
    return is_folder(path) if is_trial else is_of_worker and is_file(path)


def _leftovers(study: _Known, entries: Mapping[Path, list[Path]]) -> Iterator[Leftover]:
    for folder, files in entries.items():
        number = trial_of_folder(folder.name)
        if not is_folder(folder):
            continue
        if folder.name.startswith(REMOVED):
            yield Leftover(folder, size_of(folder), "it was being removed")
        elif number is not None and number not in study.trials:
            yield Leftover(folder, size_of(folder), "the study does not have this trial", number)
        elif number is not None:
            trial = study.trials[number]
            if trial.state in OPTUNA_ENDED:  # whatever else is to go on, or begins
                yield from _files_of_ended(folder, files, trial)


def _files_of_ended(folder: Path, files: list[Path], trial: _Trial) -> Iterator[Leftover]:
    for file in files:
        if not is_file(file) and not is_folder(file):
            continue
        if file.name == trial.checkpoint:
            if not trial.is_kept:
                yield Leftover(file, size_of(file), _NOT_KEPT, named_by=trial.trial_id)
        elif file.name == LAST_CHECKPOINT and trial.keeps_last:
            continue
        elif file.name in _CHECKPOINTS:
            yield Leftover(file, size_of(file), "its trial has ended, and the store names no such checkpoint")
        elif file.name == PREPROCESSING:
            if not (trial.is_kept and trial.checkpoint):
                yield Leftover(file, size_of(file), f"it is of no use without its checkpoint, and {_NOT_KEPT}")
        elif file.name in _PARTIAL:
            yield Leftover(file, size_of(file), "it was not written to its end")
    if trial.is_kept:
        return
    ours = {folder / name for name in (*_CHECKPOINTS, PREPROCESSING, trial.checkpoint) if name is not None}
    for path in checkpoints_in(folder):
        if path not in ours:
            yield Leftover(path, size_of(path), f"a callback wrote it, and {_NOT_KEPT}")


def _known(connection: Connection, study_id: int | None = None) -> dict[str, _Known]:
    """The studies, or one of them, by the names of their folders."""
    is_wanted = true() if study_id is None else hpo_studies.c.study_id == study_id
    found: dict[int, _Known] = {}
    by_folder: dict[str, _Known] = {}
    kept: dict[int, _Kept] = {}
    for row in connection.execute(
        select(studies.c.study_id, studies.c.study_name, hpo_studies.c.created, hpo_studies.c.spec)
        .join(hpo_studies, hpo_studies.c.study_id == studies.c.study_id)
        .where(is_wanted)
    ).all():
        study = _Known(row.study_id, row.study_name)
        found[row.study_id] = by_folder[study_folder(row.study_name, row.created)] = study
        kept[row.study_id] = _kept(connection, row.study_id, row.spec)
    of_trials = connection.execute(
        select(
            trials.c.study_id,
            trials.c.trial_id,
            trials.c.number,
            trials.c.state,
            hpo_trials.c.checkpoint,
            hpo_trials.c.before_change,
        )
        .join(hpo_studies, hpo_studies.c.study_id == trials.c.study_id)
        .outerjoin(hpo_trials, hpo_trials.c.trial_id == trials.c.trial_id)
        .where(is_wanted)
    )
    for trial in of_trials:
        if trial.number is None or trial.study_id not in found:
            continue
        keep = kept[trial.study_id]
        is_best = keep.trial_ids is None or trial.trial_id in keep.trial_ids
        is_kept = is_best or trial.before_change is not None
        # By its name only: the same folder may be reached by another path than the worker's.
        checkpoint = Path(trial.checkpoint).name if trial.checkpoint else None
        found[trial.study_id].trials[trial.number] = _Trial(
            trial.trial_id, trial.state, checkpoint, is_kept, is_kept and keep.last and checkpoint is not None
        )
    return by_folder


def _kept(connection: Connection, study_id: int, spec: str) -> _Kept:
    try:
        keep = Keep.model_validate(json.loads(spec)["spec"].get("keep", {}))
        objectives = objectives_of(connection, study_id)
    except (ValueError, LookupError, TypeError, AttributeError):  # a newer release wrote it
        return _Kept(None, last=False)
    number = keep.checkpoints
    # A complete trial without a checkpoint of ours may have those of callbacks.
    best = {row.trial_id for row in best_trials(connection, study_id, objectives, limit=number)} if number else set()
    return _Kept(best | needed_checkpoints(connection, study_id, objectives, keep=number), keep.last)
