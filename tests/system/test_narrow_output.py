"""What the reading verbs print has room on a narrow terminal, and in a pipe: nothing is cut off."""

from __future__ import annotations

import re
from pathlib import Path

import optuna
import pytest
from projects.launch import Hpo
from projects.service import invoke
from projects.synthetic import SPACE, Claimant, create_study
from stores import hand_back, write

from hpo.queue.claim import Claim
from hpo.queue.report import report_epoch
from hpo.store import Store, StoreUrl
from hpo.store.optuna_storage import optuna_storage

ERROR = "Traceback (most recent call last):\nValueError: the width of the second layer is not the one that it should be"
COLUMNS = "number,state,value,lr,optimizer,depth,val_loss,started,ended,worker"
VERBS = [
    *(("ls",), ("status", "synthetic"), ("trials", "synthetic"), ("best", "synthetic"), ("show", "synthetic", 1)),
    *(("trials", "synthetic", "--columns", COLUMNS), ("diff", "synthetic", "synthetic"), ("importance", "synthetic")),
]
METRICS = ("train_loss", "val_loss", "val_accuracy", "val_balanced_accuracy", "val_f1", "val_top_5_accuracy", "lr")


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Hpo:
    """A study with a complete, a failed, a pruned and a running trial."""
    folder = tmp_path_factory.mktemp("narrow")
    hpo = Hpo(folder, f"sqlite:///{folder}/hpo.db")
    with Store.create(hpo.url) as store:
        worker = Claimant(store, create_study(store, budget={"trials": 40, "hours": 8}))
        begin(worker)  # it runs
        assert worker.finish(begin(worker, epochs=9), 0.961234, best_epoch=8)
        error = "error: ValueError"
        assert worker.finish(begin(worker), None, state="FAIL", cause=error, error=ERROR)
        hand_back(store, begin(worker))
        assert worker.finish(begin(worker), 0.25, state="PRUNED", cause="stopped: by request")
    return hpo


def words(text: str) -> set[str]:
    """Names and numbers, without those that differ from one moment to the next."""
    return set(re.findall(r"[\w.]*\w", re.sub(r"hours \S+|last seen \S+", "", text)))


def begin(worker: Claimant, *, epochs: int = 1) -> Claim:
    claim = worker.claim()
    assert claim is not None
    if claim.params is None:
        worker.begin(claim, point=SPACE.defaults())
    for epoch in range(1, epochs + 1):
        write(
            worker.store,
            report_epoch,
            claim,
            epoch=epoch,
            value=epoch / 10,
            metrics=dict.fromkeys(METRICS, epoch / 1234567),
            seconds=float(epoch),
            system_attributes={},
        )
    return claim


@pytest.mark.parametrize("width", [60, 80])
@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: "-".join(map(str, (verb[0], *verb[2:3]))))
def test_a_narrow_terminal_cuts_nothing(
    here: Hpo, verb: tuple[object, ...], width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "1000")
    whole = invoke(here, *verb)[1]
    monkeypatch.setenv("COLUMNS", str(width))
    code, narrow = invoke(here, *verb)

    assert code == 0
    assert "\N{HORIZONTAL ELLIPSIS}" not in narrow
    assert max(len(line.rstrip()) for line in narrow.splitlines()) <= width
    if verb[0] in ("status", "trials", "best"):
        assert words(whole) <= words(narrow)


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: "-".join(map(str, (verb[0], *verb[2:3]))))
def test_a_pipe_is_a_page_of_a_hundred_columns(
    here: Hpo, verb: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)

    code, piped = invoke(here, *verb)

    assert code == 0
    assert "\N{HORIZONTAL ELLIPSIS}" not in piped
    assert 60 < max(len(line.rstrip()) for line in piped.splitlines()) <= 100


def test_the_parameters_of_a_trial_stand_below_its_numbers_where_there_is_no_room(
    here: Hpo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "70")

    lines = [line.rstrip() for line in invoke(here, "trials", "synthetic")[1].splitlines()]

    at = next(number for number, line in enumerate(lines) if line.startswith("    1  complete"))
    assert lines[at].split() == ["1", "complete", "0.9612", "9", "2.5", "1", "cpu"]
    assert lines[at + 1] == "       depth=2, dropout=0.1, lr=0.001, optimizer=adam"


def test_metrics_without_room_are_named(here: Hpo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")

    text = " ".join(invoke(here, "show", "synthetic", 1)[1].split())

    assert "val_top_5_accuracy" in text
    assert "which --json prints" in text


@pytest.mark.parametrize("verb", ["trials", "best"])
@pytest.mark.parametrize("width", [30, 60])
def test_a_value_is_not_broken_into_two_lines(
    here: Hpo, verb: str, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))

    words = invoke(here, verb, "synthetic")[1].replace(",", "").replace(";", "").split()

    assert {"depth=2", "dropout=0.1", "lr=0.001", "optimizer=adam"} <= set(words)


def test_a_failed_trial_has_the_last_line_of_its_error_below_it(here: Hpo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")

    lines = invoke(here, "trials", "synthetic")[1].splitlines()

    at = next(number for number, line in enumerate(lines) if line.startswith("    2  failed"))
    assert ERROR.splitlines()[-1] in " ".join(" ".join(lines[at + 1 : at + 4]).split())


def test_the_best_trial_of_another_program_without_parameters_has_no_empty_brackets(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/hpo.db"
    Store.create(url).close()
    with optuna_storage(StoreUrl.parse(url)) as storage:
        optuna.create_study(storage=storage, study_name="bare").add_trial(optuna.create_trial(value=0.5))

    _, text = invoke(Hpo(tmp_path, url), "status", "bare")

    assert "0.5 by trial 0" in text
    assert "()" not in text


def test_a_long_name_takes_several_lines_and_the_numbers_stay_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path}/hpo.db"
    Store.create(url).close()
    with optuna_storage(StoreUrl.parse(url)) as storage:
        optuna.create_study(storage=storage, study_name="long-" * 20).add_trial(optuna.create_trial(value=0.123456))
    monkeypatch.setenv("COLUMNS", "60")

    _, text = invoke(Hpo(tmp_path, url), "ls")

    assert "0.1235" in text
    assert "long-" * 20 in "".join(line.split()[0] for line in text.splitlines() if line.strip())
    assert max(map(len, text.splitlines())) <= 60
