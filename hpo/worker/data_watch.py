"""Whether a study's data is still what its trials began with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hpo.study.fingerprints import changed_inputs, of_path


class DataWatch:
    """The files and folders of a study's data.

    Args:
        paths: by what each is called, see `ResolvedStudy.paths`.
        known: their fingerprints as the study began.
    """

    def __init__(self, paths: Mapping[str, Path], known: Mapping[str, str]) -> None:
        self._paths = {name: path for name, path in paths.items() if name in known}
        self._known = known
        self._seen = {name: _identity(path) for name, path in self._paths.items()}

    def changes(self) -> list[str]:
        """What was changed, in words. A file is only read again when its time or its size is another."""
        found = []
        for name, path in self._paths.items():
            identity = _identity(path)
            if identity != self._seen[name]:
                difference = changed_inputs({name: of_path(path)}, {name: self._known[name]})
                if not difference:
                    self._seen[name] = identity
                found += difference
        return found


def _identity(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
