"""Trials over HTTP: listed, looked at, enqueued and steered."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from callers import client_of
from fastapi.testclient import TestClient
from projects.stored import folder_of
from projects.synthetic import Claimant, begin_next, create_study

from hpo.results.study import Study
from hpo.study.states import TrialState
from hpo.web.audit import trail
from hpo.web.callers import Role
from hpo.web.site import Site

API = "/api/v1/studies/synthetic"
VALUES = (0.25, 0.75, 0.5)


@pytest.fixture
def operator(site: Site) -> Iterator[TestClient]:
    """With three complete trials and one that runs."""
    study = create_study(site.store)
    worker = Claimant(site.store, study)
    for value in VALUES:
        worker.finish(begin_next(worker, value / 2, value), value)
    begin_next(worker, 0.1)
    folder = folder_of(site.artifacts, study, 1)
    folder.mkdir(parents=True)
    (folder / "log.txt").write_text("epoch 1: \u00e9t\u00e9\nepoch 2\n" * 100, encoding="utf-8")
    with client_of(site, Role.OPERATOR) as client:
        yield client


def numbers(answer: Any) -> list[int]:
    return [trial["number"] for trial in answer.json()["trials"]]


def test_trials_come_in_pages(operator: TestClient) -> None:
    pages = [operator.get(f"{API}/trials", params={"limit": 3, "offset": offset}) for offset in (0, 3, 6)]

    assert [numbers(page) for page in pages] == [[0, 1, 2], [3], []]
    assert {page.json()["total"] for page in pages} == {4}


def test_trials_are_filtered_and_sorted_by_the_language_of_the_command_line(operator: TestClient) -> None:
    asked: dict[str, Any] = {"where": "state == 'complete' and value > 0.3", "sort": "-value", "limit": 1}

    first, second = (operator.get(f"{API}/trials", params={**asked, "offset": offset}) for offset in (0, 1))

    assert (numbers(first), numbers(second), first.json()["total"]) == ([1], [2], 2)
    wrong = operator.get(f"{API}/trials", params={"where": "vlue > 1"})
    assert wrong.status_code == 422
    assert "no column 'vlue', did you mean 'value'?" in wrong.json()["detail"]


@pytest.mark.parametrize("limits", [{"limit": 0}, {"limit": 1001}, {"limit": -1}, {"offset": -1}, {"offset": 10**30}])
def test_pages_are_bounded(operator: TestClient, limits: dict[str, int]) -> None:
    assert operator.get(f"{API}/trials", params=limits).status_code == 422


def test_the_best_trials_are_the_records_of_the_command_line(site: Site, operator: TestClient) -> None:
    found = operator.get(f"{API}/best", params={"k": 2}).json()

    expected = [json.loads(json.dumps(one.to_json())) for one in Study(site.store, "synthetic").best(2)]
    for one in expected:
        del one["provenance"]
    assert [{name: one[name] for name in expected[0]} for one in found["trials"]] == expected
    assert (found["objectives"], found["are_infeasible"]) == (["val_accuracy"], False)


def test_columns_are_chosen(operator: TestClient) -> None:
    asked = {"columns": "number,value", "where": "state == 'complete'", "sort": "value"}

    assert operator.get(f"{API}/table", params=asked).json() == {
        "columns": {"number": [0, 2, 1], "value": [0.25, 0.5, 0.75]}
    }


def test_one_trial_has_its_curve_its_attempts_and_the_end_of_its_log(operator: TestClient) -> None:
    found = operator.get(f"{API}/trials/1").json()

    assert [point["val_accuracy"] for point in found["curve"]] == [0.375, 0.75]
    assert found["curve"] == operator.get(f"{API}/trials/1/curve").json()["curve"]
    assert [attempt["number"] for attempt in found["attempts"]] == [1]
    assert found["log_end"][-1] == "epoch 2"
    assert found["files"] == {"log.txt": 2300}
    assert operator.get(f"{API}/trials/99").status_code == 404
    assert operator.get(f"{API}/trials/{2**40}").status_code == 422


def test_a_log_is_read_in_parts_of_whole_characters(operator: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpo.service.trial_log.PART_BYTES", 11)  # in the middle of a letter of two bytes
    text, offset, is_last = "", 0, False
    while not is_last:
        part = operator.get(f"{API}/trials/1/log", params={"offset": offset}).json()
        text, offset, is_last = text + part["text"], part["next_offset"], part["is_last"]

    assert text == "epoch 1: \u00e9t\u00e9\nepoch 2\n" * 100
    assert operator.get(f"{API}/trials/1/log", params={"offset": -8}).json()["text"] == "epoch 2\n"
    assert "has no log on this machine" in operator.get(f"{API}/trials/0/log").json()["detail"]


def test_points_are_enqueued_once(site: Site, operator: TestClient) -> None:
    body = {"points": [{"lr": 0.01}, {"depth": 3}]}
    headers = {"Idempotency-Key": "a"}

    first = operator.post(f"{API}/trials", json=body, headers=headers)
    assert first.json()["trials"] == [4, 5]
    operator.post(f"{API}/trials/4/kill")  # so that the point waits no more
    again = operator.post(f"{API}/trials", json=body, headers=headers)

    assert again.json() == first.json()
    assert len(Study(site.store, "synthetic").trials()) == 6
    assert [entry.action for entry in trail(site.store)] == ["enqueue", "kill"]


def test_the_same_key_at_the_same_time_is_done_once(operator: TestClient) -> None:
    answers: list[Any] = []
    body, headers = {"limits": {"trials": "+1"}}, {"Idempotency-Key": "a"}

    def send() -> None:
        answers.append(operator.patch(f"{API}/limits", json=body, headers=headers))

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {answer.text for answer in answers} == {'{"message":"study synthetic: trials 101, priority 1"}'}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"points": []}, "points"),
        ({"points": [{"lrr": 1}]}, "'lrr' is not searched, did you mean 'lr'?"),
        ({"points": [{"lr": 1}, {"depth": "x"}]}, "Nothing was entered"),
        ({"points": [{"lr": float("inf")}]}, "lr"),
        ({"points": [{"lr": 0.01}], "names": ["a", "b"]}, "names"),
        ({"points": [{"lr": 0.01}], "more": 1}, "more"),
        ({"points": [{"lr": 0.01}] * 1001}, "points"),
        ({"points": {"lr": 0.01}}, "points"),
        ([], ""),
    ],
)
def test_points_that_cannot_be_trained_are_refused(site: Site, operator: TestClient, body: Any, words: str) -> None:
    content, headers = json.dumps(body), {"Content-Type": "application/json"}

    answer = operator.post(f"{API}/trials", content=content, headers=headers)

    assert answer.status_code == 422
    assert words in answer.json()["detail"]
    assert len(Study(site.store, "synthetic").trials()) == 4


def test_values_may_be_texts(operator: TestClient) -> None:
    body = {"points": [{"lr": "1e-2", "depth": "3"}], "are_texts": True}

    assert operator.post(f"{API}/trials", json=body).json()["trials"] == [4]


def test_a_trial_is_steered(site: Site, operator: TestClient) -> None:
    for verb in ("pause", "pause", "resume", "resume", "stop"):
        assert operator.post(f"{API}/trials/3/{verb}").status_code == 200
    ended = operator.post(f"{API}/trials/0/kill")

    assert ended.status_code == 409
    assert "has ended already" in ended.json()["detail"]
    assert operator.post(f"{API}/trials/99/kill").status_code == 404
    assert Study(site.store, "synthetic").trials()[3].state == TrialState.RUNNING
    assert [entry.detail for entry in trail(site.store)] == [{"trial": 3}] * 5
