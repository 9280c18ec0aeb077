"""What the dashboard shows of trials that wait, and of trials of several attempts; and that it offers no change."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from projects.synthetic import Claimant, create_study
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from stores import hand_back
from test_dashboard import Dashboard, serving, shown

from hpo.queue.claim import Claim
from hpo.store import Store
from hpo.store.optuna_storage import optuna_storage

ASHA = {"name": "asha", "min_epochs": 1}
CHANGES = ("create", "rename study", "delete study", "fail trial", "delete artifact", "upload a new file")
STATES = ["Waiting", "Waiting", "Complete", "Waiting", "Running"]


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    """Of a study with two trials paused at a rung, one of two attempts, an idle and a running one; and artifacts."""
    folder = tmp_path_factory.mktemp("waiting")
    url = f"sqlite:///{folder}/hpo.db"
    (folder / "hpo-artifacts").mkdir()
    with Store.create(url) as store:
        worker = Claimant(store, create_study(store, pruner=ASHA, budget={"trials": 9}))
        for value in (0.1, 0.2):
            at_rung = begin(worker)
            worker.report(at_rung, 1, value)
            worker.pause_at_rung(at_rung)
        hand_back(store, begin(worker), seconds=0.25)
        assert worker.finish(begin(worker), 0.9)  # after 2.5 s, in its second attempt
        idle, _running = begin(worker), begin(worker)
        hand_back(store, idle)
    with serving(url, folder) as served:
        yield served


def begin(worker: Claimant) -> Claim:
    claim = worker.claim()
    assert claim is not None
    if claim.params is None:
        worker.begin(claim)
    return claim


def trials_of(dashboard: Dashboard) -> list[dict[str, Any]]:
    status, _, body = dashboard.request("GET", "/api/studies/1")
    assert status == 200
    found: list[dict[str, Any]] = json.loads(body)["trials"]
    return found


def test_trials_that_no_worker_trains_are_shown_as_waiting(dashboard: Dashboard, browser: Chrome) -> None:
    assert [trial["state"] for trial in trials_of(dashboard)] == STATES
    csv = dashboard.request("GET", "/csv/1")[2].decode()
    assert [line.split(",")[1] for line in csv.splitlines()[1:]] == [state.upper() for state in STATES]

    page = shown(browser, f"{dashboard.url}/dashboard/studies/1/trials", "5 Trials", "Trial 4")
    assert page.count("Waiting") >= 3


def test_a_trial_that_waits_has_a_note_that_says_for_what(dashboard: Dashboard) -> None:
    notes = [trial["note"]["body"] for trial in trials_of(dashboard)]

    assert notes[0].startswith("Paused at a rung")
    assert notes[3].startswith("No worker trains it")
    assert notes[2] == notes[4] == ""


def test_the_seconds_of_a_trial_are_those_of_all_its_attempts(dashboard: Dashboard) -> None:
    trial = trials_of(dashboard)[2]

    start, end = (datetime.datetime.fromisoformat(trial[f"datetime_{name}"]) for name in ("start", "complete"))
    assert (end - start).total_seconds() == pytest.approx(0.25 + 2.5, abs=0.01)


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("", "synthetic"),
        ("/studies/1", "Timeline"),
        ("/studies/1/trials?numbers=4", "Trial 4 "),
        ("/studies/1/note", "Note"),
    ],
)
def test_no_page_shows_a_button_that_would_change_something(
    dashboard: Dashboard, browser: Chrome, page: str, text: str
) -> None:
    shown(browser, f"{dashboard.url}/dashboard{page}", text)

    controls = [
        control
        for control in browser.find_elements(By.CSS_SELECTOR, "button, input[type=file]")
        if control.is_displayed()
    ]
    said = [f"{control.text} {control.get_attribute('aria-label') or ''}".lower() for control in controls]
    icons = [control for control in controls if control.find_elements(By.CSS_SELECTOR, 'path[d^="M3 17.25V21"]')]
    assert not [one for one in said for change in CHANGES if change in one]
    assert not icons  # a pen, which edits a note
    assert not [file for file in browser.find_elements(By.CSS_SELECTOR, "input[type=file]") if is_reachable(file)]


def is_reachable(file: Any) -> bool:
    """Whether the card around an input for files is shown: the input itself never is."""
    card = file.find_element(By.XPATH, "(./ancestor::div[contains(@class, 'MuiCard-root')])[last()]")
    return bool(card.is_displayed())


def test_the_buttons_are_only_hidden_and_the_page_has_them_still(dashboard: Dashboard, browser: Chrome) -> None:
    """Otherwise the test above would pass for a page that has other buttons than it knows."""
    shown(browser, f"{dashboard.url}/dashboard", "synthetic")
    for label in ("rename study", "delete study"):
        assert browser.find_elements(By.CSS_SELECTOR, f'button[aria-label="{label}"]')
    assert [b for b in browser.find_elements(By.CSS_SELECTOR, "button") if b.get_attribute("textContent") == "Create"]
    shown(browser, f"{dashboard.url}/dashboard/studies/1/trials?numbers=4", "Trial 4")
    texts = [b.get_attribute("textContent") for b in browser.find_elements(By.CSS_SELECTOR, "button")]
    assert "Fail Trial" in texts
    assert browser.find_elements(By.CSS_SELECTOR, 'button:has(path[d^="M3 17.25V21"])')


def test_the_page_is_whole_and_has_its_length(dashboard: Dashboard) -> None:
    first = dashboard.request("GET", "/dashboard")
    again = dashboard.request(
        "GET", "/dashboard/studies/1", headers={"If-Modified-Since": "Wed, 01 Jan 2070 00:00:00 GMT"}
    )

    assert first[0] == again[0] == 200
    assert int(first[1]["content-length"]) == len(first[2])
    assert first[2].rstrip().endswith(b"</html>")
    assert b"display: none" in again[2]


def test_halves_of_characters_among_choices_are_written_out(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/hpo.db"
    distribution = optuna.distributions.CategoricalDistribution(["a\ud800", "b"])
    with Store.create(url) as store, optuna_storage(store.url) as storage:
        study = optuna.create_study(storage=storage, study_name="halves")
        study.add_trial(
            optuna.create_trial(
                params={"p": "a\ud800"}, distributions={"p": distribution}, value=1.0, user_attrs={"u": "\udfff"}
            )
        )

    with serving(url, tmp_path) as served:
        status, _, body = served.request("GET", "/csv/1")
        assert served.request("GET", "/api/studies/1")[0] == 200

    assert status == 200
    assert "a\\ud800" in body.decode()
    assert "\\udfff" in body.decode()


def test_two_objectives_are_shown_with_their_names_and_their_front(tmp_path: Path, browser: Chrome) -> None:
    url = f"sqlite:///{tmp_path}/hpo.db"
    (tmp_path / "hpo-artifacts").mkdir()
    objective = [{"metric": "val_accuracy", "direction": "maximize"}, {"metric": "parameters", "direction": "minimize"}]
    with Store.create(url) as store:
        worker = Claimant(store, create_study(store, objective=objective, pruner=ASHA, budget={"trials": 9}))
        for point in ((0.5, 500.0), (0.9, 900.0), (0.4, 600.0)):
            claim = begin(worker)
            worker.report(claim, 1, *point)
            assert worker.finish(claim, *point)
        pruned = begin(worker)
        worker.report(pruned, 1, 0.1, 990.0)
        assert worker.finish(pruned, 0.1, 990.0, state="PRUNED")

    with serving(url, tmp_path) as served:
        study = json.loads(served.request("GET", "/api/studies/1")[2])
        assert study["directions"] == ["maximize", "minimize"]
        assert study["objective_names"] == ["val_accuracy", "parameters"]
        assert [trial.get("values") for trial in study["trials"]][:3] == [[0.5, 500.0], [0.9, 900.0], [0.4, 600.0]]
        assert sorted(trial["number"] for trial in study["best_trials"]) == [0, 1]
        shown(browser, f"{served.url}/dashboard/studies/1", "Pareto")
