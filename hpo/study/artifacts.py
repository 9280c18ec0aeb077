"""The folders of a study on this machine, with checkpoints, logs and configurations in a folder per trial."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from hpo.study.job import PREPROCESSING
from hpo.study.naming import is_study_folder

CHECKPOINT_SUFFIX = ".ckpt"


def homes_of(artifacts: Path, folder: str, checkpoints: Iterable[Path] = ()) -> list[Path]:
    """The folders that may have folders of the study on this machine: `artifacts`, and those of its checkpoints.

    Args:
        folder: the name of the study's folder.
        checkpoints: of its trials, by their paths in the store; workers may have used another --artifacts.
    """
    of_checkpoints = (
        path.parents[2] for path in checkpoints if len(path.parents) > 3 and path.parents[1].name == folder
    )
    return list({home.resolve(): home for home in (artifacts, *of_checkpoints)}.values())


def folders_of(artifacts: Path, folder: str, checkpoints: Iterable[Path] = ()) -> list[Path]:
    """The study's existing folders on this machine, without links. The arguments are those of `homes_of`.

    There are none by a name that no study of ours has: another program may have written it, or one with '../' in it.
    """
    homes = homes_of(artifacts, folder, checkpoints) if is_study_folder(folder) else []
    return [path for home in homes if is_folder(path := home / folder)]


def is_folder(path: Path) -> bool:
    """Whether it is a folder, and no link to one; false where the disk does not say."""
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except OSError:
        return False


def is_file(path: Path) -> bool:
    """Whether it is a file, and no link to one; false where the disk does not say."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; links are not followed, and missing files are ignored."""
    return sum(_files(path))


def checkpoints_in(folder: Path) -> list[Path]:
    """What ends in `.ckpt` below a trial's folder, whichever callback wrote it; links are not followed.

    A checkpoint may be a folder, of a model that is sharded. What was fitted for the best one comes last.
    """
    found, fitted = [], []
    for parent, folders, files in os.walk(folder):
        sharded = [name for name in folders if name.endswith(CHECKPOINT_SUFFIX)]
        found += [path for name in sorted(sharded) if is_folder(path := Path(parent, name))]
        named = sorted(name for name in files if name.endswith(CHECKPOINT_SUFFIX))
        found += [path for name in named if is_file(path := Path(parent, name))]
        folders[:] = sorted(set(folders) - set(sharded))
        fitted += [path] if PREPROCESSING in files and is_file(path := Path(parent, PREPROCESSING)) else []
    return [*found, *fitted[::-1]]


def is_checkpoint(path: Path) -> bool:
    """Whether a file is one of `checkpoints_in`, or below one, by its name."""
    return path.name == PREPROCESSING or any(part.endswith(CHECKPOINT_SUFFIX) for part in path.parts)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's contents, in hexadecimal.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove(path: Path) -> None:
    """Remove a file, a link, or a folder with its contents; a missing one is not an error.

    Raises:
        OSError: it cannot be removed, or not completely.
    """
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    except FileNotFoundError:
        if path.exists():  # another process is also removing it
            remove(path)


def _files(path: Path) -> Iterator[int]:
    try:
        found = path.lstat()
        if stat.S_ISREG(found.st_mode):
            yield found.st_size
        elif stat.S_ISDIR(found.st_mode):
            with os.scandir(path) as entries:
                for entry in entries:
                    yield from _files(Path(entry.path))
    except OSError:
        return
