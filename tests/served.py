"""People who ask a served store, each with a session of their own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from hpo.store import Store
from hpo.web.app import application
from hpo.web.callers import Role
from hpo.web.site import Site
from hpo.web.sessions import COOKIES
from hpo.web.users import add_user, users

ADDRESS = "http://localhost"


def without_login(store: Store, folder: Path) -> TestClient:
    """A browser of somebody who may look."""
    return TestClient(application(Site(store.url, folder, folder)), base_url=ADDRESS)


class Person(TestClient):
    """A browser in which somebody of a role is logged in."""

    def __init__(self, store: Store, folder: Path, role: Role) -> None:
        site = Site(store.url, folder, folder, login=True)
        super().__init__(application(site), base_url=ADDRESS, headers={"Origin": ADDRESS})
        add_user(store, role.word, role, "a long password", replace=True)
        user = next(one for one in users(store) if one.name == role.word)
        self.cookies.set(COOKIES[False], site.sessions.cookie_of(user))

    def send(self, page: str, form: str, **fields: str) -> Any:
        """Fill in a form of a page and send it; the page that follows."""
        shown = self.get(page).text
        found = re.search(r'name="csrf" value="([^"]+)"', shown)
        csrf = {"csrf": found[1]} if found else {}
        return self.post(form, data=csrf | fields)
