"""Who calls, and what they may do.

A route names the role that it needs: `caller: Annotated[Caller, Depends(need(Role.OPERATOR))]`. What it changes, it
writes into the audit trail with `audited`. Who calls was found out by `Gate` before.

A write that comes with a session's cookie has to bring the session's own secret too, which another web page cannot
know: a form has it as a hidden field `csrf`, a script sends it as the header `X-CSRF-Token`; both are
`csrf_token(request)`. `need` checks that, whatever the role.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable

from fastapi import Request

from hpo.web.callers import ANONYMOUS, Caller, DeniedError, Role

__all__ = ["ANONYMOUS", "Caller", "DeniedError", "Role", "caller_of", "csrf_token", "need"]

FIELD, HEADER = "csrf", "X-CSRF-Token"
READS = ("GET", "HEAD")
_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")


def caller_of(request: Request) -> Caller:
    """Who sent the request; without a login, an anonymous viewer.

    Raises:
        DeniedError: nobody who is known.
    """
    caller: Caller | None = getattr(request.state, "caller", None)
    if caller is None:
        raise DeniedError(401, "log in first, or send a token as 'Authorization: Bearer ...'")
    return caller


def csrf_token(request: Request) -> str:
    """What forms of the answer carry as a hidden field `csrf`; empty for callers without a session."""
    return caller_of(request).csrf or ""


def need(role: Role) -> Callable[[Request], Awaitable[Caller]]:
    """A dependency of a route: its caller, who has this role at least.

    Raises:
        DeniedError: nobody is logged in, their role does not suffice, or a write does not come from a page of ours.
    """

    async def check(request: Request) -> Caller:
        caller = caller_of(request)
        if caller.role < role:
            raise DeniedError(403, f"this needs the role {role.word}; {caller.name} is {caller.role.word}")
        if request.method not in READS and caller.csrf is not None:
            sent = request.headers.get(HEADER, "")
            if not sent and request.headers.get("Content-Type", "").partition(";")[0].strip().lower() in _FORMS:
                field = (await request.form()).get(FIELD)
                sent = field if isinstance(field, str) else ""
            if not hmac.compare_digest(sent.encode(), caller.csrf.encode()):
                raise DeniedError(403, "this page is older than your session: load it again, and repeat what you did")
        return caller

    return check
