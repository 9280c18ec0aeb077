"""A search always ends with the best that it has found, however it ends."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from projects.launch import PROJECT, Hpo, finish, wait_for

import hpo
from hpo.errors import HpoError

# No trial of these can complete: what a rung pauses is continued only while the study takes trials.
LONG = {
    "model": {"class": "projects.nets:Valley", "seconds": 0.05},
    "epochs": 200,
    "pruner": {"name": "asha", "min_epochs": 5, "eta": 4},
    "resources": {"accelerator": "cpu", "slots": 2},
}


@pytest.fixture
def here(tmp_path: Path) -> Hpo:
    return Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")


def answers(here: Hpo, study: str) -> list[Any]:
    """The best value according to `best`, `status` and Python."""
    best = json.loads(here.run("best", study, "--json")[1])
    status = json.loads(here.run("status", study, "--json")[1])
    return [best[0]["value"], status["best"]["value"], hpo.open_study(study, store=here.url).best(1)[0].value]


def epochs_of_weights(here: Hpo, study: str) -> float:
    """After how many epochs the weights of the best trial were taken."""
    model: Any = hpo.open_study(study, store=here.url).best(1)[0].load_model(project=PROJECT)
    return float(model.trained)


def test_a_study_that_ends_by_its_hours_has_the_best_epoch_of_an_incomplete_trial(here: Hpo) -> None:
    here.study("short", budget={"trials": 1000, "hours": 0.0005}, **LONG)

    code, output = here.run("run", "short.yaml")

    assert code == 0, output
    assert "complete" not in here.counts("short")
    assert answers(here, "short") == [0, 0, 0]
    assert epochs_of_weights(here, "short") == 3
    assert "best val_loss:" in output
    assert "pruned after" in output
    kept = [trial.checkpoint for trial in here.trials("short") if trial.checkpoint]
    assert 0 < len(kept) <= 5
    assert sorted(map(str, here.folder.glob("art/*/*/*.ckpt"))) == sorted(kept)


def test_a_study_that_is_stopped_has_the_best_epoch_of_an_incomplete_trial(here: Hpo) -> None:
    here.study("stopped", budget={"trials": 2}, **LONG | {"pruner": "none"})
    running = here.start("run", "stopped.yaml")
    wait_for(lambda: [trial.epochs for trial in here.trials("stopped")] and here.trials("stopped")[0].epochs > 4)
    with pytest.raises(HpoError, match="trial 0 is running: its weights can be loaded when it has ended"):
        hpo.open_study("stopped", store=here.url).trials()[0].load_model(project=PROJECT)

    here.run("stop", "stopped")
    _, output = finish(running)

    assert here.counts("stopped") == {"pruned": 2}, output
    assert answers(here, "stopped") == [0, 0, 0]
    assert epochs_of_weights(here, "stopped") == 3


def test_a_study_that_is_interrupted_has_a_model_before_it_is_continued(here: Hpo) -> None:
    here.study("interrupted", budget={"trials": 1}, **LONG | {"pruner": "none", "epochs": 40})
    running = here.start("run", "interrupted.yaml")
    wait_for(lambda: here.trials("interrupted") and here.trials("interrupted")[0].epochs > 4)

    running.send_signal(signal.SIGINT)
    code, output = finish(running)

    assert code == 130, output
    assert "idle after" in output
    assert here.counts("interrupted") == {"idle": 1}
    assert answers(here, "interrupted") == [0, 0, 0]
    assert epochs_of_weights(here, "interrupted") == 3
    code, output = here.run("run", "interrupted.yaml")
    assert code == 0, output
    assert here.counts("interrupted") == {"complete": 1}
    assert epochs_of_weights(here, "interrupted") == 3


def test_a_trial_that_diverges_after_good_epochs_ends_with_the_best_of_them(here: Hpo) -> None:
    here.study("lost", model={"class": "projects.nets:Sometimes", "does": "nan"}, space={"lr": [0.05, 0.1]}, epochs=3)
    here.study(
        "failing",
        model={"class": "projects.nets:Sometimes", "does": "nan"},
        space={"lr": [0.05, 0.1]},
        epochs=3,
        diverged="fail",
    )

    code, output = here.run("run", "lost.yaml", "--trials", 2)
    failing, shown = here.run("run", "failing.yaml", "--trials", 2)

    assert code == 0, output
    for trial in here.trials("lost"):
        assert (trial.state, trial.cause, trial.best_epoch) == ("complete", "diverged at epoch 2", 1)
        assert trial.value == trial.curve[0][1]["val_loss"]
        assert trial.load_model(project=PROJECT) is not None
    assert "diverged at epoch 2" in output
    assert failing == 1
    assert here.counts("failing") == {"failed": 2}
    assert "error: study failing has no model: all of its 2 trials failed; 'hpo trials failing' shows why" in shown


@pytest.mark.parametrize("model", ["projects.nets:Lost", {"class": "projects.nets:Sometimes", "does": "killed"}])
def test_a_run_without_a_model_ends_with_exit_code_1(here: Hpo, model: Any) -> None:
    here.study("failed", model=model, space={"lr": [0.05, 0.1]}, retries={"crash": 0})

    code, output = here.run("run", "failed.yaml", "--trials", 2)

    assert code == 1, output
    assert here.counts("failed") == {"failed": 2}
    assert "study failed has no model: all of its 2 trials failed" in output
