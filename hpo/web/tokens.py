"""Tokens for programs: random secrets, of which the store has only the SHA-256."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert, select, update

from hpo.errors import SpecError, StoreError
from hpo.queue.progress import find_study
from hpo.store import Store
from hpo.store.clock import db_now
from hpo.store.tables import hpo_tokens
from hpo.web.callers import Caller, Role

PREFIX = "hpo_"  # by which scanners of source code, and the server in an address, find one that was lost
SECRET = re.compile(rf"{PREFIX}[\w-]{{43}}", re.ASCII)
_NAME = re.compile(r"[\w.@+-]{1,64}")
_SECONDS_BETWEEN_NOTES = 60.0  # of a use: each is a write
_UNITS = {"m": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(frozen=True)
class Token:
    """What is known of a token; moments are seconds since 1970 by the store's clock.

    Attributes:
        studies: the only ones that it is for; None for all.
        used: to a minute.
    """

    name: str
    role: Role
    studies: tuple[str, ...] | None
    created: float
    expires: float | None
    revoked: float | None
    used: float | None
    is_valid: bool


def create_token(
    store: Store, name: str, role: Role, *, seconds: float | None = None, studies: Sequence[str] = ()
) -> str:
    """Create a token; returns its secret, which cannot be read again.

    Args:
        seconds: until it expires; None for never.
        studies: the only ones that it is for; none for all.

    Raises:
        SpecError: the name cannot be used.
        StoreError: a valid token has this name, or there is no such study.
    """
    if _NAME.fullmatch(name) is None:
        raise SpecError(f"the token name '{name}' should be 1 to 64 letters, digits, or characters of '_.@+-'")
    for study in studies:
        find_study(store, study)
    secret = PREFIX + secrets.token_urlsafe(32)
    with store.write() as connection:
        if connection.execute(select(hpo_tokens.c.token_id).where(hpo_tokens.c.name == name, _is_valid())).first():
            raise StoreError(f"there is a token '{name}' already: revoke it first with 'hpo token revoke {name}'")
        connection.execute(
            insert(hpo_tokens).values(
                name=name,
                sha256=_digest(secret),
                role=role.word,
                study_names=json.dumps(sorted(set(studies))) if studies else None,
                created=db_now(),
                expires=None if seconds is None else db_now() + seconds,
            )
        )
    return secret


def tokens(store: Store) -> list[Token]:
    """All tokens, the oldest first, also those that are not valid any more."""
    wanted = select(hpo_tokens, _is_valid().label("is_valid")).order_by(hpo_tokens.c.token_id)
    with store.read() as connection:
        return [
            Token(
                row.name,
                Role.of(row.role),
                None if row.study_names is None else tuple(json.loads(row.study_names)),
                row.created,
                row.expires,
                row.revoked,
                row.used,
                bool(row.is_valid),
            )
            for row in connection.execute(wanted)
        ]


def revoke_token(store: Store, name: str) -> None:
    """Let a token be valid no more.

    Raises:
        StoreError: there is no valid token of this name.
    """
    wanted = update(hpo_tokens).where(hpo_tokens.c.name == name, _is_valid())
    with store.write() as connection:
        if connection.execute(wanted.values(revoked=db_now())).rowcount == 0:
            raise StoreError(f"there is no valid token '{name}'; 'hpo token list' prints those there are")


def caller_with(store: Store, secret: str) -> Caller | None:
    """Whose token this is; None when it is not valid: unknown, revoked or expired."""
    wanted = select(hpo_tokens, db_now().label("now")).where(hpo_tokens.c.sha256 == _digest(secret), _is_valid())
    with store.read() as connection:
        row = connection.execute(wanted).first()
    if row is None:
        return None
    if row.used is None or row.now - row.used > _SECONDS_BETWEEN_NOTES:
        with store.write() as connection:
            connection.execute(update(hpo_tokens).where(hpo_tokens.c.token_id == row.token_id).values(used=row.now))
    studies = None if row.study_names is None else frozenset(json.loads(row.study_names))
    return Caller(f"token {row.name}", Role.of(row.role), studies)


def seconds_of(text: str) -> float | None:
    """The seconds that `30d`, `12h` or `90m` stands for; None for `never`.

    Raises:
        SpecError: it is neither.
    """
    if text == "never":
        return None
    found = re.fullmatch(r"([1-9][0-9]{0,4})([mhd])", text)
    if found is None:
        raise SpecError(f"'{text}' should be a number of minutes, hours or days, such as 90m, 12h or 30d, or 'never'")
    return float(found[1]) * _UNITS[found[2]]


def _digest(secret: str) -> str:
    # 256 random bits need no slow hash: nobody can try them all
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()


def _is_valid() -> Any:
    has_expired = hpo_tokens.c.expires.is_not(None) & (hpo_tokens.c.expires <= db_now())
    return hpo_tokens.c.revoked.is_(None) & ~has_expired
