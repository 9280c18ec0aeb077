"""The pages of `/ops`, by the application itself and a real store: what they show, and to whom."""

from __future__ import annotations

import socket
from pathlib import Path

import optuna
import pytest
from fastapi.testclient import TestClient
from projects.synthetic import Claimant, begin_next, create_study
from served import Served

from hpo.store import Store, StoreUrl
from hpo.store.optuna_storage import optuna_storage
from hpo.study.job import LOG
from hpo.study.naming import study_folder, trial_folder
from hpo.web.app import application
from hpo.web.callers import Role
from hpo.web.ops import addresses
from hpo.web.ops.pages import POLICY
from hpo.web.sessions import COOKIES
from hpo.web.site import Site

HOSTILE = "<script>alert(1)</script>\x1b[2J\u202egnp"
AS_TEXT = "&lt;script&gt;alert(1)&lt;/script&gt;\\x1b[2J\\u202egnp"
STUDY = "/ops/studies/synthetic"


def trained(store: Store) -> Claimant:
    """A study with complete trials, failed ones, and a running one."""
    worker = Claimant(store, create_study(store))
    for value in (0.5, 0.75, 0.625):
        worker.finish(begin_next(worker, 0.1, value - 0.1, value), value)
    for _ in range(2):
        worker.finish(
            begin_next(worker, 0.1), None, state="FAIL", cause="error: ValueError", error=f"ValueError: {HOSTILE}"
        )
    begin_next(worker, 0.25, 0.375)
    return worker


def test_an_empty_store_says_how_to_begin(served: Served) -> None:
    client = served.looker()

    assert "The store has no study yet" in client.get("/ops").text
    assert "No worker is alive" in client.get("/ops/workers").text


def test_all_studies_are_listed_with_what_goes_on(served: Served, sqlite_store: Store) -> None:
    trained(sqlite_store)

    shown = served.looker().get("/ops").text

    assert '<a href="/ops/studies/synthetic">synthetic</a>' in shown
    assert "5 of 100" in shown  # trials that have ended
    assert '<td data-name="Best" class="number">0.75</td>' in shown
    assert "<dt>Slots busy</dt><dd>1 of 1</dd>" in shown
    assert '2<span class="soft"> (error: ValueError)</span>' in shown
    assert "No study has this in its name" in served.looker().get("/ops?q=other").text


def test_a_study_shows_its_budget_its_curves_and_its_trials(served: Served, sqlite_store: Store) -> None:
    trained(sqlite_store)

    shown = served.looker().get(STUDY).text

    assert "3 complete, 2 failed, 1 running" in shown
    assert "the best, trial 1" in shown
    assert shown.count('<svg class="plot"') == 2  # for screens and for phones
    assert '<svg class="spark"' in shown
    assert "trial 5" in shown.partition("<h2>Running trials</h2>")[2].partition("<h2>")[0]
    assert "here:1, slot 0" in shown
    assert f"error: ValueError: {AS_TEXT}" in shown.partition("<h2>Failures by cause</h2>")[2]


def test_a_trial_shows_its_configuration_its_attempts_and_its_log(
    served: Served, sqlite_store: Store, tmp_path: Path
) -> None:
    worker = trained(sqlite_store)
    folder = tmp_path / study_folder("synthetic", worker.study.created) / trial_folder(1)
    folder.mkdir(parents=True)
    (folder / LOG).write_text("an early line\n" + "x" * 40_000 + f"\nepoch 3\r{HOSTILE}\n")

    shown = served.looker().get(f"{STUDY}/trials/1").text

    assert '<th scope="row">optimizer</th>' in shown
    assert "here:1" in shown.partition("<h2>Attempts</h2>")[2]
    log = shown.partition("<h2>End of its log</h2>")[2]
    assert f"epoch 3\n{AS_TEXT}" in log
    assert "an early line" not in log
    failed = served.looker().get(f"{STUDY}/trials/3").text
    assert f"ValueError: {AS_TEXT}" in failed.partition("<h2>Error</h2>")[2]
    assert "<script>alert" not in shown + failed


@pytest.mark.parametrize("name", ["a/b", "..", "100%", "?q=#x", HOSTILE, "trials/1", "ä b", "a%2Fb"])
def test_a_study_of_another_program_may_have_any_name(served: Served, sqlite_store: Store, name: str) -> None:
    with optuna_storage(sqlite_store.url) as storage:
        optuna.create_study(storage=storage, study_name=name).optimize(lambda trial: trial.suggest_float("x", 0, 1), 1)
    client = served.looker()

    address = addresses.of_study(name)

    assert f'href="{address}"' in client.get("/ops").text
    assert client.get(address).status_code == 200
    assert client.get(f"{address}/trials/0").status_code == 200
    assert client.get(f"{address}/trials?number=0").url.path.endswith("/trials/0")
    assert "<script>alert" not in client.get(address).text


def test_what_is_not_there_is_said_on_a_page(served: Served, sqlite_store: Store) -> None:
    create_study(sqlite_store)
    client = served.looker()

    for address in ("/ops/studies/other", f"{STUDY}/trials/7", "/ops/static/other.js", "/ops/studies/other/report"):
        answer = client.get(address)
        assert (answer.status_code, answer.headers["content-type"]) == (404, "text/html; charset=utf-8"), address
    assert client.get(f"{STUDY}/trials/x").status_code == 422


def test_a_page_may_load_nothing_but_its_own_files(served: Served, sqlite_store: Store) -> None:
    trained(sqlite_store)
    client = served.looker()

    for address in ("/ops", "/ops/workers", STUDY, f"{STUDY}/trials/0", "/ops/studies/other"):
        answer = client.get(address)
        assert answer.headers["content-security-policy"] == POLICY
        assert not {"style=", "onclick=", "<style", "//"} & set(answer.text.replace("/", " /").split())
        for file in ("ops.css", "ops.js"):
            linked = next(part for part in answer.text.split('"') if f"/static/{file}" in part)
            assert client.get(linked).status_code == 200


def test_the_report_keeps_its_own_policy(served: Served, sqlite_store: Store) -> None:
    trained(sqlite_store)

    answer = served.looker().get(f"{STUDY}/report")

    assert "Model card" in answer.text
    assert "style-src 'sha256-" in answer.headers["content-security-policy"]


@pytest.mark.parametrize("login", [False, True])
def test_an_unreachable_store_is_said_and_tried_again(tmp_path: Path, login: bool) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = StoreUrl.parse(f"postgresql://nobody:s3cret@127.0.0.1:{closed.getsockname()[1]}/none")
        site = Site(url, tmp_path, tmp_path, login=login)
        browser = TestClient(application(site), base_url="http://localhost", cookies={COOKIES[False]: "of before"})
        answer = browser.get("/ops", headers={"Accept": "text/html"})

    assert answer.status_code == 503
    assert '<meta http-equiv="refresh" content="5">' in answer.text
    assert "s3cret" not in answer.text


@pytest.mark.parametrize("role", list(Role))
def test_forms_are_for_those_who_may_use_them(served: Served, sqlite_store: Store, role: Role) -> None:
    trained(sqlite_store)
    person = served.person(role)

    study, trial = person.browser.get(STUDY).text, person.browser.get(f"{STUDY}/trials/5").text

    may_steer = role >= Role.OPERATOR
    assert ('value="pause"' in study, 'value="pause"' in trial, 'name="changes"' in study) == (may_steer,) * 3
    assert (f'href="{STUDY}/delete"' in study) == (role == Role.ADMIN)
    assert person.browser.get(f"{STUDY}/delete").status_code == (200 if role == Role.ADMIN else 403)
