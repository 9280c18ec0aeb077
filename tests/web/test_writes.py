"""The buttons of optuna-dashboard: operators change studies with them, viewers nothing; all is in the audit trail."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import optuna
import pytest
from callers import ORIGIN, client_of, csrf_of, logged_in
from fastapi import APIRouter, Depends, FastAPI
from fastapi.testclient import TestClient
from projects.synthetic import Claimant, begin_next, create_study
from stores import study_exists

from hpo.store.optuna_storage import optuna_storage
from hpo.study.states import Request
from hpo.web.access import Caller, need
from hpo.web.audit import trail
from hpo.web.callers import Role
from hpo.web.site import Site


def done(site: Site) -> list[tuple[str, str, str | None, dict[str, Any]]]:
    return [(entry.caller, entry.action, entry.study, entry.detail) for entry in trail(site.store)]


def foreign_study(site: Site, *, trials: int = 0) -> None:
    """The first study, which Optuna has made, with running trials."""
    site.store  # noqa: B018 (has the tables)
    with optuna_storage(site.url) as storage:
        study = optuna.create_study(storage=storage, study_name="theirs")
        for _ in range(trials):
            study.ask()


def test_an_operator_writes_a_note_on_each_database(site_of_each_database: Site) -> None:
    site = site_of_each_database
    create_study(site.store)
    browser = logged_in(site, Role.OPERATOR)

    saved = browser.put("/api/studies/1/note", json={"version": 1, "body": "looks good"})

    assert saved.status_code == 204
    assert browser.get("/api/studies/1").json()["note"]["body"] == "looks good"
    assert done(site) == [("ann", "note", "synthetic", {})]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/api/studies/1/note"),
        ("DELETE", "/api/studies/1"),
        ("POST", "/api/studies"),
        ("POST", "/api/studies/1/rename"),
        ("POST", "/api/trials/1/tell"),
        ("POST", "/api/artifacts/1"),
        ("POST", "/incompatible-rdb-schema"),
    ],
)
def test_a_viewer_changes_nothing(site: Site, method: str, path: str) -> None:
    create_study(site.store)
    for client in (logged_in(site, Role.VIEWER), client_of(site, Role.VIEWER)):
        answer = client.request(method, path, json={"version": 1, "body": "x", "study_name": "x"})

        assert answer.status_code == 405
        assert "log in as an operator" in answer.json()["reason"]
    assert study_exists(site.store, "synthetic")
    assert done(site) == []


def test_the_storage_of_viewers_cannot_write_while_that_of_operators_is_open(site: Site) -> None:
    create_study(site.store)
    operator = client_of(site, Role.OPERATOR)
    viewer = TestClient(operator.app, base_url=ORIGIN, headers=client_of(site, Role.VIEWER).headers)

    assert operator.put("/api/studies/1/note", json={"version": 1, "body": "x"}).status_code == 204
    assert viewer.get("/api/studies/1").status_code == 200

    pages = {client: client.get("/dashboard").text for client in (operator, viewer)}
    assert "display: none !important" in pages[viewer]
    assert "display: none !important" not in pages[operator]


def test_to_delete_a_study_needs_an_admin_and_takes_its_folder(site: Site) -> None:
    create_study(site.store)

    refused = client_of(site, Role.OPERATOR).delete("/api/studies/1")
    deleted = logged_in(site, Role.ADMIN).request("DELETE", "/api/studies/1", json={})

    assert refused.status_code == 403
    assert "the role admin" in refused.json()["reason"]
    assert deleted.status_code == 204
    assert not study_exists(site.store, "synthetic")
    assert done(site) == [("ann", "delete", "synthetic", {})]


def test_a_study_in_training_is_not_deleted(site: Site) -> None:
    begin_next(Claimant(site.store, create_study(site.store)), 0.5)

    refused = client_of(site, Role.ADMIN).delete("/api/studies/1")

    assert refused.status_code == 409
    assert "pause" in refused.json()["reason"]
    assert study_exists(site.store, "synthetic")


def test_a_study_is_renamed_with_what_is_ours(site: Site) -> None:
    create_study(site.store)

    renamed = client_of(site, Role.OPERATOR).post("/api/studies/1/rename", json={"study_name": "better"})

    assert renamed.status_code == 201
    assert (renamed.json()["study_id"], renamed.json()["study_name"]) == (1, "better")
    assert study_exists(site.store, "better")
    bad = client_of(site, Role.OPERATOR).post("/api/studies/1/rename", json={"study_name": "../x"})
    assert bad.status_code == 422


def test_a_trial_of_ours_is_failed_by_a_request_to_its_worker_and_told_no_value(site: Site) -> None:
    worker = Claimant(site.store, create_study(site.store))
    claim = begin_next(worker, 0.5)
    operator = client_of(site, Role.OPERATOR)
    path = f"/api/trials/{claim.trial_id}/tell"

    told = operator.post(path, json={"state": "Complete", "values": [float("1e9")]})
    failed = operator.post(path, json={"state": "Fail"})

    assert told.status_code == 409
    assert "from its training only" in told.json()["reason"]
    assert failed.status_code == 204
    with site.store.read() as connection:
        request = connection.exec_driver_sql("SELECT request FROM hpo_trials").scalar_one()
    assert request == Request.KILL
    assert [entry[1:] for entry in done(site)] == [("tell", "synthetic", {"trial": 0})]


@pytest.mark.parametrize("values", ['["NaN"]', "[NaN]", "[Infinity]", '["-inf"]', "[null]", '"x"', "{}"])
def test_a_value_that_would_end_a_study_for_good_is_refused(site: Site, values: str) -> None:
    foreign_study(site, trials=1)
    operator = client_of(site, Role.OPERATOR)

    answer = operator.post("/api/trials/1/tell", content=f'{{"state": "Complete", "values": {values}}}')

    assert answer.status_code == 422
    assert operator.get("/api/studies/1").json()["trials"][0]["state"] == "Running"
    assert done(site) == []


def test_a_trial_of_another_program_may_be_told_a_value(site: Site) -> None:
    foreign_study(site, trials=1)
    operator = client_of(site, Role.OPERATOR)

    told = operator.post(
        "/api/trials/1/tell",
        json={"state": "Complete", "values": [0.5]},
        headers={"Content-Type": "application/json"},
    )

    assert told.status_code == 204, told.text
    assert done(site)[0][1:] == ("tell", "theirs", {"trial": 0})


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/incompatible-rdb-schema", 405),
        ("POST", "/api/llm/trial_filter_query", 405),
        ("PATCH", "/api/studies/1", 405),
        ("DELETE", "/api/studies/99", 409),
        ("POST", "/api/trials/99/tell", 409),
        ("PUT", "/api/studies/1/99/note", 409),
        ("POST", "/api/studies/1/rename", 422),
        ("POST", "/api/studies/99999999999/rename", 405),
    ],
)
def test_what_is_no_known_write_is_refused(site: Site, method: str, path: str, status: int) -> None:
    create_study(site.store)

    answer = client_of(site, Role.ADMIN).request(method, path, content="{}")

    assert answer.status_code == status
    assert answer.json()["reason"]
    assert done(site) == []


def test_a_write_of_a_cookie_must_come_from_our_pages(site: Site) -> None:
    create_study(site.store)
    browser = logged_in(site, Role.OPERATOR)
    del browser.headers["Origin"]
    note = {"version": 1, "body": "x"}
    foreign: list[dict[str, str]] = [
        {},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Origin": "http://127.0.0.1:8080.evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": ORIGIN},
        {"Referer": ORIGIN},
    ]

    statuses = [browser.put("/api/studies/1/note", json=note, headers=headers).status_code for headers in foreign]

    assert set(statuses) == {403}
    assert done(site) == []
    for headers in ({"Origin": ORIGIN}, {"Sec-Fetch-Site": "same-origin"}):
        assert browser.put("/api/studies/1/note", json=note, headers=headers).status_code in (204, 409)


def with_route(site: Site) -> FastAPI:
    """The application with a route of an operator's, as the interface and the pages have them."""
    app = client_of(site).app
    assert isinstance(app, FastAPI)
    router = APIRouter(prefix="/ops")
    operator = Depends(need(Role.OPERATOR))

    @router.post("/test")
    def change(caller: Caller = operator) -> str:
        return caller.name

    app.include_router(router)
    return app


