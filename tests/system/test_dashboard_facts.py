"""What optuna-dashboard shows beside what Optuna stores: attributes, constraints, notes, curves and logs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from projects.launch import Hpo
from projects.synthetic import Claimant, create_study
from selenium.webdriver import Chrome
from test_dashboard import Dashboard, serving, shown

from hpo.dashboard.files import MOST_BYTES
from hpo.results.trial import TrialRecord
from hpo.store import Store


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Dashboard, list[TrialRecord], Path]]:
    """A study of two trials, both against a constraint, with its dashboard."""
    folder = tmp_path_factory.mktemp("searched")
    hpo = Hpo(folder, f"sqlite:///{folder}/hpo.db", environment={"HPO_ARTIFACTS": str(folder / "hpo-artifacts")})
    keys = {"constraints": ["parameters <= 100", "val_loss <= 1e-9"], "budget": {"trials": 2}, "pruner": "none"}
    code, output = hpo.run("run", hpo.study("facts", epochs=3, **keys))
    assert (code, "violate a constraint" in output) == (1, True), output
    with serving(hpo.url, folder) as served:
        yield served, hpo.trials("facts"), folder / "hpo-artifacts"


NUMBERS = {"epochs", "seconds", "parameters", "samples_per_second", "attempt"}


def shown_trials(dashboard: Dashboard) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(dashboard.request("GET", "/api/studies/1")[2])["trials"]
    return found


def test_a_trial_has_numbers_as_attributes(searched: tuple[Dashboard, list[TrialRecord], Path]) -> None:
    dashboard, trials, _ = searched
    study = json.loads(dashboard.request("GET", "/api/studies/1")[2])

    sortable = {attribute["key"] for attribute in study["union_user_attrs"] if attribute["sortable"]}
    assert {"epochs", "seconds", "parameters", "samples_per_second", "memory in MiB", "attempt"} <= sortable
    assert study["objective_names"] == ["val_loss"]
    for trial, record in zip(study["trials"], trials, strict=True):
        attributes = {one["key"]: one["value"] for one in trial["user_attrs"]}
        assert attributes["worker"] == record.worker
        assert attributes["device"] == record.device
        assert (attributes["attempt"], attributes["epochs"]) == ("1", "3")
        assert float(attributes["samples_per_second"]) > 0


def test_a_trial_that_was_pruned_at_its_rung_has_them_too(tmp_path: Path) -> None:
    hpo = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")
    code, output = hpo.run("run", hpo.study("pruned", epochs=9, early_stopping=None, pruner="asha"), "--trials", 6)
    assert code == 0, output
    with serving(hpo.url, tmp_path) as served:
        found = shown_trials(served)

    states = {trial["state"] for trial in found}
    assert "Pruned" in states, states
    for trial in found:
        attributes = {one["key"]: float(one["value"]) for one in trial["user_attrs"] if one["key"] in NUMBERS}
        assert attributes.keys() == NUMBERS
        assert min(attributes.values()) > 0


def test_an_infeasible_trial_is_shown_as_one(searched: tuple[Dashboard, list[TrialRecord], Path]) -> None:
    dashboard, trials, _ = searched

    for trial, record in zip(shown_trials(dashboard), trials, strict=True):
        assert sorted(trial["constraints"]) == pytest.approx(sorted(record.violations.values()))
        assert max(trial["constraints"]) > 0


def test_a_study_has_a_note_of_what_it_searches(searched: tuple[Dashboard, list[TrialRecord], Path]) -> None:
    note = json.loads(searched[0].request("GET", "/api/studies/1")[2])["note"]["body"]

    assert note.splitlines()[0] == "- `projects.nets:Line` on `projects.nets:Points`: minimize `val_loss`"
    assert "- subject to `parameters <= 100`, `val_loss <= 1e-09`" in note or "`val_loss <= 1e-9`" in note
    assert "budget: 2 trials" in note
    assert "`hpo report facts`" in note


def test_a_note_is_of_the_present_state_and_holds_no_markup_of_the_file(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/hpo.db"
    with Store.create(url) as store:
        objective = {"metric": "`![x](http://elsewhere/x.png)`", "direction": "maximize"}
        create_study(store, objective=objective)
        with serving(url, tmp_path) as served:
            before = json.loads(served.request("GET", "/api/studies/1")[2])["note"]["body"]
            with store.write() as connection:
                connection.exec_driver_sql("UPDATE hpo_studies SET state = 'paused'")
            after = json.loads(served.request("GET", "/api/studies/1")[2])["note"]["body"]

    assert "maximize `'![x](http://elsewhere/x.png)'`" in before
    assert "running" not in before  # which a study may be called that has all its trials
    assert "- paused" in after


def test_a_trial_has_its_curve_and_the_end_of_its_log_as_files(
    searched: tuple[Dashboard, list[TrialRecord], Path],
) -> None:
    dashboard, trials, artifacts = searched
    shown_first = shown_trials(dashboard)[0]
    files = {one["filename"]: one["artifact_id"] for one in shown_first["artifacts"]}
    path = f"/artifacts/1/{shown_first['trial_id']}"

    status, headers, curve = dashboard.request("GET", f"{path}/{files['curve.csv']}")
    log = dashboard.request("GET", f"{path}/{files['log.txt']}")[2]

    assert status == 200
    rows = list(csv.DictReader(io.StringIO(curve.decode())))
    told = {int(row["epoch"]): float(row["val_loss"]) for row in rows}
    assert told == pytest.approx({epoch: metrics["val_loss"] for epoch, metrics in trials[0].curve})
    assert headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in headers["content-security-policy"]
    [file] = artifacts.glob("facts-*/00000/log.txt")
    assert log == file.read_bytes()

    before = file.read_bytes()
    try:
        file.write_bytes(b"first\n" + b"x" * 99 + b"\n" + b"line\n" * MOST_BYTES)
        longer = dashboard.request("GET", f"{path}/{files['log.txt']}")[2]
        assert len(longer) < MOST_BYTES + 100
        assert longer.startswith(b"[the last 256 KiB of ")
        assert longer.endswith(b"\nline\n")
        file.unlink()
        file.symlink_to("/etc/passwd")
        assert b"root" not in dashboard.request("GET", f"{path}/{files['log.txt']}")[2]
    finally:
        file.unlink()
        file.write_bytes(before)


@pytest.mark.parametrize("artifact", ["00000000-0000-0000-1000-ffffffffffff", "00000000-0000-0000-3000-000000000001"])
def test_no_other_files_are_served(searched: tuple[Dashboard, list[TrialRecord], Path], artifact: str) -> None:
    assert searched[0].request("GET", f"/artifacts/1/1/{artifact}")[0] == 404


def test_a_trial_that_waits_has_no_files_and_one_that_runs_says_where(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/hpo.db"
    with Store.create(url) as store:
        worker = Claimant(store, create_study(store))
        claim = worker.claim()
        assert claim is not None
        worker.begin(claim)
        worker.report(claim, 1, 0.5)
    with serving(url, tmp_path) as served:
        [trial] = shown_trials(served)

    attributes = {one["key"]: one["value"] for one in trial["user_attrs"]}
    assert attributes["epochs"] == attributes["attempt"] == "1"
    assert attributes["worker"]
    assert {one["filename"] for one in trial["artifacts"]} == {"curve.csv", "log.txt"}


def test_the_page_of_a_trial_shows_its_files(
    searched: tuple[Dashboard, list[TrialRecord], Path], browser: Chrome
) -> None:
    page = shown(browser, f"{searched[0].url}/dashboard/studies/1/trials?numbers=0", "Trial 0", "curve.csv")

    assert "log.txt" in page
    assert "samples_per_second" in page
