"""Who calls, and what they may do.

A route names the role that it needs: `caller: Annotated[Caller, Depends(need(Role.OPERATOR))]`. What it changes, it
writes into the audit trail with `record`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from fastapi import Request
from sqlalchemy import insert

from hpo.store import Store
from hpo.store.clock import db_now
from hpo.store.tables import hpo_audit


class Role(IntEnum):
    """What somebody may do; each role may do what the ones before it may."""

    VIEWER = 1
    """Look."""
    OPERATOR = 2
    """Also submit, steer and enqueue."""
    ADMIN = 3
    """Also delete studies, and manage users and tokens."""


@dataclass(frozen=True)
class Caller:
    """Who sent a request.

    Attributes:
        name: of the user, or of the token.
        studies: the names of the only studies that the caller may see; None for all.
    """

    name: str
    role: Role
    studies: frozenset[str] | None = None

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


def caller_of(request: Request) -> Caller:
    """Who sent the request: without a login, an anonymous viewer."""
    return ANONYMOUS


def need(role: Role) -> Callable[[Request], Caller]:
    """A dependency of a route: its caller, who has this role at least.

    Raises:
        DeniedError: nobody is logged in, or their role does not suffice.
    """

    def check(request: Request) -> Caller:
        caller = caller_of(request)
        if caller.role < role:
            raise DeniedError(
                403, f"this needs the role {role.name.lower()}; {caller.name} is {caller.role.name.lower()}"
            )
        return caller

    return check


def record(store: Store, caller: Caller, action: str, *, study: str | None = None, **detail: Any) -> None:
    """Write into the audit trail what a caller did.

    Args:
        action: a verb, such as `pause`.
        detail: what else belongs to it, in JSON's values; never a secret.
    """
    row = insert(hpo_audit).values(
        moment=db_now(),
        caller=caller.name,
        action=action,
        study=study,
        detail=json.dumps(detail) if detail else None,
    )
    with store.write() as connection:
        connection.execute(row)
