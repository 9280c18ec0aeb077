"""The users of a server, in its store: their passwords as argon2id hashes, and their roles."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import delete, insert, select, update

from hpo.errors import SpecError, StoreError
from hpo.store import Store
from hpo.store.clock import db_now
from hpo.store.tables import hpo_users
from hpo.web.callers import Role

FEWEST_CHARACTERS = 8  # NIST SP 800-63B, 5.1.1.2
MOST_CHARACTERS = 1000
_NAME = re.compile(r"[\w.@+-]{1,64}")
_hasher = PasswordHasher()  # argon2id with the second recommendation of RFC 9106: 64 MiB, 3 passes


@dataclass(frozen=True)
class User:
    """Somebody who may log in.

    Attributes:
        created: seconds since 1970 by the store's clock.
        changed: when the password or the role was changed, or the user logged out: sessions from before are over.
    """

    user_id: int
    name: str
    role: Role
    created: float
    changed: float


def add_user(store: Store, name: str, role: Role, password: str, *, replace: bool = False) -> None:
    """Add a user, or with `replace` give an existing one this role and password.

    Raises:
        SpecError: the name or the password cannot be used.
        StoreError: there is a user of this name, and `replace` is not given.
    """
    check_name(store, name, replace=replace)
    if not FEWEST_CHARACTERS <= len(password) <= MOST_CHARACTERS:
        raise SpecError(
            f"the password has {len(password)} characters: choose one of {FEWEST_CHARACTERS} to {MOST_CHARACTERS}"
        )
    values = {"password_hash": _hasher.hash(password), "role": role.word, "changed": db_now()}
    with store.write() as connection:
        known = hpo_users.c.name == name
        if connection.execute(select(hpo_users.c.user_id).where(known).with_for_update()).first() is None:
            connection.execute(insert(hpo_users).values(name=name, created=db_now(), **values))
        elif replace:
            connection.execute(update(hpo_users).where(known).values(**values))
        else:
            raise _taken(name)


def check_name(store: Store, name: str, *, replace: bool = False) -> None:
    """Check that a user can be added under this name.

    Raises:
        SpecError: nobody can have this name.
        StoreError: there is a user of this name, and `replace` is not given.
    """
    if _NAME.fullmatch(name) is None:
        raise SpecError(f"the user name '{name}' should be 1 to 64 letters, digits, or characters of '_.@+-'")
    with store.read() as connection:
        is_taken = connection.execute(select(hpo_users.c.user_id).where(hpo_users.c.name == name)).first() is not None
    if is_taken and not replace:
        raise _taken(name)


def users(store: Store) -> list[User]:
    """All users, by name."""
    with store.read() as connection:
        return [_user(row) for row in connection.execute(select(hpo_users).order_by(hpo_users.c.name))]


def find_user(store: Store, user_id: int) -> User | None:
    """The user of this number; None when there is none any more."""
    with store.read() as connection:
        row = connection.execute(select(hpo_users).where(hpo_users.c.user_id == user_id)).first()
        return None if row is None else _user(row)


def remove_user(store: Store, name: str) -> None:
    """Remove a user, whose sessions are over with it.

    Raises:
        StoreError: there is no such user.
    """
    with store.write() as connection:
        if connection.execute(delete(hpo_users).where(hpo_users.c.name == name)).rowcount == 0:
            raise StoreError(f"there is no user '{name}'; 'hpo user list' prints those there are")


def verified(store: Store, name: str, password: str) -> User | None:
    """The user of this name, if the password is theirs.

    For an unknown name a hash of nobody is verified, so that an answer takes as long as for a wrong password.
    """
    with store.read() as connection:
        row = connection.execute(select(hpo_users).where(hpo_users.c.name == name)).first()
    expected = _hash_of_nobody()
    if row is not None:
        expected = row.password_hash
    try:
        _hasher.verify(expected, password)
    except (VerificationError, InvalidHashError):
        return None
    if row is None:
        return None
    if _hasher.check_needs_rehash(expected):
        same = (hpo_users.c.user_id == row.user_id) & (hpo_users.c.password_hash == expected)
        with store.write() as connection:
            connection.execute(update(hpo_users).where(same).values(password_hash=_hasher.hash(password)))
    return _user(row)


def end_sessions(store: Store, name: str) -> None:
    """End all sessions of a user."""
    with store.write() as connection:
        connection.execute(update(hpo_users).where(hpo_users.c.name == name).values(changed=db_now()))


def _taken(name: str) -> StoreError:
    return StoreError(f"there is a user '{name}' already: with --replace, the role and the password are changed")


@functools.cache
def _hash_of_nobody() -> str:
    return _hasher.hash("the password of nobody")


def _user(row: object) -> User:
    user_id, name, role, created, changed = (
        getattr(row, key) for key in ("user_id", "name", "role", "created", "changed")
    )
    return User(user_id, name, Role.of(role), created, changed)
