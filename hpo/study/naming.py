"""What a study may be called, and the folder that its name and its creation give to what its trials write."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from hpo.errors import SpecError

NAME_PATTERN = r"^[\w][\w .+-]*$"
LONGEST_NAME = 200

_FOLDER = re.compile(r"[\w][\w .+-]*-\d{8}-\d{6}")
_TRIAL_FOLDER = re.compile(r"\d{5,}")


def check_study_name(name: str) -> None:
    """Refuse what no study can be called.

    Raises:
        SpecError: the name is empty, too long, or has characters that a folder's name should not have.
    """
    if not re.fullmatch(NAME_PATTERN.strip("^$"), name) or len(name) > LONGEST_NAME:
        raise SpecError(
            f"{name!r} cannot be the name of a study: it should be 1 to {LONGEST_NAME} letters, digits, spaces and "
            "'_.+-', and begin with a letter, a digit or '_'"
        )


def study_folder(name: str, created: float) -> str:
    """The name of a study's folder below the artifacts: a study that is created again gets another one.

    Args:
        created: seconds since 1970, UTC.
    """
    return f"{name}-{datetime.fromtimestamp(created, UTC):%Y%m%d-%H%M%S}"


def is_study_folder(name: str) -> bool:
    """Whether `study_folder` may have made the name."""
    return _FOLDER.fullmatch(name) is not None


def trial_folder(number: int) -> str:
    """The name of a trial's folder below its study's."""
    return f"{number:05d}"


def trial_of_folder(name: str) -> int | None:
    """The number of the trial whose folder has this name; None for another name."""
    return int(name) if _TRIAL_FOLDER.fullmatch(name) and trial_folder(int(name)) == name else None
