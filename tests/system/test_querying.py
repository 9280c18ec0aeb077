"""The command line of queries: tables, CSV and JSON of the trials that are asked for, and two studies compared."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
from projects.launch import Hpo
from projects.service import invoke
from projects.synthetic import Claimant, create_study

from hpo.store import Store

POINTS = [
    ({"lr": 0.01, "optimizer": "adam", "depth": 2, "dropout": 0.1}, 0.9),
    ({"lr": 0.02, "optimizer": "sgd", "momentum": 0.5, "depth": 3, "dropout": 0.2}, 0.7),
    ({"lr": 0.03, "optimizer": "adam", "depth": 1, "dropout": 0.2}, 0.8),
    ({"lr": 0.04, "optimizer": "sgd", "momentum": 0.9, "depth": 1, "dropout": 0.2}, 0.6),
]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Hpo:
    """Two studies in one store, and one of the same name as the first in another."""
    folder = tmp_path_factory.mktemp("querying")
    hpo = Hpo(folder, f"sqlite:///{folder}/hpo.db")
    fill(hpo.url, "first", POINTS)
    fill(hpo.url, "second", POINTS[:2], epochs=3)
    fill(f"sqlite:///{folder}/other.db", "first", POINTS[:1], objective={"metric": "val_loss", "direction": "minimize"})
    return hpo


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")  # where the tests run, it may be less: lines would be wrapped


def fill(url: str, name: str, points: list[tuple[dict[str, Any], float]], **keys: Any) -> None:
    with Store.create(url) as store:
        worker = Claimant(store, create_study(store, study=name, **keys))
        for point, value in points:
            claim = worker.claim()
            assert claim is not None
            worker.begin(claim, point=point)
            worker.report(claim, 1, value)
            assert worker.finish(claim, value, best_epoch=1)


def answer(here: Hpo, *arguments: object) -> str:
    code, output = invoke(here, *arguments)
    assert code == 0, output
    return output


def numbers(text: str) -> list[int]:
    """Of the trials of a table whose first column they are."""
    words = [line.split() for line in text.splitlines()]
    return [int(line[0]) for line in words if line and line[0].isdigit()]


def test_trials_are_listed_by_expression_and_order(here: Hpo) -> None:
    chosen = answer(here, "trials", "first", "--where", "optimizer == 'adam' and seconds < 60", "--sort", "-lr")
    none = answer(here, "trials", "first", "--where", "lr > 1")
    as_json = json.loads(answer(here, "trials", "first", "--where", "depth == 1", "--sort", "value", "--json"))

    assert numbers(chosen) == [2, 0]
    assert none == "study first has no such trial\n"
    assert [record["number"] for record in as_json] == [3, 2]
    assert json.loads(answer(here, "trials", "first", "--where", "lr > 1", "--json")) == []


def test_columns_are_those_that_were_asked_for_in_each_form(here: Hpo) -> None:
    asked = ("trials", "first", "--columns", "number,lr,val_accuracy,momentum", "--sort", "momentum,-number")

    table = answer(here, *asked)
    rows = list(csv.reader(answer(here, *asked, "--csv").splitlines()))
    plain = json.loads(answer(here, *asked, "--json"))

    assert table.split()[:4] == ["number", "lr", "val_accuracy", "momentum"]
    assert numbers(table) == [1, 3, 2, 0]
    assert rows[:2] == [["number", "params_lr", "val_accuracy", "params_momentum"], ["1", "0.02", "0.7", "0.5"]]
    assert plain[2] == {"number": 2, "params_lr": 0.03, "val_accuracy": 0.8, "params_momentum": None}


def test_csv_without_columns_has_all_of_them(here: Hpo) -> None:
    header, *rows = csv.reader(answer(here, "best", "first", "-k", 2, "--csv").splitlines())

    assert header == [
        *("number", "state", "value", "best_epoch", "epochs", "max_epochs", "seconds", "attempts", "params_lr"),
        *("params_optimizer", "params_momentum", "params_depth", "params_dropout", "cause", "device", "worker"),
        *("checkpoint", "started", "ended"),
    ]
    assert [row[0] for row in rows] == ["0", "2"]
    assert all(row[-1].endswith("Z") for row in rows)


def test_the_best_of_each_group_are_shown(here: Hpo) -> None:
    one = json.loads(answer(here, "best", "first", "--by", "optimizer", "--json"))
    two = answer(here, "best", "first", "--by", "optimizer", "-k", 2, "--where", "depth < 3")
    none = answer(here, "best", "first", "--where", "lr > 1")

    assert [record["number"] for record in one] == [0, 1]
    assert numbers(two) == [0, 2, 3]
    assert none == "study first has no such trial with a value; 'hpo trials first' lists those it has\n"


def test_two_studies_are_compared(here: Hpo) -> None:
    text = answer(here, "diff", "first", "second")
    plain = json.loads(answer(here, "diff", "first", "second", "--json"))

    assert re.search("^ epochs +9 +3 *$", text, flags=re.MULTILINE)
    assert plain["file"] == [{"name": "epochs", "a": 9, "b": 3}]
    assert (plain["space"], plain["is_comparable"]) == ([], True)
    assert {"name": "complete", "a": 4, "b": 2} in plain["outcome"]


def test_a_study_of_another_store_is_compared_and_told_apart(here: Hpo) -> None:
    text = answer(here, "diff", "first", "first", "--other-store", f"sqlite:///{here.folder}/other.db")

    assert "first (other)" in text
    assert (
        "Their values cannot be compared: the objective of first is to maximize val_accuracy, that of first (other) to "
        "minimize val_loss."
    ) in text


def test_a_study_compared_with_itself_differs_in_nothing(here: Hpo) -> None:
    text = answer(here, "diff", "first", "first")

    assert "Their files, search spaces, data and code are the same, as far as they are known." in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("trials", "first", "--where", "optimzer == 'adam'"),
            "--where: there is no column 'optimzer', did you mean 'opt",
        ),
        (
            ("trials", "first", "--where", "optimizer == 3"),
            "--where: character 1, optimizer: has texts, but 3 is a number",
        ),
        (("trials", "first", "--sort", "-vaule"), "--sort: there is no column 'vaule', did you mean 'value'?"),
        (
            ("trials", "first", "--columns", "number,vaule"),
            "--columns: there is no column 'vaule', did you mean 'value'?",
        ),
        (("best", "first", "--by", "vaule"), "--by: there is no column 'vaule', did you mean 'value'?"),
        (("diff", "first", "secnd"), "the store has no study 'secnd', did you mean 'second'?"),
        (("diff", "first", "second", "--other-store", "none.db"), "there is no store "),
    ],
)
def test_what_is_mistyped_is_said_with_what_is_near(here: Hpo, arguments: tuple[str, ...], message: str) -> None:
    code, output = invoke(here, *arguments)

    assert code == 2
    assert output.startswith(f"error: {message}")
    assert "Traceback" not in output


def test_an_attempt_at_code_runs_nothing(here: Hpo, tmp_path: Path) -> None:
    mark = tmp_path / "ran"

    code, output = invoke(here, "trials", "first", "--where", f"open('{mark}', 'w') == 1")

    assert code == 2
    assert "a call is not allowed" in output
    assert not mark.exists()
