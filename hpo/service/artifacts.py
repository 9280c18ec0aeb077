"""The folders of a study on this machine: checkpoints, logs and configurations, a folder a trial."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from hpo.study.naming import study_folder


def folders_of(artifacts: Path, name: str, created: float, checkpoints: Iterable[Path] = ()) -> list[Path]:
    """The study's folders that are on this machine: below `artifacts`, and where checkpoints of it are.

    Args:
        created: when the study was, seconds since 1970.
        checkpoints: of its trials, as the store names them; workers may have had another --artifacts.
    """
    folder = study_folder(name, created)
    candidates = [artifacts / folder, *(path.parents[1] for path in checkpoints if len(path.parents) > 2)]
    found = dict.fromkeys(path for path in candidates if path.name == folder)
    return [path for path in found if path.is_dir() and not path.is_symlink()]


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; links are not followed, and what is gone counts nothing."""
    return sum(_files(path))


def remove(path: Path) -> None:
    """Remove a file, a link, or a folder with all that is in it; what is gone already is no error.

    Raises:
        OSError: it cannot be removed, or not all of it.
    """
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    except FileNotFoundError:
        if path.exists():  # somebody else removes it as well
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
