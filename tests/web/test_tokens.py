"""Programs come with tokens, which have a role, perhaps studies, and an end."""

from __future__ import annotations

import json
import re

import pytest
from callers import client_of, logged_in
from projects.synthetic import create_study
from sqlalchemy import update

from hpo.errors import SpecError, StoreError
from hpo.store import Store
from hpo.store.clock import db_now
from hpo.store.tables import hpo_tokens
from hpo.web.callers import Role
from hpo.web.site import Site
from hpo.web.tokens import create_token, revoke_token, seconds_of, tokens


def status(site: Site, authorization: str, path: str = "/api/v1/studies") -> int:
    return client_of(site).get(path, headers={"Authorization": authorization}).status_code


def test_a_token_is_a_random_secret_of_which_the_store_has_a_digest(sqlite_store: Store) -> None:
    secret = create_token(sqlite_store, "ci", Role.OPERATOR)

    assert re.fullmatch(r"hpo_[\w-]{43}", secret)
    assert secret.encode() not in sqlite_store.url.path.read_bytes()
    assert [(token.name, token.role, token.is_valid) for token in tokens(sqlite_store)] == [("ci", Role.OPERATOR, True)]


def test_a_token_lets_in_on_each_database_until_it_is_revoked(site_of_each_database: Site) -> None:
    site = site_of_each_database
    secret = create_token(site.store, "ci", Role.VIEWER, seconds=3600.0)

    before = status(site, f"Bearer {secret}")
    used = tokens(site.store)[0].used
    revoke_token(site.store, "ci")

    assert before == 200
    assert used is not None
    assert status(site, f"Bearer {secret}") == 401


def test_what_is_not_a_valid_token_has_one_answer(site: Site) -> None:
    expired, revoked = (create_token(site.store, name, Role.VIEWER, seconds=60.0) for name in ("old", "gone"))
    with site.store.write() as connection:
        connection.execute(update(hpo_tokens).where(hpo_tokens.c.name == "old").values(expires=db_now()))
    revoke_token(site.store, "gone")
    wrong = ["x", "", "hpo_" + "A" * 43, expired, revoked, "hpo_" + "A" * 5000]

    answers = [client_of(site).get("/metrics", headers={"Authorization": f"Bearer {secret}"}) for secret in wrong]
    basic = client_of(site).get("/metrics", headers={"Authorization": "Basic YW5uOng="})

    assert {answer.status_code for answer in (*answers, basic)} == {401}
    assert len({answer.text for answer in (*answers, basic)}) == 1
    assert answers[0].json()["detail"] == "the token is not valid"


def test_an_invalid_token_is_not_made_up_for_by_a_session(site: Site) -> None:
    browser = logged_in(site, Role.ADMIN)

    assert browser.get("/api/v1/studies", headers={"Authorization": "Bearer x"}).status_code == 401


def test_a_token_for_some_studies_sees_no_others(site: Site) -> None:
    create_study(site.store)
    create_study(site.store, study="other")
    secret = create_token(site.store, "ci", Role.VIEWER, studies=["other"])

    listed = client_of(site).get("/api/v1/studies", headers={"Authorization": f"Bearer {secret}"}).json()

    assert [study["study"] for study in listed] == ["other"]
    for path in ("/metrics", "/api/studies", "/dashboard", "/ops"):
        assert status(site, f"Bearer {secret}", path) == 403


def test_a_token_works_without_a_login_too(site: Site) -> None:
    site.login = False

    assert status(site, f"Bearer {create_token(site.store, 'ci', Role.VIEWER)}") == 200
    assert status(site, "Bearer x") == 401


def test_a_token_in_an_address_is_refused_and_called_lost(site: Site) -> None:
    secret = create_token(site.store, "ci", Role.ADMIN)

    answer = client_of(site).get(f"/api/v1/studies?token={secret}", headers={"Authorization": f"Bearer {secret}"})

    assert answer.status_code == 400
    assert "revoke" in answer.json()["detail"]
    assert secret not in answer.text


def test_a_name_is_one_valid_tokens(store: Store) -> None:
    create_token(store, "ci", Role.VIEWER)
    with pytest.raises(StoreError, match="hpo token revoke ci"):
        create_token(store, "ci", Role.VIEWER)

    revoke_token(store, "ci")
    create_token(store, "ci", Role.VIEWER)

    assert [token.is_valid for token in tokens(store)] == [False, True]


def test_what_cannot_be_a_token_is_refused(sqlite_store: Store) -> None:
    with pytest.raises(SpecError, match="1 to 64"):
        create_token(sqlite_store, "a b", Role.VIEWER)
    with pytest.raises(StoreError, match="no study 'x'"):
        create_token(sqlite_store, "ci", Role.VIEWER, studies=["x"])
    with pytest.raises(StoreError, match="no valid token 'ci'"):
        revoke_token(sqlite_store, "ci")
    with pytest.raises(SpecError, match="did you mean 'viewer'"):
        Role.of("viewr")


@pytest.mark.parametrize(("text", "seconds"), [("90m", 5400.0), ("12h", 43200.0), ("30d", 2592000.0), ("never", None)])
def test_times_are_read(text: str, seconds: float | None) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "0d", "-1d", "1.5h", "30", "d", "999999d", "30 d", "1w"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match="30d"):
        seconds_of(text)


def test_the_studies_of_a_token_are_names_in_the_store(sqlite_store: Store) -> None:
    create_study(sqlite_store)
    create_token(sqlite_store, "ci", Role.VIEWER, studies=["synthetic", "synthetic"])

    assert tokens(sqlite_store)[0].studies == ("synthetic",)
    with sqlite_store.read() as connection:
        stored = connection.execute(hpo_tokens.select()).one()
    assert json.loads(stored.study_names) == ["synthetic"]
