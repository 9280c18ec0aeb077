"""Studies over HTTP, by the application itself and a real store."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from callers import client_of
from fastapi.testclient import TestClient
from projects.stored import add_worker
from projects.synthetic import Claimant, begin_next, create_study
from sqlalchemy import func, select
from stores import study_exists

from hpo.results.live import LiveView
from hpo.results.study import Study
from hpo.store.tables import hpo_settings
from hpo.study.states import StudyState
from hpo.web.api import idempotency
from hpo.web.audit import trail
from hpo.web.callers import Role
from hpo.web.site import Site
from hpo.web.tokens import create_token

API = "/api/v1/studies"


@pytest.fixture
def operator(site: Site) -> Iterator[TestClient]:
    """With a study of two complete trials."""
    study = create_study(site.store)
    worker = Claimant(site.store, study)
    for value in (0.25, 0.75):
        worker.finish(begin_next(worker, value / 2, value), value)
    with client_of(site, Role.OPERATOR) as client:
        yield client


def problem(answer: Any, status: int) -> str:
    """The words of an answer that tells of a problem."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status
    return str(answer.json()["detail"])


def test_the_studies_of_the_store_are_listed(site_of_each_database: Site) -> None:
    create_study(site_of_each_database.store)
    client = client_of(site_of_each_database, Role.VIEWER)

    answer = client.get(API)

    assert [study["study"] for study in answer.json()] == ["synthetic"]
    assert client.get(API, params={"state": "running"}).json() == answer.json()
    assert client.get(API, params={"state": ["paused", "done"]}).json() == []


def test_a_status_is_what_the_command_line_prints(site: Site, operator: TestClient) -> None:
    add_worker(site.store, host="here")

    found = operator.get(f"{API}/synthetic").json()

    kept = found.pop("kept")
    expected = json.loads(json.dumps(Study(site.store, "synthetic").status().to_json()))
    # what a list does not read is null
    expected["best"] |= {name: None for name in found["best"] if name not in expected["best"]}
    for status in (found, expected):
        for worker in status["workers"]:
            assert worker.pop("seconds_since_beat") < 60
    assert found == expected
    assert kept == {"trials": 0, "elsewhere": 0, "size": 0}


@pytest.mark.parametrize(
    ("verb", "state"),
    [
        ("pause", StudyState.PAUSED),
        ("resume", StudyState.RUNNING),
        ("stop", StudyState.STOPPED),
        ("kill", StudyState.KILLED),
    ],
)
def test_a_study_is_steered_and_again_is_no_error(
    site: Site, operator: TestClient, verb: str, state: StudyState
) -> None:
    answers = [operator.post(f"{API}/synthetic/{verb}") for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()
    assert Study(site.store, "synthetic").status().state == state
    assert [entry.action for entry in trail(site.store)] == [verb, verb]


def test_limits_are_changed_once_for_each_key(site: Site, operator: TestClient) -> None:
    def add(key: str, number: str = "+20") -> Any:
        headers = {"Idempotency-Key": key}
        return operator.patch(f"{API}/synthetic/limits", json={"limits": {"trials": number}}, headers=headers)

    first, again = add("a"), add("a")
    # another process, which has opened the same store
    with client_of(Site(site.url, site.project, site.artifacts, login=True)) as restarted:
        restarted.headers["Authorization"] = operator.headers["Authorization"]
        body = {"limits": {"trials": "+20"}}
        third = restarted.patch(f"{API}/synthetic/limits", json=body, headers={"Idempotency-Key": "a"})

    assert first.json() == again.json() == third.json() == {"message": "study synthetic: trials 120, priority 1"}
    assert "was sent with another request" in problem(add("a", "+30"), 422)
    assert add("b").json()["message"] == "study synthetic: trials 140, priority 1"


def test_a_key_of_somebody_else_is_another_one(site: Site, operator: TestClient) -> None:
    with client_of(site, Role.OPERATOR) as other:
        for client in (operator, other):
            body = {"limits": {"trials": "+20"}}
            client.patch(f"{API}/synthetic/limits", json=body, headers={"Idempotency-Key": "a"})

    assert Study(site.store, "synthetic").status().budget["trials"]["target"] == 140


def test_the_answers_that_are_kept_are_bounded(
    site: Site, operator: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idempotency, "MOST_KEPT", 3)

    for key in "abcde":
        body = {"limits": {"hours": 2}}
        operator.patch(f"{API}/synthetic/limits", json=body, headers={"Idempotency-Key": key})

    with site.store.read() as connection:
        kept = select(func.count()).where(hpo_settings.c.key.startswith(idempotency.PREFIX))
        assert connection.scalar(kept) == 3


def test_nothing_is_kept_of_a_write_that_failed(operator: TestClient) -> None:
    def change(limits: dict[str, Any]) -> Any:
        body, headers = {"limits": limits}, {"Idempotency-Key": "a"}
        return operator.patch(f"{API}/synthetic/limits", json=body, headers=headers)

    assert "'foo' cannot be set" in problem(change({"foo": 1}), 422)
    assert change({"hours": None}).status_code == 200


def test_only_an_admin_deletes(site: Site, operator: TestClient) -> None:
    admin = client_of(site, Role.ADMIN)

    assert "needs the role admin" in problem(operator.delete(f"{API}/synthetic"), 403)
    assert admin.get(f"{API}/synthetic/belongings").json()["trials"] == 2
    assert admin.delete(f"{API}/synthetic").json()["trials"] == 2
    assert not study_exists(site.store, "synthetic")
    assert "no study 'synthetic'" in problem(admin.delete(f"{API}/synthetic"), 404)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", f"{API}"),
        ("POST", f"{API}/synthetic/pause"),
        ("PATCH", f"{API}/synthetic/limits"),
        ("POST", f"{API}/synthetic/trials"),
        ("POST", f"{API}/synthetic/trials/0/kill"),
        ("DELETE", f"{API}/synthetic"),
    ],
)
def test_a_viewer_changes_nothing(site: Site, operator: TestClient, method: str, path: str) -> None:
    body: dict[str, Any] = {"points": [{}], "limits": {"trials": 1}}

    assert "needs the role" in problem(client_of(site, Role.VIEWER).request(method, path, json=body), 403)
    assert problem(client_of(site).request(method, path, json=body), 401)
    assert list(trail(site.store)) == []


