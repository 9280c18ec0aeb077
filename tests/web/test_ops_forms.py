"""The forms of `/ops` change what they say, for those who may, and are written into the audit trail."""

from __future__ import annotations

import json
from typing import Any

import pytest
from callers import ORIGIN
from projects.synthetic import Claimant, begin_next, create_study
from served import Served
from sqlalchemy import select
from stores import study_exists

from hpo.results.study import Study
from hpo.store import Store
from hpo.store.tables import hpo_audit
from hpo.web.callers import Role

STUDY = "/ops/studies/synthetic"
FORMS: tuple[tuple[str, dict[str, str]], ...] = (
    (f"{STUDY}/request", {"verb": "pause"}),
    (f"{STUDY}/extend", {"changes": "trials=+20"}),
    (f"{STUDY}/enqueue", {"point": "lr=1e-3"}),
    (f"{STUDY}/trials/0/request", {"verb": "stop"}),
    (f"{STUDY}/delete", {"typed": "synthetic"}),
)


def trail(store: Store) -> list[tuple[str, str, str | None, Any]]:
    """(who, what, of which study, detail) of all that was changed."""
    with store.read() as connection:
        rows = connection.execute(select(hpo_audit).order_by(hpo_audit.c.audit_id)).all()
    return [(row.caller, row.action, row.study, json.loads(row.detail) if row.detail else None) for row in rows]


def state_of(store: Store) -> str:
    return Study(store, "synthetic").status().state


def test_an_operator_steers_a_study(served: Served, sqlite_store: Store) -> None:
    create_study(sqlite_store)
    person = served.person(Role.OPERATOR)

    paused = person.fill(f"{STUDY}/request", verb="pause")
    assert "study synthetic is paused" in paused.text
    assert "study synthetic is paused" not in person.browser.get(str(paused.url)).text  # it is said once
    assert state_of(sqlite_store) == "paused"
    person.fill(f"{STUDY}/request", verb="resume")
    assert state_of(sqlite_store) == "running"
    assert "study synthetic: trials 120, hours 2" in person.fill(f"{STUDY}/extend", changes="trials=+20 hours=2").text
    assert "trial 0 waits for a worker" in person.fill(f"{STUDY}/enqueue", point="lr=1e-3 depth=2").text
    assert person.fill(f"{STUDY}/request", verb="kill").status_code == 422
    assert state_of(sqlite_store) == "running"
    person.fill(f"{STUDY}/request", verb="kill", sure="yes")
    assert state_of(sqlite_store) == "killed"

    assert trail(sqlite_store) == [
        ("operator", "pause", "synthetic", None),
        ("operator", "resume", "synthetic", None),
        ("operator", "set", "synthetic", {"changes": ["trials=+20", "hours=2"]}),
        ("operator", "enqueue", "synthetic", {"point": "lr=1e-3 depth=2", "trials": [0]}),
        ("operator", "kill", "synthetic", None),
    ]


def test_an_operator_steers_a_trial(served: Served, sqlite_store: Store) -> None:
    worker = Claimant(sqlite_store, create_study(sqlite_store))
    begin_next(worker, 0.25)
    person = served.person(Role.OPERATOR)

    said = person.fill(f"{STUDY}/trials/0/request", verb="pause").text

    assert "trial 0 of study synthetic is paused" in said
    assert "pause asked for" in person.browser.get(STUDY).text
    assert trail(sqlite_store) == [("operator", "pause", "synthetic", {"trial": 0})]


@pytest.mark.parametrize(
    ("form", "typed", "said"),
    [
        ("extend", {"changes": "trials=many"}, "is not a number"),
        ("enqueue", {"point": "lr=7 'x"}, "No closing quotation"),
        ("enqueue", {"point": "lrr=7"}, "lrr"),
        ("request", {"verb": "explode"}, "should be one of pause, resume, stop, kill"),
    ],
)
def test_a_form_that_is_wrong_says_so_and_keeps_what_was_typed(
    served: Served, sqlite_store: Store, form: str, typed: dict[str, str], said: str
) -> None:
    create_study(sqlite_store)
    person = served.person(Role.OPERATOR)

    answer = person.fill(f"{STUDY}/{form}", **typed)

    assert answer.status_code == 422
    assert said in answer.text.partition('role="alert">')[2].partition("</p>")[0].replace("&#39;", "'")
    assert all(f'value="{text}"'.replace("'", "&#39;") in answer.text for name, text in typed.items() if name != "verb")
    assert trail(sqlite_store) == []


def test_a_study_is_deleted_when_its_name_is_typed_again(served: Served, sqlite_store: Store) -> None:
    create_study(sqlite_store)
    person = served.person(Role.ADMIN)
    page = f"{STUDY}/delete"

    assert "is not its name: nothing was deleted" in person.fill(page, typed="synthetc").text.replace("&#39;", "'")
    assert study_exists(sqlite_store, "synthetic")
    assert "study synthetic was deleted: 0 trials" in person.fill(page, typed="synthetic").text

    assert not study_exists(sqlite_store, "synthetic")
    assert trail(sqlite_store) == [("admin", "delete", "synthetic", {"trials": 0})]
    assert person.browser.get(STUDY).status_code == 404


@pytest.mark.parametrize(("form", "fields"), FORMS)
def test_what_a_role_does_not_allow_is_refused_whatever_was_shown(
    served: Served, sqlite_store: Store, form: str, fields: dict[str, str]
) -> None:
    begin_next(Claimant(sqlite_store, create_study(sqlite_store)), 0.25)
    viewer = served.person(Role.VIEWER)
    nobody = served.looker()

    assert viewer.fill(form, **fields).status_code == 403  # with a token of the session
    assert nobody.post(form, data=fields).status_code == 403
    if form.endswith("/delete"):
        assert served.person(Role.OPERATOR).fill(form, **fields).status_code == 403

    assert trail(sqlite_store) == []
    assert state_of(sqlite_store) == "running"


@pytest.mark.parametrize(("form", "fields"), FORMS)
def test_a_form_of_another_page_is_refused(
    served: Served, sqlite_store: Store, form: str, fields: dict[str, str]
) -> None:
    begin_next(Claimant(sqlite_store, create_study(sqlite_store)), 0.25)
    person = served.person(Role.ADMIN)

    assert person.browser.post(form, data=fields).status_code == 403  # without the session's token
    assert person.browser.post(form, data=fields, headers={"Origin": "http://other.example"}).status_code == 403
    assert person.browser.post(form, data=fields | {"csrf": "guessed"}, headers={"Origin": ORIGIN}).status_code == 403

    assert trail(sqlite_store) == []
    assert state_of(sqlite_store) == "running"
