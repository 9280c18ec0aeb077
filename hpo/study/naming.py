"""Names of studies, and of the folders for their trials' files, which depend on the name and time of creation."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime

from hpo.errors import SpecError

NAME_PATTERN = r"^[\w][\w .+-]*$"
LONGEST_NAME = 200
# Of the name of a file or folder, on Linux and macOS; letters beyond ASCII take two to four bytes.
_LONGEST_FILE_NAME_BYTES = 255

_FOLDER = re.compile(r"[\w][\w .+-]*-\d{8}-\d{6}")
_TRIAL_FOLDER = re.compile(r"\d{5,}")


def check_study_name(name: str) -> None:
    """Check the name of a study.

    Raises:
        SpecError: the name is empty, too long, or has characters that a folder's name should not have.
    """
    if (problem := too_long_for_a_folder(name)) is not None:
        raise SpecError(f"{name!r} {problem}")
    if not re.fullmatch(NAME_PATTERN.strip("^$"), name) or len(name) > LONGEST_NAME:
        raise SpecError(
            f"{name!r} cannot be the name of a study: it should be 1 to {LONGEST_NAME} letters, digits, spaces and "
            "'_.+-', and begin with a letter, a digit or '_'"
        )


def too_long_for_a_folder(name: str) -> str | None:
    """Why no folder can have the name of a study, as a predicate for the name; None for a name that is fine."""
    most = _LONGEST_FILE_NAME_BYTES - len(study_folder("", 0.0))
    size = len(os.fsencode(name))
    if size <= most:
        return None
    return f"is too long: it takes {size} bytes, and the name of a study's folder has room for {most} of it"


def study_folder(name: str, created: float) -> str:
    """The name of a study's folder below the artifacts; if the study is created again, it gets another one.

    Args:
        created: seconds since 1970, UTC.
    """
    return f"{name}-{datetime.fromtimestamp(created, UTC):%Y%m%d-%H%M%S}"


def is_study_folder(name: str) -> bool:
    """Whether the name has the form of `study_folder`."""
    return _FOLDER.fullmatch(name) is not None


def trial_folder(number: int) -> str:
    """The name of a trial's folder below its study's."""
    return f"{number:05d}"


def trial_of_folder(name: str) -> int | None:
    """The number of the trial with a folder of this name; None for other names."""
    return int(name) if _TRIAL_FOLDER.fullmatch(name) and trial_folder(int(name)) == name else None
