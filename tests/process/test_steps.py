"""Trials whose length is given in steps: they train so many batches, and each validation is judged."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from projects.launch import PROJECT, Hpo, finish, wait_for

from hpo.results.study import Study
from hpo.store import Store

COUNTING = "projects.stepwise:Counting"


@pytest.fixture
def here(tmp_path: Path) -> Hpo:
    return Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")


def study(here: Hpo, name: str, **keys: Any) -> None:
    """A study in steps whose epochs have two batches, so that validations fall anywhere in an epoch."""
    here.study(name, **{"model": COUNTING, "epochs": None, "trainer": {"val_check_interval": 3}, **keys})


def trained(here: Hpo, name: str) -> list[list[tuple[int, float]]]:
    """Of each trial, its steps with the batches that its weights have counted by then."""
    return [[(step, metrics["trained"]) for step, metrics in trial.curve] for trial in here.trials(name)]


def test_a_trial_trains_so_many_batches_and_is_judged_after_every_so_many_and_at_its_end(here: Hpo) -> None:
    study(here, "steps", steps=10)

    code, output = here.run("run", "steps.yaml", "--trials", 2, "--verbose")

    assert code == 0, output
    assert trained(here, "steps") == [[(3, 3), (6, 6), (9, 9), (10, 10)]] * 2
    for trial in here.trials("steps"):
        assert (trial.state, trial.unit, trial.epochs, trial.max_epochs) == ("complete", "step", 10, 10)
        assert trial.config["executor"] == "lean"
        losses = {step: metrics["val_loss"] for step, metrics in trial.curve}
        assert trial.best_epoch is not None
        assert trial.value == min(losses.values()) == losses[trial.best_epoch]
        model: Any = trial.load_model(project=PROJECT)
        assert int(model.trained) == trial.best_epoch


def test_tables_say_steps(here: Hpo) -> None:
    study(here, "told", steps=4)
    assert here.run("run", "told.yaml", "--trials", 1)[0] == 0

    shown = {verb: here.run(verb, "told", *rest)[1] for verb, *rest in (("trials",), ("best",), ("show", 0))}

    assert "steps" in shown["trials"]
    assert "step" in shown["best"]
    assert "steps       4 of 4" in shown["show"]
    assert "after step" in shown["show"]
    assert "from step" in shown["show"]
    assert not any("epoch" in text for text in shown.values())


@pytest.mark.parametrize(("pruner", "ends"), [("promote", {6, 12, 20}), ("stop", {6, 12, 20})])
def test_a_rung_between_two_validations_is_reached_with_the_next_one(here: Hpo, pruner: str, ends: set[int]) -> None:
    """Rungs are at 4 and 12 steps, validations after every third step."""
    study(here, "rungs", steps=20, pruner={"name": "asha", "mode": pruner, "min_steps": 4, "eta": 3})

    code, output = here.run("run", "rungs.yaml", "--trials", 8, "--slots", 1)

    assert code == 0, output
    trials = here.trials("rungs")
    assert {trial.epochs for trial in trials} <= ends
    assert any(trial.state == "pruned" for trial in trials)
    assert any(trial.state == "complete" and trial.epochs == 20 for trial in trials)
    # A promoted trial goes on where it was, in the middle of an epoch.
    assert all(step == count for curve in trained(here, "rungs") for step, count in curve)
    if pruner == "promote":
        assert any(trial.attempts > 1 for trial in trials)


@pytest.mark.parametrize("executor", ["lean", "lightning"])
def test_a_trial_that_was_killed_resumes_in_the_middle_of_an_epoch(here: Hpo, executor: str) -> None:
    # 17 batches take more than the second after which a checkpoint is due.
    model = {"class": "projects.stepwise:Plateau", "seconds": 0.15, "dies_at": 17, "folder": str(here.folder)}
    study(here, "killed", model=model, data={"class": "projects.nets:Points", "samples": 40}, steps=24,
          executor=executor, logger="none")  # fmt: skip

    code, output = here.run("run", "killed.yaml", "--trials", 1, "--verbose")

    assert code == 0, output
    [trial] = here.trials("killed")
    assert (trial.state, trial.attempts) == ("complete", 2)
    assert [step for step, _ in trial.curve] == [3, 6, 9, 12, 15, 18, 21, 24]
    assert all(metrics["trained"] == step for step, metrics in trial.curve)
    assert "trial 0 resumes after step" in output
    with Store.open(here.url) as store:
        [first, second] = Study(store, "killed").attempts(0)
    assert first.from_epoch == 0
    assert second.from_epoch in (6, 9, 12, 15)


def test_lean_loops_and_lightnings_train_the_same(here: Hpo) -> None:
    for executor in ("lean", "lightning"):
        study(here, executor, steps=11, data="projects.stepwise:Shuffled", executor=executor, seed=3)
        assert here.run("run", f"{executor}.yaml", "--trials", 2)[0] == 0

    lean, lightning = ([trial.curve for trial in here.trials(executor)] for executor in ("lean", "lightning"))

    assert lean == lightning
    assert [step for step, _ in lean[0]] == [3, 6, 9, 11]


def test_a_trial_that_is_handed_back_goes_on_at_its_step(here: Hpo) -> None:
    study(here, "handed", model={"class": COUNTING, "seconds": 0.2}, steps=30)
    first = here.start("run", "handed.yaml", "--trials", 1)
    wait_for(lambda: any(trial.epochs for trial in here.trials("handed")))
    first.send_signal(signal.SIGTERM)
    finish(first)
    reached = here.trials("handed")[0].epochs

    code, output = here.run("run", "handed.yaml", "--trials", 1, "--verbose")

    assert code == 0, output
    assert 0 < reached < 30
    assert f"trial 0 resumes after step {reached}" in output
    assert trained(here, "handed") == [[(step, step) for step in range(3, 31, 3)]]


def test_early_stopping_counts_validations(here: Hpo) -> None:
    study(here, "early", model="projects.stepwise:Counting", objective={"metric": "trained", "direction": "minimize"},
          steps=30, early_stopping={"patience": 2})  # fmt: skip

    code, output = here.run("run", "early.yaml", "--trials", 1, "--verbose")

    assert code == 0, output
    [trial] = here.trials("early")
    assert (trial.state, trial.epochs, trial.best_epoch) == ("complete", 9, 3)
    assert "trial 0 ends at step 9: no improvement for 2 validations" in output


def test_steps_may_be_searched_and_are_a_parameter(here: Hpo) -> None:
    study(here, "ranged", steps={"low": 4, "high": 8}, space={"lr": 0.01}, first_trial="sampled")

    assert here.run("run", "ranged.yaml", "--trials", 3)[0] == 0

    for trial in here.trials("ranged"):
        assert trial.epochs == trial.max_epochs == trial.params["steps"]
        assert 4 <= trial.epochs <= 8


def test_training_data_without_an_end_is_trained_on_for_so_many_steps(here: Hpo) -> None:
    study(here, "endless", data="projects.stepwise:Endless", steps=7)

    code, output = here.run("run", "endless.yaml", "--trials", 1)

    assert code == 0, output
    assert trained(here, "endless") == [[(3, 3), (6, 6), (7, 7)]]


def test_a_schedule_is_made_for_the_optimizers_steps_and_the_limit_counts_batches(here: Hpo) -> None:
    trainer = {"val_check_interval": 3, "accumulate_grad_batches": 2}
    data = {"class": "projects.nets:Points", "samples": 24}  # three batches an epoch: the last steps alone
    study(here, "planned", model="projects.stepwise:Planned", data=data, steps=12, trainer=trainer)

    assert here.run("run", "planned.yaml", "--trials", 1)[0] == 0

    [trial] = here.trials("planned")
    assert [step for step, _ in trial.curve] == [3, 6, 9, 12]
    assert [metrics["planned"] for _, metrics in trial.curve] == [6.0] * 4
    assert [metrics["optimized"] for _, metrics in trial.curve] == [2.0, 4.0, 6.0, 8.0]


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"data": "projects.stepwise:Blind"}, "with steps, each validation is judged, and there is none"),
        ({"data": "projects.stepwise:Once"}, "the training data gave no batch after step 2 of 10"),
        ({"model": "projects.nets:Silent"}, "the model never logs 'val_loss'. After 10 validations it had logged"),
    ],
)
def test_what_cannot_train_in_steps_is_found_by_a_check(here: Hpo, keys: dict[str, Any], problem: str) -> None:
    study(here, "refused", **{"steps": 10_000 if "Silent" in str(keys) else 10, **keys})

    code, output = here.run("check", "refused.yaml")

    assert code == 2
    assert problem in output


def test_both_lengths_together_are_refused_with_their_line(here: Hpo) -> None:
    here.study("both", steps=10)

    code, output = here.run("check", "both.yaml")

    assert code == 2
    assert "steps: a trial has a length in epochs or in steps, not both" in output


def test_a_trial_of_two_devices_stops_at_the_same_step_on_both(here: Hpo) -> None:
    two = {"devices_per_trial": 2, "accelerator": "cpu"}
    study(
        here, "two", model="projects.stepwise:Alike", steps=7, resources=two, pruner={"name": "threshold", "upper": 9}
    )

    code, output = here.run("run", "two.yaml", "--trials", 1, "--slots", 1)

    assert code == 0, output
    [trial] = here.trials("two")
    assert trial.state == "complete"
    assert [(step, metrics["trained"]) for step, metrics in trial.curve] == [(3, 3), (6, 6), (7, 7)]
