"""The git commit of a project folder, and whether its files differ from it: asked of git beside the work, and at ease.

Without git, in a folder that is no work tree, and where git does not answer, both are not known, which hinders nothing.
"""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path

SECONDS = 30.0  # for an answer: the work tree may be large, and on a slow disk
# What would have git look at another repository, or run a program that the user's own git would not.
_OF_GIT = "GIT_"
# `status` writes nothing, not even a refreshed index, which could be in the way of the user's own git.
_GIT = ("git", "--no-optional-locks", "-c", "core.fsmonitor=false", "-c", "core.quotePath=true")


class WorkTree:
    """The state of a project folder's work tree; git is asked in a thread from now on.

    Args:
        environment: of git, without credentials.
        seconds: for an answer.
    """

    def __init__(self, project: Path, environment: Mapping[str, str], *, seconds: float = SECONDS) -> None:
        self._project = project
        self._seconds = seconds
        self._environment = {name: value for name, value in environment.items() if not name.startswith(_OF_GIT)} | {
            "GIT_TERMINAL_PROMPT": "0",
            "LC_ALL": "C",
        }
        self._commit: str | None = None
        self._is_dirty: bool | None = None
        self._asking = threading.Thread(target=self._ask, name="git", daemon=True)
        self._asking.start()

    @property
    def commit(self) -> str | None:
        """The commit that is checked out, in hexadecimal; None while it is not known."""
        return self._commit

    @property
    def is_dirty(self) -> bool | None:
        """Whether tracked files were changed, or there are Python files that git neither tracks nor ignores."""
        return self._is_dirty

    def wait(self) -> None:
        """Wait for git's answers."""
        self._asking.join()

    def _ask(self) -> None:
        self._commit = self._answer("rev-parse", "--verify", "HEAD")
        if self._commit is None:
            return
        changed = self._answer("status", "--porcelain", "--untracked-files=no")
        unknown = self._answer("ls-files", "--others", "--exclude-standard", "--", "*.py")
        if changed is not None and unknown is not None:
            self._is_dirty = bool(changed or unknown)

    def _answer(self, *arguments: str) -> str | None:
        """What git prints; None where it cannot answer."""
        try:
            done = subprocess.run(
                [*_GIT, *arguments],
                cwd=self._project,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=self._seconds,
                check=True,
                start_new_session=True,  # the terminal's Ctrl-C is for the worker
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()
