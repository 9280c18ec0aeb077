"""What the reading verbs print has room on a narrow terminal, and in a pipe: nothing is cut off."""

from __future__ import annotations

import re

import pytest
from projects.launch import Hpo
from projects.service import invoke
from projects.synthetic import SPACE, Claimant, create_study
from stores import hand_back, write

from hpo.queue.claim import Claim
from hpo.queue.report import report_epoch
from hpo.store import Store

ERROR = "Traceback (most recent call last):\nValueError: the width of the second layer is not the one that it should be"
VERBS = [("ls",), ("status", "synthetic"), ("trials", "synthetic"), ("best", "synthetic"), ("show", "synthetic", 1)]
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
@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb[0])
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


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb[0])
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
