"""An objective that is not logged in each epoch is judged when it comes."""

from __future__ import annotations

from pathlib import Path

import pytest
from projects.launch import Hpo

MODEL = {"model": "projects.nets:EverySecond"}


@pytest.fixture
def here(tmp_path: Path) -> Hpo:
    return Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")


def test_a_metric_of_every_second_epoch_is_the_objective(here: Hpo) -> None:
    here.study("sparse", epochs=5, **MODEL)

    code, output = here.run("run", "sparse.yaml", "--trials", 2)

    assert code == 0, output
    for trial in here.trials("sparse"):
        assert [epoch for epoch, _ in trial.curve] == [1, 2, 3, 4, 5]
        assert [epoch for epoch, metrics in trial.curve if "val_loss" in metrics] == [2, 4]
        assert trial.value == min(metrics["val_loss"] for _, metrics in trial.curve if "val_loss" in metrics)
        assert trial.best_epoch in (2, 4)
        assert trial.checkpoint is not None


def test_rungs_judge_a_trial_at_its_next_value(here: Hpo) -> None:
    here.study("halved", epochs=9, pruner={"name": "asha", "min_epochs": 1, "eta": 3}, **MODEL)

    code, output = here.run("run", "halved.yaml", "--trials", 6, "--slots", 1)

    assert code == 0, output
    counts = here.counts("halved")
    assert counts["complete"] + counts["pruned"] == 6
    assert counts["pruned"] >= 2
    assert {trial.epochs for trial in here.trials("halved") if trial.state == "pruned"} <= {2, 4}


def test_a_run_that_is_too_short_for_the_objective_is_refused_before_a_trial(here: Hpo) -> None:
    here.study("brief", epochs=1, **MODEL)

    code, output = here.run("run", "brief.yaml", "--trials", 1)

    assert code == 2
    assert "objective: the model never logs 'val_loss'. After one epoch it had logged val_error" in output
