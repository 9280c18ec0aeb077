"""Browsers of people who look at a served store, and fill in its forms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from callers import client_of, csrf_of, logged_in
from fastapi.testclient import TestClient

from hpo.store import Store
from hpo.web.callers import Role
from hpo.web.site import Site


class Served:
    """A store that is served, with and without a login."""

    def __init__(self, store: Store, folder: Path) -> None:
        self._sites = [Site(store.url, folder, folder, login=login) for login in (False, True)]

    def looker(self) -> TestClient:
        """A browser of somebody who may look, without a login."""
        return client_of(self._sites[0], follow_redirects=True)

    def person(self, role: Role) -> Person:
        """A browser in which somebody of a role is logged in, by the name of the role."""
        browser = logged_in(self._sites[1], role, role.word)
        browser.follow_redirects = True
        return Person(browser)

    def close(self) -> None:
        """Close the connections to the store."""
        for site in self._sites:
            site.close()


class Person:
    """Somebody who is logged in."""

    def __init__(self, browser: TestClient) -> None:
        self.browser = browser

    def fill(self, form: str, **fields: str) -> Any:
        """Send a form; the page that follows."""
        return self.browser.post(form, data={"csrf": csrf_of(self.browser)} | fields)
