"""Findings, which checks return, and the context that they check."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from hpo.store import Store

Level = Literal["ok", "note", "problem"]


@dataclass(frozen=True)
class Finding:
    """One result of a check.

    Attributes:
        level: ok; note, which requires no action; or problem.
        about: the subject in a word or two, the same for all findings of a kind: leases, checkpoints.
        where: the study, trial, file or setting; empty for the whole store or machine.
        what: the finding, in a sentence.
        remedy: the advice; empty when there is nothing to do.
        repair: repairs it and returns the change in words, or None when there was nothing left to change. It checks
            again before it changes anything, so it is harmless after somebody else's repair.
    """

    level: Level
    about: str
    what: str
    where: str = ""
    remedy: str = ""
    repair: Callable[[Store], str | None] | None = field(default=None, compare=False, repr=False)

    def to_json(self) -> dict[str, Any]:
        """Plain data, with `repairable` in place of the function."""
        plain = asdict(self)
        del plain["repair"]
        return plain | {"repairable": self.repair is not None}


@dataclass(frozen=True)
class CheckContext:
    """The subject of a check.

    Attributes:
        artifacts: folder for checkpoints and logs on this machine; it need not exist.
        host: this machine's name, as workers register it.
    """

    store: Store
    artifacts: Path
    host: str


Check = Callable[[CheckContext], Iterator[Finding]]


def listed(names: list[str], *, most: int = 5) -> str:
    """Names in a sentence: the first few, and how many more there are."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
