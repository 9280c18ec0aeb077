"""The folders of a study on this machine: checkpoints, logs and configurations, a folder a trial."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path


def homes_of(artifacts: Path, folder: str, checkpoints: Iterable[Path] = ()) -> list[Path]:
    """Where folders of a study may be on this machine: `artifacts`, and where its checkpoints are.

    Args:
        folder: the name of the study's folder.
        checkpoints: of its trials, as the store names them; workers may have had another --artifacts.
    """
    of_checkpoints = (
        path.parents[2] for path in checkpoints if len(path.parents) > 3 and path.parents[1].name == folder
    )
    return list({home.resolve(): home for home in (artifacts, *of_checkpoints)}.values())


def folders_of(artifacts: Path, folder: str, checkpoints: Iterable[Path] = ()) -> list[Path]:
    """The study's folders that are on this machine; links are none. The arguments are those of `homes_of`."""
    candidates = [home / folder for home in homes_of(artifacts, folder, checkpoints)]
    return [path for path in candidates if path.is_dir() and not path.is_symlink()]


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