@pytest.mark.parametrize(
    "path", ["", "/best", "/trials", "/trials/0", "/trials/0/curve", "/table", "/final", "/findings", "/report"]
)
def test_a_token_for_one_study_knows_of_no_other(site: Site, operator: TestClient, path: str) -> None:
    create_study(site.store, study="secret")
    token = create_token(site.store, "one", Role.ADMIN, studies=["synthetic"])
    client = client_of(site)
    client.headers["Authorization"] = f"Bearer {token}"

    hidden, absent = client.get(f"{API}/secret{path}"), client.get(f"{API}/none{path}")

    assert problem(hidden, 404) == problem(absent, 404)
    assert [study["study"] for study in client.get(API).json()] == ["synthetic"]
    assert problem(client.post(f"{API}/secret/kill"), 404)
    # also after its own study is gone, whose absence would name the others
    assert client.delete(f"{API}/synthetic").status_code == 200
    assert "secret" not in problem(client.get(f"{API}/synthetic"), 404)


def test_what_goes_on_is_told_of_the_studies_that_a_caller_may_see(site: Site) -> None:
    worker = Claimant(site.store, create_study(site.store))
    other = Claimant(site.store, create_study(site.store, study="secret"))
    begin_next(worker, 0.5)
    begin_next(other, 0.25)
    viewer, one = client_of(site, Role.VIEWER), client_of(site)
    one.headers["Authorization"] = f"Bearer {create_token(site.store, 'one', Role.VIEWER, studies=['synthetic'])}"

    everything, part = (client.get("/api/v1/live").json() for client in (viewer, one))

    assert LiveView.from_json(everything).trials[-1].curve[-1][1] == 0.5
    assert [trial["study"] for trial in everything["trials"]] == ["secret", "synthetic"]
    assert "secret" not in json.dumps(part)
    assert [trial["study"] for trial in part["trials"]] == ["synthetic"]
    assert [trial["study"] for trial in viewer.get(f"{API}/synthetic/live").json()["trials"]] == ["synthetic"]
    assert sum(found["busy"] for found in viewer.get("/api/v1/workers").json()) == 2
    assert one.get(f"{API}/secret/live").status_code == 404


@pytest.mark.parametrize("name", ["a/b", "a%b", "é 😀", "trials", "..", "a?b#c", "<b>"])
def test_a_study_may_be_called_anything(site: Site, name: str) -> None:
    import optuna

    from hpo.client.connection import path_of
    from hpo.store.optuna_storage import optuna_storage

    site.store  # noqa: B018 (has the tables)
    with optuna_storage(site.url) as storage:
        optuna.create_study(storage=storage, study_name=name)
    client = client_of(site, Role.OPERATOR)

    assert client.get(f"/api/v1/{path_of(name)}").json()["study"] == name
    assert client.get(f"/api/v1/{path_of(name, 'trials')}").json()["total"] == 0
    assert "created by another program" in problem(client.post(f"/api/v1/{path_of(name, 'pause')}"), 409)


def test_what_cannot_be_a_request_is_refused(operator: TestClient) -> None:
    limits = f"{API}/synthetic/limits"
    as_json = {"Content-Type": "application/json"}

    assert "no option 'stat' here, did you mean 'state'?" in problem(operator.get(API, params={"stat": "x"}), 422)
    assert problem(operator.get(f"{API}/a%00b"), 404)
    assert "JSON" in problem(operator.patch(limits, content=b"{", headers=as_json), 422)
    assert problem(operator.patch(limits, content=b"[" * 100_000, headers=as_json), 400)
    assert "1,000,000 bytes" in problem(operator.patch(limits, content=b" " * 1_000_001, headers=as_json), 413)
    assert "more" in problem(operator.patch(limits, json={"limits": {"hours": 1}, "more": 2}), 422)
    conditional = operator.patch(limits, json={"limits": {"hours": 1}}, headers={"If-Match": '"1"'})
    assert "no entity tags" in problem(conditional, 412)


def test_a_report_is_a_page_that_runs_nothing(operator: TestClient) -> None:
    page = operator.get(f"{API}/synthetic/report")

    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "sandbox" in page.headers["content-security-policy"]
    assert "<!doctype html>" in page.text
    assert "synthetic" in page.text


def test_what_was_not_found_out_is_said(operator: TestClient) -> None:
    assert operator.get(f"{API}/synthetic/findings").json() == []
    assert "hpo finalize synthetic" in problem(operator.get(f"{API}/synthetic/final"), 404)
