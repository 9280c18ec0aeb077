"""Who may call, and what each role may do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Self

from hpo.errors import SpecError, nearest


class Role(IntEnum):
    """What somebody may do; each role may do what the ones before it may."""

    VIEWER = 1
    """Look."""
    OPERATOR = 2
    """Also submit, steer and enqueue."""
    ADMIN = 3
    """Also delete studies."""

    @classmethod
    def of(cls, word: str) -> Self:
        """The role of this name.

        Raises:
            SpecError: there is none.
        """
        known = [role.word for role in cls]
        if word not in known:
            raise SpecError(f"there is no role '{word}'{nearest(word, known)}; the roles are {', '.join(known)}")
        return cls[word.upper()]

    @property
    def word(self) -> str:
        """Its name, as people and the store write it."""
        return self.name.lower()


@dataclass(frozen=True)
class Caller:
    """Who sent a request.

    Attributes:
        name: of the user; of a token, `token NAME`.
        studies: the names of the only studies that the caller may see; None for all.
        csrf: what forms and scripts send with each write of this session; None for a caller without a session.
    """

    name: str
    role: Role
    studies: frozenset[str] | None = None
    csrf: str | None = None

    def sees(self, study: str) -> bool:
        """Whether the caller may know of this study."""
        return self.studies is None or study in self.studies


class DeniedError(Exception):
    """The caller is not known (401), or may not do this (403).

    Attributes:
        status: of the answer.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


ANONYMOUS = Caller("anonymous", Role.VIEWER)
