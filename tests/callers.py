"""Clients of the server's application: strangers, holders of tokens, people who log in."""

from __future__ import annotations

import re

from fastapi.testclient import TestClient

from hpo.web.app import application
from hpo.web.callers import Role
from hpo.web.site import Site
from hpo.web.tokens import create_token
from hpo.web.users import add_user

ORIGIN = "http://127.0.0.1:8080"
PASSWORD = "correct horse battery"


def client_of(site: Site, role: Role | None = None, *, follow_redirects: bool = False) -> TestClient:
    """One with a token of this role; without a role, without any."""
    client = TestClient(application(site), base_url=ORIGIN, follow_redirects=follow_redirects)
    if role is not None:
        secret = create_token(site.store, f"{role.word}-{id(client)}", role)
        client.headers["Authorization"] = f"Bearer {secret}"
    return client


def logged_in(site: Site, role: Role, name: str = "ann") -> TestClient:
    """A browser of a new user, who has logged in; its writes come from our pages."""
    add_user(site.store, name, role, PASSWORD, replace=True)
    client = client_of(site)
    client.headers["Origin"] = ORIGIN
    answer = client.post("/login", data={"name": name, "password": PASSWORD})
    assert answer.status_code == 303, answer.text
    return client


def csrf_of(client: TestClient) -> str:
    """The session's secret, as a form of ours has it."""
    found = re.search(r'name="csrf" value="([0-9a-f]{64})"', client.get("/logout").text)
    assert found is not None
    return found[1]