def test_a_form_of_ours_needs_its_sessions_secret(site: Site) -> None:
    app = with_route(site)
    browser = logged_in(site, Role.OPERATOR)
    other = logged_in(site, Role.OPERATOR, "bob")
    client = TestClient(app, base_url=ORIGIN, headers={"Origin": ORIGIN}, cookies=dict(browser.cookies))
    secret = csrf_of(browser)

    for wrong in ("", "x", secret[:-1], csrf_of(other)):
        assert client.post("/ops/test", data={"csrf": wrong}).status_code == 403
        assert client.post("/ops/test", headers={"X-CSRF-Token": wrong}).status_code == 403
    assert client.post("/ops/test").status_code == 403
    assert client.post(f"/ops/test?csrf={secret}").status_code == 403
    assert client.post("/ops/test", content=json.dumps({"csrf": secret})).status_code == 403
    in_parts = {"files": {"csrf": (None, secret)}}
    for right in ({"data": {"csrf": secret}}, {"headers": {"X-CSRF-Token": secret}}, in_parts):
        answer = client.post("/ops/test", **right)  # type: ignore[arg-type]
        assert (answer.status_code, answer.json()) == (200, "ann")


def test_a_route_of_an_operator_is_closed_to_viewers_and_strangers(site: Site) -> None:
    app = with_route(site)
    viewer = logged_in(site, Role.VIEWER)
    known = TestClient(app, base_url=ORIGIN, headers={"Origin": ORIGIN}, cookies=dict(viewer.cookies))

    refused = known.post("/ops/test", data={"csrf": csrf_of(viewer)})
    stranger = TestClient(app, base_url=ORIGIN).post("/ops/test")
    token = TestClient(app, base_url=ORIGIN, headers=client_of(site, Role.OPERATOR).headers).post("/ops/test")

    assert refused.status_code == 403
    assert "this needs the role operator" in refused.json()["detail"]
    assert stranger.status_code == 401
    assert token.status_code == 200


def test_the_trail_is_of_one_study_on_request(site: Site) -> None:
    create_study(site.store)
    create_study(site.store, study="other")
    operator = client_of(site, Role.OPERATOR)
    for study_id in (1, 2):
        operator.put(f"/api/studies/{study_id}/note", json={"version": 1, "body": "x"})

    assert [entry.study for entry in trail(site.store)] == ["synthetic", "other"]
    assert [entry.study for entry in trail(site.store, study="other")] == ["other"]


def test_an_artifact_is_uploaded_by_operators_and_served_without_its_powers(site: Site, artifacts: Path) -> None:
    create_study(site.store)
    page = "data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg=="

    sent = client_of(site, Role.OPERATOR).post("/api/artifacts/1", json={"file": page, "filename": "../../x.html"})

    assert sent.status_code == 201
    assert [path.name for path in artifacts.iterdir()] == [sent.json()["artifact_id"]]
    shown = client_of(site, Role.VIEWER).get(f"/artifacts/1/{sent.json()['artifact_id']}")
    assert "sandbox" in shown.headers["content-security-policy"]
    assert shown.headers["x-content-type-options"] == "nosniff"
