"""Packages of the system that some tests need, by the list that `make test` installs: system-packages.txt.

A test names them with the marker `needs`. Without them it is skipped, with a line that says so, and fails where the
variable CI is set.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

LIST = Path(__file__).with_name("system-packages.txt")
BRINGS = dict(
    line.split() for line in LIST.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")
)


def program(command: str) -> str | None:
    """The path of a command; servers are in /usr/sbin, which is not on everybody's PATH."""
    return shutil.which(command) or shutil.which(command, path="/usr/sbin")


def needed_by(item: pytest.Item) -> list[str]:
    """The packages that a test needs, in the order of the list."""
    named = {package for marker in item.iter_markers("needs") for package in marker.args}
    assert named <= BRINGS.keys(), f"{named - BRINGS.keys()} should be in {LIST}"
    return [package for package in BRINGS if package in named]


def needs_of_file(path: Path) -> list[pytest.MarkDecorator]:
    """A marker for the packages whose files a file names, none without any."""
    text = path.read_text(encoding="utf-8")
    named = [package for package, brings in BRINGS.items() if brings.startswith("/") and brings in text]
    return [pytest.mark.needs(*named)] if named else []


def leave_out_without(packages: list[str]) -> None:
    """Skip the running test if one of the packages is missing; fail it in CI."""
    missing = [package for package in packages if not _is_there(BRINGS[package])]
    if not missing:
        return
    reason = f"needs {', '.join(missing)}: apt-get install {' '.join(missing)}"
    if os.environ.get("CI", "").lower() not in ("", "0", "no", "false"):
        pytest.fail(f"{reason}; CI is set, where no test is left out", pytrace=False)
    pytest.skip(reason)


def _is_there(brings: str) -> bool:
    return Path(brings).exists() if brings.startswith("/") else program(brings) is not None
