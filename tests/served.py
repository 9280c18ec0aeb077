"""Browsers of people who look at a served store, and fill in its forms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from callers import client_of, csrf_of, logged_in
from fastapi.testclient import TestClient

from hpo.store import Store
from hpo.web.callers import Role
from hpo.web.site import Site


def without_login(store: Store, folder: Path) -> TestClient:
    """A browser of somebody who may look."""
    return client_of(Site(store.url, folder, folder), follow_redirects=True)


class Person:
    """A browser in which somebody of a role is logged in, by the name of the role."""

    def __init__(self, store: Store, folder: Path, role: Role) -> None:
        self.browser = logged_in(Site(store.url, folder, folder, login=True), role, role.word)
        self.browser.follow_redirects = True

    def fill(self, form: str, **fields: str) -> Any:
        """Send a form; the page that follows."""
        return self.browser.post(form, data={"csrf": csrf_of(self.browser)} | fields)
