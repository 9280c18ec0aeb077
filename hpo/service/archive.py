"""A study is written into one file, and read from it into another store, with its checkpoints on this machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpo.archive.inserting import Placement, insert_rows, refuse_taken
from hpo.archive.manifest import SUFFIX, is_best_of_trial
from hpo.archive.reading import Archive, check_room, open_archive
from hpo.archive.writing import OnBytes, Written, write_archive
from hpo.errors import HpoError, SpecError, StoreError
from hpo.printable import counted, in_a_line, mebibytes
from hpo.queue.progress import find_study
from hpo.store import Store
from hpo.store.backup import check_new_file, partial_file
from hpo.store.tables import hpo_studies, studies, trials
from hpo.study.artifacts import remove
from hpo.study.folder_mark import mark_folder
from hpo.study.naming import check_study_name, study_folder
from hpo.study.object_store import address_of, object_store_of
from hpo.study.plan import Plan
from hpo.study.resolved_study import ResolvedStudy
from hpo.study.states import StudyState
from hpo.worker.provenance import versions


@dataclass(frozen=True)
class Archived:
    """An archive that was written.

    Attributes:
        size: of the file, in bytes.
        trials: of the study itself.
        checkpoints: of all studies in it.
        others: the studies that train its trials again, which are in it too.
        missing: checkpoints that the store names, and that are not on this machine: they are not in it.
        changed: checkpoints in it that are not as their trials wrote them, and that nothing loads.
    """

    path: Path
    study: str
    trials: int
    checkpoints: int
    size: int
    others: tuple[str, ...]
    missing: int
    changed: int

    def __str__(self) -> str:
        has = f"{counted(self.trials, 'trial')}, {counted(self.checkpoints, 'checkpoint')}, {mebibytes(self.size)}"
        lines = [f"{self.path}: study {self.study}, {has}"]
        if self.others:
            lines.append(f"with it {', '.join(self.others)}, of its final model")
        if self.missing:
            lines.append(f"{counted(self.missing, 'checkpoint')} not in it: not on this machine")
        if self.changed:
            lines.append(f"{counted(self.changed, 'checkpoint')} in it not as its trial wrote it: it cannot be loaded")
        return "\n".join(lines)


@dataclass(frozen=True)
class Imported:
    """A study that was read from an archive.

    Attributes:
        trials: of the study itself.
        checkpoints: of all its studies.
        others: the studies that train its trials again, by their names in this store.
        folders: of their artifacts on this machine.
    """

    study: str
    trials: int
    checkpoints: int
    others: tuple[str, ...]
    folders: tuple[Path, ...]

    def __str__(self) -> str:
        has = f"{counted(self.trials, 'trial')}, {counted(self.checkpoints, 'checkpoint')}"
        lines = [f"study {self.study} was imported: {has}"]
        if self.others:
            lines.append(f"with it {', '.join(self.others)}, of its final model")
        lines += [f"its artifacts are in {folder}" for folder in self.folders]
        return "\n".join(lines)


@dataclass(frozen=True)
class _ArchivedStudy:
    """A study of an archive; `created` is None for one of another program."""

    number: int
    name: str
    created: float | None


def archive_study(
    store: Store,
    name: str,
    file: Path | None = None,
    *,
    artifacts: Path,
    force: bool = False,
    on_bytes: OnBytes = lambda done, total: None,
) -> Archived:
    """Write a study with all that belongs to it into one file, while workers train it.

    Args:
        file: by default `STUDY.hpo-archive.zip` in the current folder.
        artifacts: the folder for checkpoints and logs on this machine.
        force: replace an existing file.
        on_bytes: is called with the bytes of checkpoints that are copied, and of all.

    Raises:
        StoreError: there is no such study, or the file is there already or cannot be written.
    """
    study_id, _ = find_study(store, name)
    file = (_default_file(name) if file is None else file).absolute()
    check_new_file(file, example=f"study{SUFFIX}", force=force)
    if store.url.is_sqlite and file.resolve() == store.url.path.resolve():
        raise StoreError(f"{file} is the store itself: name another file")
    with partial_file(file, force=force) as partial, partial.open("r+b") as opened:
        written: Written = write_archive(
            store, study_id, name, opened, artifacts=artifacts, versions=versions(), on_bytes=on_bytes
        )
        opened.flush()
        os.fsync(opened.fileno())
    others, size = written.manifest.studies[1:], file.stat().st_size
    return Archived(file, name, written.trials, written.checkpoints, size, others, written.missing, written.changed)


def import_archive(
    store: Store,
    file: Path,
    *,
    name: str | None = None,
    artifacts: Path,
    on_bytes: OnBytes = lambda done, total: None,
) -> Imported:
    """Read a study from an archive into a store that lacks it: completely, or not at all.

    Neither torch nor the study's own code is needed. Checkpoints are on this machine before the study is in the store.

    Args:
        name: another name for the study; those of the studies that train its trials again change alike.
        artifacts: the folder for checkpoints and logs on this machine.
        on_bytes: is called with the bytes of files that are copied, and of all.

    Raises:
        SpecError: no study can be called that.
        StoreError: the archive is damaged, or another release wrote it; or the store has a study of such a name.
    """
    if name is not None:
        check_study_name(name)
    with open_archive(file) as archive:
        check_room(archive.manifest, artifacts, file)
        archive.check_tables()
        found = _studies(archive)
        names = _new_names(found, name)
        _check_names(found, names, archive)
        with store.read() as connection:
            refuse_taken(connection, names.values())
        return _insert(store, archive, found, names, artifacts, on_bytes)


def _insert(
    store: Store,
    archive: Archive,
    found: list[_ArchivedStudy],
    names: Mapping[str, str],
    artifacts: Path,
    on_bytes: OnBytes,
) -> Imported:
    created = {study.number: _free_second(names[study.name], study.created, artifacts, archive) for study in found}
    homes = {
        study.number: artifacts / study_folder(names[study.name], at)
        for study in found
        if (at := created[study.number]) is not None
    }
    paths = {file.name: _path_of(file.name, homes, archive) for file in archive.files}
    checkpoints = {name: address_of(path) for name, path in paths.items() if is_best_of_trial(name)}
    folders = [home for number, home in homes.items() if any(name.startswith(f"files/{number}/") for name in paths)]
    made: list[Path] = []
    is_written = False
    try:
        for folder in folders:
            _make(folder)
            made.append(folder)
        archive.extract(paths, on_bytes)
        if (objects := object_store_of(artifacts)) is not None:
            for folder in folders:
                objects.upload(folder, {}, attempt=1)
        placement = Placement(names, {number: at for number, at in created.items() if at is not None}, checkpoints)
        with store.write() as connection:
            insert_rows(connection, archive, placement)
            is_written = True  # from here on the rows may be in the store, whatever becomes of the connection
    except BaseException:
        if not is_written:
            for folder in made:
                with suppress(OSError):
                    remove(folder)
        raise
    for folder in folders:
        mark_folder(folder, str(store.url))
    [study, *others] = names.values()
    count = sum(row["study_id"] == found[0].number for _, row in archive.rows(trials.name))
    return Imported(study, count, len(checkpoints), tuple(others), tuple(folders))


def _default_file(name: str) -> Path:
    try:
        check_study_name(name)
    except SpecError:
        raise SpecError(f"no file can have the name of study '{name}': name one with -o FILE") from None
    return Path(f"{name}{SUFFIX}")


def _studies(archive: Archive) -> list[_ArchivedStudy]:
    """The studies of an archive, which can be read as studies of a store are.

    Raises:
        StoreError: they cannot.
    """
    ours: dict[Any, Any] = {}
    for line, row in archive.rows(hpo_studies.name):
        try:
            ResolvedStudy.from_json(row["spec"], row["space"])
            StudyState(row["state"])
            if row["plan"] is not None:
                Plan.from_json(row["plan"])
            study_folder("", row["created"])
        except (HpoError, ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError, OSError):
            raise StoreError(
                f"{archive.path}: tables/{hpo_studies.name}.jsonl, line {line}: it is no study that this hpo-service "
                "can read: it was changed"
            ) from None
        ours[row.get("study_id")] = row["created"]
    found = []
    for _, row in archive.rows(studies.name):
        number, name = row.get("study_id"), row.get("study_name")
        if isinstance(number, int) and isinstance(name, str) and name:
            found.append(_ArchivedStudy(number, name, ours.get(number)))
    named = [study.name for study in found]
    if named != list(archive.manifest.studies) or named[:1] != [archive.manifest.study] or len(set(named)) < len(named):
        raise StoreError(
            f"{archive.path}: tables/{studies.name}.jsonl has other studies than its manifest: it was changed"
        )
    return found


def _new_names(found: list[_ArchivedStudy], new: str | None) -> dict[str, str]:
    """By their names in the archive: `OLD` becomes NEW, and `OLD.final` becomes `NEW.final`."""
    old = found[0].name
    if new is None:
        return {study.name: study.name for study in found}
    prefix = f"{old}."
    renamed = {
        study.name: f"{new}.{study.name.removeprefix(prefix)}" if study.name.startswith(prefix) else study.name
        for study in found
    }
    return renamed | {old: new}


def _check_names(found: list[_ArchivedStudy], names: Mapping[str, str], archive: Archive) -> None:
    for study in found:
        if study.created is None:  # another program's, which has no folder
            continue
        try:
            check_study_name(names[study.name])
        except SpecError as error:
            raise StoreError(f"{archive.path}: {error}") from None


def _free_second(name: str, created: float | None, artifacts: Path, archive: Archive) -> float | None:
    """The time of creation, or as many seconds later as no study of another store has this folder."""
    if created is None:
        return None
    for seconds in range(3600):
        if not os.path.lexists(artifacts / study_folder(name, created + seconds)):
            return created + seconds
    raise StoreError(f"{archive.path}: {artifacts} is full of folders of studies called {in_a_line(name)}")


def _path_of(name: str, homes: Mapping[int, Path], archive: Archive) -> Path:
    """Where a file of an archive, of a checked name, is to be."""
    _, number, *rest = name.split("/")
    if int(number) not in homes:
        raise StoreError(f"{archive.path}: {name} in it belongs to no study of the archive")
    return homes[int(number)].joinpath(*rest)


def _make(folder: Path) -> None:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir()
    except OSError as error:
        raise StoreError(f"{folder} cannot be made: {error.strerror or error}") from error
