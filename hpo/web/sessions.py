"""Sessions of people who have logged in: signed cookies, which end with time, a logout, or another password or role."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets

from itsdangerous import BadData, URLSafeTimedSerializer
from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError

from hpo.store import Store
from hpo.store.tables import hpo_settings
from hpo.web.callers import Caller
from hpo.web.users import User, find_user

SESSION_SECONDS = 12 * 3600
# By whether the connection is encrypted. A browser takes a cookie named `__Host-` from HTTPS and this host only.
COOKIES = {False: "hpo_session", True: "__Host-hpo_session"}
_KEY = "session_key"


class Sessions:
    """Signs and reads the cookies of one store's server; several servers of a store know each other's."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._key = signing_key(store)
        self._signer = URLSafeTimedSerializer(
            self._key, salt="hpo-session", signer_kwargs={"digest_method": hashlib.sha256, "key_derivation": "hmac"}
        )

    def cookie_of(self, user: User) -> str:
        """The value of a new session's cookie."""
        return str(self._signer.dumps([user.user_id, user.changed, secrets.token_urlsafe(16)]))

    def caller_with(self, cookie: str) -> Caller | None:
        """Whose session it is; None when it is over, or was not signed here."""
        try:
            user_id, changed, session = self._signer.loads(cookie, max_age=SESSION_SECONDS)
        except (BadData, ValueError, TypeError):
            return None
        user = find_user(self._store, user_id)
        if user is None or user.changed != changed:
            return None
        token = hmac.new(self._key.encode(), f"csrf {session}".encode(), hashlib.sha256).hexdigest()
        return Caller(user.name, user.role, csrf=token)


def signing_key(store: Store) -> str:
    """The store's key for cookies, which is made when it is first asked for."""
    wanted = select(hpo_settings.c.value).where(hpo_settings.c.key == _KEY)
    with store.read() as connection:
        found = connection.scalar(wanted)
    if found is None:
        try:
            with store.write() as connection:
                made = json.dumps(secrets.token_hex(32))
                connection.execute(insert(hpo_settings).values(key=_KEY, value=made))
        except IntegrityError:
            pass  # another server has made it a moment ago
        with store.read() as connection:
            found = connection.execute(wanted).scalar_one()
    return str(json.loads(found))
