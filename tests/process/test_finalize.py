"""`hpo finalize` from a search to a tested model, also when it is killed in the middle, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median_high
from typing import Any

import pytest
from projects.launch import Hpo, finish, wait_for

from hpo.results.study import Study
from hpo.store import Store
from hpo.study.states import TrialState

KEYS: dict[str, Any] = {
    "model": "models.dnn:DNN",
    "data": "models.data:Digits",
    "objective": {"metric": "val_accuracy", "direction": "maximize"},
    "space": {"width": [16, 32, 64], "depth": 1, "lr": 0.01, "optimizer": "adam", "dropout": 0.2},
    "epochs": 4,
    "budget": {"trials": 4},
}


@pytest.fixture
def hpo(tmp_path: Path) -> Hpo:
    return Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")


def searched(hpo: Hpo, **keys: Any) -> Hpo:
    code, output = hpo.run("run", hpo.study("digits", **{**KEYS, **keys}))
    assert code == 0, output
    return hpo


def finalized(hpo: Hpo, *options: object) -> dict[str, Any]:
    code, output = hpo.run("finalize", "digits", "--top", 2, "--seeds", 3, "--json", *options)
    assert code == 0, output
    found: dict[str, Any] = json.loads(output[output.index("\n{") :])
    return found


def test_a_finalize_that_is_killed_goes_on_and_ends_with_the_same_numbers(tmp_path: Path) -> None:
    whole, killed = (Hpo(tmp_path / name, f"sqlite:///{tmp_path / name}/hpo.db") for name in ("whole", "killed"))
    for one in (whole, killed):
        one.folder.mkdir()
        searched(one)
    expected = finalized(whole, "--test", "--retrain", "train+val")

    process = killed.start("finalize", "digits", "--top", 2, "--seeds", 3)
    wait_for(lambda: killed.counts("digits.final").get(TrialState.COMPLETE, 0) >= 2)
    process.kill()
    finish(process)
    killed.expire_leases()
    found = finalized(killed, "--test", "--retrain", "train+val")

    assert found == expected
    assert len(killed.trials("digits.final")) == 6
    assert [trial.state for trial in killed.trials("digits.retrained")] == [TrialState.COMPLETE]


def test_the_winner_is_tested_once_and_the_same_again_is_the_same_look(tmp_path: Path, store_url: str) -> None:
    hpo = searched(Hpo(tmp_path, store_url))

    first = finalized(hpo, "--test")
    assert first["looks"] == 0
    assert first["test"]["samples"] == 269
    assert finalized(hpo, "--test") == first

    more = hpo.run("finalize", "digits", "--top", 1, "--seeds", 3, "--retrain", "train+val", "--test")
    assert more[0] == 2
    assert "was looked at on" in more[1]
    assert "--test-again looks once more" in more[1]
    again = finalized(hpo, "--retrain", "train+val", "--test-again")
    assert again["looks"] == 1
    code, output = hpo.run("finalize", "digits", "--top", 2, "--seeds", 3, "--retrain", "train+val", "--test")
    assert code == 0
    assert "This is look 2 at this test part" in output


def test_final_models_on_both_parts_are_trained_to_the_median_of_the_best_epochs(hpo: Hpo) -> None:
    searched(hpo)

    found = finalized(hpo, "--retrain", "train+val", "--ensemble", "--test")

    members = [{"study": "digits.retrained", "trial": number, "weight": 1} for number in range(3)]
    assert found["kept"] == {
        "study": "digits.retrained", "trial": 0, "trained_on": "train+validation", "members": members
    }  # fmt: skip
    searches, reruns = hpo.trials("digits"), hpo.trials("digits.final")
    assert {member["study"] for member in found["ensemble"]["resampled"]} <= {"digits", "digits.final"}
    for trial in hpo.trials("digits.retrained"):
        known = [one for one in reruns if one.params == trial.params and one.state == TrialState.COMPLETE]
        known = known or [one for one in searches if one.params == trial.params]
        middle = median_high(one.best_epoch or 0 for one in known)
        assert (trial.epochs, trial.best_epoch) == (middle, middle)
    accuracy = found["test"]["metrics"]["accuracy"]
    assert accuracy["low"] <= accuracy["value"] <= accuracy["high"]
    assert {one["name"] for one in found["test"]["baselines"]} == {
        "majority class", "logistic regression", "nearest neighbour"
    }  # fmt: skip
    assert sum(map(sum, found["test"]["confusion"])) == 269


def test_workers_elsewhere_train_its_seeds_too(hpo: Hpo) -> None:
    slow = {"class": "projects.nets:Line", "seconds": 0.3}  # an epoch
    hpo.run("run", hpo.study("slow", model=slow, budget={"trials": 2}))
    other = hpo.start("worker", "--slots", 1)
    process = hpo.start("finalize", "slow", "--top", 2, "--seeds", 20, "--slots", 1)
    wait_for(lambda: len({trial.worker for trial in hpo.trials("slow.final")} - {None}) == 2)
    for ended in (other, process):
        ended.terminate()

    assert finish(other)[0] == 75  # trials are left
    code, output = finish(process)
    assert code == 130
    assert "stopped early; the same command goes on: hpo finalize slow" in output


def test_what_it_needs_of_the_search_is_told_in_words(hpo: Hpo) -> None:
    hpo.run("submit", hpo.study("empty", **KEYS))
    code, output = hpo.run("finalize", "empty")
    assert code == 2
    assert "study 'empty' has no complete trial yet" in output

    searched(hpo)
    assert "retrain: 'train' should be train+val" in hpo.run("finalize", "digits", "--retrain", "train")[1]
    finalized(hpo)
    assert "finalize that search" in hpo.run("finalize", "digits.final")[1]


def test_data_without_a_test_part_or_that_cannot_learn_from_both_is_refused_before_anything_is_trained(
    hpo: Hpo,
) -> None:
    hpo.run("run", hpo.study("line", budget={"trials": 2}))

    code, output = hpo.run("finalize", "line", "--test")
    assert code == 2
    assert "study 'line' cannot be tested: Points has no test part: it has no method test_dataloader()" in output
    with Store.open(hpo.url) as store:
        assert Study(store, "line").status().counts[TrialState.COMPLETE] == 2
        assert "line.final" not in store_names(store)
    code, output = hpo.run("finalize", "line", "--seeds", 2, "--retrain", "train+val")
    assert code == 2
    assert "it has no method learn_from_validation()" in output
    code, output = hpo.run("finalize", "line", "--seeds", 2)
    assert code == 0, output


def test_data_that_was_changed_since_the_search_is_refused_by_its_name(hpo: Hpo) -> None:
    table = hpo.folder / "table.csv"
    lines = ["x,y"] + [f"{number % 17},{number % 2}" for number in range(200)]
    table.write_text("\n".join(lines))
    data = {"class": "models.data:Table", "source": str(table), "target": "y", "task": "binary"}
    searched(hpo, data=data, space={"width": [8, 16], "depth": 1, "lr": 0.01})
    table.write_text("\n".join(lines[:-3]))

    code, output = hpo.run("finalize", "digits")

    assert code == 2
    assert f"data {table}: other contents" in output


def store_names(store: Store) -> list[str]:
    from hpo.results.status import list_studies

    return [study.study for study in list_studies(store)]


def test_a_search_whose_trials_all_ran_out_of_time_ends_with_a_model_too(hpo: Hpo) -> None:
    searched(hpo, epochs=100_000, early_stopping=None, budget={"trials": 2, "trial_minutes": 0.05})
    assert hpo.counts("digits") == {TrialState.PRUNED: 2}

    found = finalized(hpo, "--test")

    assert found["winner"] in (0, 1)
    assert found["test"]["metrics"]["accuracy"]["value"] > 0.5
    assert {trial.state for trial in hpo.trials("digits.final")} == {TrialState.COMPLETE}
