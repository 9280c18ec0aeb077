"""The secrets that targets name: read where a message is sent, and kept out of what is said about it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from hpo.errors import DeliveryError
from hpo.printable import in_a_line
from hpo.study.notify import Target

LARGEST_BYTES = 100_000
_LONGEST_ERROR = 300
_SHORTEST_PART = 6  # of a secret that is not shown: in shorter ones, words of the message would disappear


def secrets_of(target: Target, project: Path) -> dict[str, str]:
    """What the target names by `..._env` and `..._file`, by what it is: url, secret, password.

    Args:
        project: where a relative path starts.

    Raises:
        DeliveryError: a variable is not set, or a file cannot be read.
    """
    found = {}
    section = target.webhook or target.apprise or target.email
    for what in ("url", "secret", "password"):
        variable, file = getattr(section, f"{what}_env", None), getattr(section, f"{what}_file", None)
        if variable is not None:
            found[what] = _value_of(os.environ.get(variable, ""), f"the environment variable {variable}", "is not set")
        elif file is not None:
            path = project / Path(file).expanduser()
            found[what] = _value_of(_text_of(path), f"the file {path}", "is empty")
    return found


def without_secrets(text: str, secrets: Iterable[str]) -> str:
    """A line to be shown, in which no secret and no part of one is left."""
    for secret in secrets:
        parts = [secret, *re.split(r"[/:@?&=,\s]+", secret)]
        for part in sorted({part for part in parts if len(part) >= _SHORTEST_PART}, key=len, reverse=True):
            text = text.replace(part, "***")
    line = in_a_line(" ".join(text.split()))
    return line if len(line) <= _LONGEST_ERROR else f"{line[: _LONGEST_ERROR - 3]}..."


def environment_of_command(environment: Mapping[str, str]) -> dict[str, str]:
    """The few variables that a command gets: where programs and the user's files are, and how text is written."""
    kept = {"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ", "TMPDIR", "XDG_RUNTIME_DIR"}
    kept |= {"DISPLAY", "DBUS_SESSION_BUS_ADDRESS"}  # for notify-send
    return {name: value for name, value in environment.items() if name in kept or name.startswith("LC_")}


def _text_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise DeliveryError(f"the file {path} cannot be read: {error.strerror}") from None
    if len(content) > LARGEST_BYTES:
        raise DeliveryError(f"the file {path} is too large for a secret")
    return content.decode(errors="replace")


def _value_of(text: str, where: str, problem: str) -> str:
    if not (value := text.strip()):
        raise DeliveryError(f"{where} {problem}")
    if not value.isprintable() or not value.isascii():
        raise DeliveryError(f"{where} does not hold one line of ASCII")
    return value
