"""What `hpo check` foresees: the time and disk of a study, and options of the Trainer that would fail each trial."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from projects.launch import Hpo


@pytest.fixture
def here(tmp_path: Path) -> Hpo:
    return Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")


def estimate(here: Hpo, name: str) -> dict[str, Any]:
    code, output = here.run("check", f"{name}.yaml", "--json")
    assert code == 0, output
    found: dict[str, Any] = json.loads(output[output.index("{") :])["estimate"]
    return found


def test_a_trial_whose_batches_take_long_is_estimated_by_all_its_batches(here: Hpo) -> None:
    """A batch takes a fifth of a second, and an epoch has 100: check trains some of them."""
    data = {"class": "projects.nets:Points", "samples": 800}
    here.study("slow", model="projects.nets:Slow", data=data, epochs=3, budget={"trials": 4})

    found = estimate(here, "slow")

    assert found["batch_seconds"]["usual"] >= 0.2
    assert found["trial_seconds"]["usual"] >= 300 * 0.2
    rounds = -(-4 // found["slots"])
    assert found["seconds"]["usual"] == pytest.approx(rounds * found["trial_seconds"]["usual"])


def test_the_checkpoints_have_the_size_of_those_that_a_trial_writes(here: Hpo) -> None:
    here.study("sized", keep={"checkpoints": 3})
    found = estimate(here, "sized")

    assert here.run("run", "sized.yaml", "--trials", 1)[0] == 0

    [trial] = here.trials("sized")
    written = Path(trial.checkpoint or "").stat().st_size
    assert found["weights_bytes"]["usual"] == pytest.approx(written, rel=0.2)
    assert found["kept_bytes"]["usual"] == 3 * found["weights_bytes"]["usual"]
    assert found["state_bytes"]["usual"] > found["weights_bytes"]["usual"]


def test_searched_sizes_of_batches_and_layers_give_a_range(here: Hpo) -> None:
    here.study(
        "ranged",
        model="models.dnn:DNN",
        data={"class": "models.data:Digits"},
        objective={"metric": "val_loss", "direction": "minimize"},
        space={"width": {"low": 8, "high": 64}, "batch_size": {"low": 16, "high": 256}},
    )

    code, output = here.run("check", "ranged.yaml", "--project", Path(__file__).parents[2])

    assert code == 0, output
    [line] = [line for line in output.splitlines() if line.startswith("  time ")]
    assert " to " in line
    assert "width" in line
    assert "batch_size" in line


def test_data_without_a_length_is_named_and_steps_are_estimated(here: Hpo) -> None:
    endless = {"model": "projects.stepwise:Counting", "data": "projects.stepwise:Endless"}
    here.study("endless", **endless)
    here.study("stepwise", **endless, epochs=None, steps=1000)

    shown = {name: here.run("check", f"{name}.yaml")[1] for name in ("endless", "stepwise")}

    assert "  time        not known, because the loader of the training data has no length; about" in shown["endless"]
    assert "a trial has at most 1,000 steps" in shown["stepwise"]
    assert "without pruning" in shown["stepwise"]


def test_a_model_that_is_too_large_at_the_end_of_its_range_is_a_warning(here: Hpo) -> None:
    model = {"class": "projects.stepwise:Layered"}
    here.study("large", model=model, space={"width": {"low": 1, "high": 8}})

    code, output = here.run("check", "large.yaml")

    assert code == 0, output
    assert "one batch with width=8 failed: ValueError: eight are too many" in output


def test_more_batches_between_validations_than_an_epoch_has_are_refused_with_advice(here: Hpo) -> None:
    here.study("rare", trainer={"val_check_interval": 5})
    here.study("across", epochs=5, trainer={"val_check_interval": 5, "check_val_every_n_epoch": None})

    refused = {verb: here.run(verb, "rare.yaml") for verb in ("check", "run")}
    code, output = here.run("run", "across.yaml", "--trials", 1)

    for refusal, text in refused.values():
        assert refusal == 2
        assert "rare.yaml:" in text
        assert "trainer.val_check_interval: one batch failed: 5 is more than the 2 batches of an epoch." in text
        assert "trainer: {val_check_interval: 5, check_val_every_n_epoch: null}" in text
    assert code == 0, output


def test_a_few_batches_without_a_length_are_validated(here: Hpo) -> None:
    here.study("short", data="projects.stepwise:Short")

    code, output = here.run("check", "short.yaml")

    assert code == 0, output
    assert "not known, because the loader of the training data has no length" in output
