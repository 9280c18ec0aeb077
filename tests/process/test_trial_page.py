"""`hpo show`, `hpo trials` and the dashboard's attributes: why a trial failed, and everything about one trial."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import optuna
import pytest
from projects.launch import Hpo

from hpo.store import StoreUrl
from hpo.store.optuna_storage import optuna_storage


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Hpo:
    """Two studies of one trial each: one is complete, and one raises in its second epoch and is tried again."""
    folder = tmp_path_factory.mktemp("page")
    here = Hpo(folder, f"sqlite:///{folder}/hpo.db")
    here.study("good", epochs=3)
    here.study(
        "bad",
        model={"class": "projects.nets:Sometimes", "does": "raise"},
        space={"lr": [0.05, 0.1]},
        retries={"error": 1},
        epochs=3,
    )
    assert here.run("run", "good.yaml", "--trials", 1)[0] == 0
    assert here.run("run", "bad.yaml", "--trials", 1)[0] == 1
    return here


def test_a_failure_is_one_line_with_the_parameters(here: Hpo) -> None:
    [trial] = here.trials("bad")

    output = here.run("trials", "bad")[1]

    assert f"lr={trial.params['lr']}; error: RuntimeError: the second epoch is too much" in output
    assert "RuntimeError: RuntimeError" not in output


def test_a_trial_is_shown_with_its_attempts_error_log_and_files(here: Hpo) -> None:
    code, output = here.run("show", "bad", 0)

    assert code == 0, output
    assert output.startswith("bad, trial 0: failed\n")
    assert "cause       error: RuntimeError: the second epoch is too much" in output
    assert "epochs      1 of 3" in output
    assert output.count("error: RuntimeError") >= 3  # the cause, and two attempts
    assert "Traceback (most recent call last)" in output
    assert "raise RuntimeError" in output
    assert "log.txt" in output
    assert "config.json" in output


def test_a_complete_trial_is_shown_with_its_curve_and_as_json(here: Hpo) -> None:
    [trial] = here.trials("good")

    output = here.run("show", "good", 0)[1]
    document = json.loads(here.run("show", "good", 0, "--json")[1])

    assert f"value       {trial.value:.4g} after epoch {trial.best_epoch}" in output
    assert "Error" not in output
    assert [row["epoch"] for row in document["curve"]] == [1, 2, 3]
    assert document["trial"]["value"] == trial.value
    assert [attempt["end"] for attempt in document["attempts"]] == ["done"]
    assert {"best.ckpt", "config.json", "log.txt"} <= set(document["files"])


def test_a_trial_that_is_not_there_is_an_error_in_words(here: Hpo) -> None:
    assert here.run("show", "good", 7) == (
        2,
        "error: study 'good' has no trial 7; 'hpo trials good' lists those it has\n",
    )


def test_a_trial_without_files_on_this_machine_is_shown_too(here: Hpo, tmp_path: Path) -> None:
    code, output = here.run("show", "good", 0, "--artifacts", tmp_path)

    assert code == 0, output
    assert "value " in output


def test_the_traceback_is_in_the_trials_log_and_among_its_attributes(here: Hpo) -> None:
    log = here.run("logs", "bad", 0)[1]
    with optuna_storage(StoreUrl.parse(here.url)) as storage:
        [frozen] = optuna.load_study(study_name="bad", storage=storage).trials

    assert log.count("RuntimeError: the second epoch is too much") == 2
    assert frozen.user_attrs["cause"] == "error: RuntimeError"
    assert frozen.user_attrs["error"].strip().endswith("RuntimeError: the second epoch is too much")


def test_chosen_columns_are_printed_as_a_table_or_as_csv(here: Hpo) -> None:
    [trial] = here.trials("good")

    table = here.run("best", "good", "--columns", "number,value,lr")[1]
    rows = list(csv.reader(here.run("trials", "good", "--csv")[1].splitlines()))
    unknown = here.run("trials", "good", "--columns", "number,valeu")

    assert table.split()[:3] == ["number", "value", "lr"]
    assert rows[0][:3] == ["number", "state", "value"]
    assert dict(zip(*rows, strict=True))["params_lr"] == str(trial.params["lr"])
    assert unknown[0] == 2
    assert unknown[1].startswith("error: --columns: there is no column 'valeu', did you mean 'value'? Columns: number")
