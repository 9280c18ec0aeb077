"""Renaming a study: its rows, and its folder on this machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hpo.errors import StoreError
from hpo.queue.control import lock_own_study
from hpo.queue.leases import expire_leases
from hpo.queue.progress import find_study
from hpo.queue.rename import move_checkpoints, named_checkpoints, referring_studies, rename_rows
from hpo.queue.trained import LastAttempt, last_attempts, refuse_while_trained
from hpo.store import Store
from hpo.study.artifacts import folders_of, homes_of
from hpo.study.naming import check_study_name, study_folder, trial_folder
from hpo.study.object_store import object_store_of


@dataclass(frozen=True)
class Renamed:
    """What became of the request.

    Attributes:
        folders: of the study on this machine, as they are called now.
        elsewhere: checkpoints that stay where they are, on other machines.
        referring: other studies that name this one by its old name: `trial:OLD/best`.
    """

    old: str
    new: str
    folders: tuple[Path, ...] = ()
    elsewhere: int = 0
    referring: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.old == self.new:
            return f"study {self.old} has this name already"
        lines = [f"study {self.old} was renamed to {self.new}"]
        lines += [f"its artifacts are in {folder}" for folder in self.folders]
        if self.elsewhere:
            lines.append(f"{self.elsewhere} of its checkpoints stay where they are, on other machines")
        for name in self.referring:
            lines.append(f"study {name} still names it trial:{self.old}/..., and cannot begin more trials")
        return "\n".join(lines)


def rename_study(store: Store, name: str, new: str, *, artifacts: Path) -> Renamed:
    """Give a study another name; its folder and the paths of its checkpoints on this machine move with it.

    When it is interrupted between the folder and the rows, the same request again completes it.

    Args:
        artifacts: the folder for checkpoints and logs on this machine.

    Raises:
        SpecError: no study can be called that.
        StoreError: there is no such study, another program made it, workers train it, the new name is taken, a folder
            cannot be moved, or trials that are to go on have their checkpoints elsewhere.
    """
    check_study_name(new)
    study_id, _ = find_study(store, name)
    if (objects := object_store_of(artifacts)) is not None:
        raise StoreError(f"study '{name}' has its files in {objects.url}, where nothing can be renamed")
    if new == name:
        return Renamed(name, new)
    expire_leases(store, study_id=study_id)  # perhaps no worker is left that would
    with store.write() as connection:
        created = float(lock_own_study(connection, study_id, name).created)
        attempts = last_attempts(connection, study_id)
        refuse_while_trained(attempts, name, advice=f"'hpo pause {name}' first, and 'hpo resume {new}' afterwards")
        checkpoints = named_checkpoints(connection, study_id)
        referring = tuple(referring_studies(connection, name))
        rename_rows(connection, study_id, new)
        folder, new_folder = study_folder(name, created), study_folder(new, created)
        before = folders_of(artifacts, folder, checkpoints.values())
        # Those that an interrupted request has moved already.
        moved = [home / new_folder for home in homes_of(artifacts, folder, checkpoints.values())]
        moved = [path for path in moved if path.is_dir()]
        _refuse_to_leave_behind([*before, *moved], attempts, name)
        try:
            with _renamed(before, new_folder) as done:
                paths = _moved(checkpoints, folder, new_folder)
                move_checkpoints(connection, paths)
        except OSError as error:
            raise StoreError(f"a folder of study '{name}' cannot be renamed: {error}. Nothing was changed") from error
    elsewhere = sum(not path.exists() for path in (checkpoints | paths).values())
    return Renamed(name, new, (*moved, *done), elsewhere, referring)


@contextmanager
def _renamed(folders: Sequence[Path], new: str) -> Iterator[list[Path]]:
    """Rename folders; they get their names back when what follows fails."""
    done: list[tuple[Path, Path]] = []
    try:
        for folder in folders:
            if folder.with_name(new).exists():
                raise FileExistsError(f"{folder.with_name(new)} is there already")
            done.append((folder, folder.rename(folder.with_name(new))))
        yield [renamed for _, renamed in done]
    except BaseException:
        for folder, renamed in done:
            renamed.rename(folder)
        raise


def _moved(checkpoints: Mapping[int, Path], folder: str, new: str) -> dict[int, Path]:
    """By trial_id, the paths of the checkpoints that are in the renamed folder now."""
    found = {}
    for trial_id, path in checkpoints.items():
        if len(path.parents) > 2 and path.parents[1].name == folder:
            renamed = path.parents[2] / new / path.parent.name / path.name
            if renamed.exists():
                found[trial_id] = renamed
    return found


def _refuse_to_leave_behind(folders: Sequence[Path], attempts: Sequence[LastAttempt], name: str) -> None:
    """Trials that are to go on would look for their checkpoints in a folder of the new name, on any machine."""
    left = [
        attempt
        for attempt in attempts
        if not any((folder / trial_folder(attempt.number)).is_dir() for folder in folders)
    ]
    if left:
        numbers = ", ".join(str(attempt.number) for attempt in left[:5]) + (", ..." if len(left) > 5 else "")
        hosts = ", ".join(sorted({attempt.host or "another program" for attempt in left}))
        raise StoreError(
            f"study '{name}' has trials that are to go on from files that are not in this machine's artifacts "
            f"({numbers}, last trained on {hosts}): rename it there, give --artifacts, or end them with 'hpo stop'"
        )
