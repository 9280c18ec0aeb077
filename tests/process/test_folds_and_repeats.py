"""Trials that are judged by several folds of the data, or by several seeds: values, crashes, pauses and models."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import pandas as pd
import pytest
from projects.launch import PROJECT, Hpo, descendants, finish, wait_for
from sklearn.datasets import load_diabetes, load_digits

import hpo as package
from hpo.store import Store
from hpo.store.tables import trial_system_attributes, trial_user_attributes, trials
from hpo.study.states import TrialState

WEEKS = PROJECT.parent / "studies" / "data" / "co2_weekly.csv"
FEW: dict[str, Any] = {
    "model": "models.dnn:DNN",
    "data": {"class": "models.data:Table", "source": "diabetes", "split_seed": 3},
    "objective": {"metric": "val_rmse", "direction": "minimize"},
    "space": {"width": [16, 32], "depth": 1, "lr": 0.01, "optimizer": "adam", "number_embedding": "none"},
    "epochs": 6,
}


@pytest.fixture
def here(tmp_path: Path) -> Hpo:
    return Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")


def attributes(here: Hpo, study: str) -> list[dict[str, Any]]:
    """Of each trial, as the dashboard shows them."""
    found: dict[int, dict[str, Any]] = {}
    with Store.open(here.url) as store, store.read() as connection:
        columns = trials.c.number, trial_user_attributes.c.key, trial_user_attributes.c.value_json
        rows = trial_user_attributes.join(trials, trials.c.trial_id == trial_user_attributes.c.trial_id)
        for number, key, text in connection.execute(rows.select().with_only_columns(*columns)):
            found.setdefault(number, {})[key] = json.loads(text)
    return [found[number] for number in sorted(found)]


def searched(here: Hpo, name: str = "few", **keys: Any) -> None:
    code, output = here.run("run", here.study(name, **{**FEW, "budget": {"trials": 2}, **keys}), "--slots", 1)
    assert code == 0, output


@pytest.mark.parametrize("judged", [{"folds": 3}, {"repeats": 3}])
def test_a_trial_has_the_mean_of_its_trainings_and_its_standard_error(here: Hpo, judged: dict[str, Any]) -> None:
    searched(here, **judged)

    [name] = judged
    for trial, shown in zip(here.trials("few"), attributes(here, "few"), strict=True):
        results = shown[name]
        assert len(results) == 3
        assert len(set(results)) == 3
        assert trial.value == pytest.approx(fmean(results))
        assert shown["standard error"] == pytest.approx(stdev(results) / 3**0.5)
        first = min(metrics["val_rmse"] for _, metrics in trial.curve)
        assert results[0] == pytest.approx(first)
        assert [epoch for epoch, _ in trial.curve] == [1, 2, 3, 4, 5, 6]
        assert trial.config[name] == 3
        assert trial.checkpoint is not None
        folder = Path(trial.checkpoint).parent
        assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*.ckpt")) == [
            "best.ckpt", "training-2/best.ckpt", "training-3/best.ckpt"
        ]  # fmt: skip
    code, output = here.run("replay", "few", 1)
    assert code == 0, output


def test_the_trainings_of_a_search_are_the_same_each_time(tmp_path: Path) -> None:
    found = []
    for name in ("one", "other"):
        folder = tmp_path / name
        folder.mkdir()
        here = Hpo(folder, f"sqlite:///{folder}/hpo.db")
        searched(here, repeats=2)
        found.append([trial.value for trial in here.trials("few")])

    assert found[0] == found[1]


def test_after_a_kill_only_the_training_that_ran_is_trained_again(here: Hpo) -> None:
    slow = {"class": "projects.nets:Line", "seconds": 0.3}
    keys = {"model": slow, "data": "projects.nets:Points", "repeats": 3, "epochs": 5, "budget": {"trials": 1}}
    file = here.study("slow", **keys)
    process = here.start("run", file, "--slots", 1)
    wait_for(lambda: len(results_of(here, "slow")) == 1)
    for each in descendants(process):
        each.kill()
    process.kill()
    finish(process)
    before = results_of(here, "slow")
    here.expire_leases()

    code, output = here.run("run", file, "--slots", 1)

    assert code == 0, output
    after = results_of(here, "slow")
    assert after[: len(before)] == before
    assert len(after) == 3
    [trial] = here.trials("slow")
    assert trial.value == pytest.approx(fmean(after))
    assert trial.attempts == 2
    assert len(trial.curve) == 5
    assert trial.config["executor"]
    assert trial.config["model"]["lr"] == 1e-2  # a default of the class
    assert trial.config["data"]["samples"] == 16


def test_a_paused_trial_goes_on_in_the_training_that_it_was_in(here: Hpo) -> None:
    slow = {"class": "projects.nets:Line", "seconds": 0.3}
    file = here.study("slow", model=slow, data="projects.nets:Points", repeats=2, epochs=8, budget={"trials": 1})
    process = here.start("run", file, "--slots", 1)
    wait_for(lambda: len(results_of(here, "slow")) == 1)
    here.run("pause", "slow")
    wait_for(lambda: here.counts("slow").get(TrialState.IDLE, 0) or here.counts("slow").get(TrialState.COMPLETE, 0))
    here.run("resume", "slow")
    code, output = finish(process)

    assert code == 0, output
    [trial] = here.trials("slow")
    assert trial.state == TrialState.COMPLETE
    assert trial.value == pytest.approx(fmean(results_of(here, "slow")))
    assert len(results_of(here, "slow")) == 2


def results_of(here: Hpo, study: str) -> list[float]:
    """What the trainings of the study's only trial have reached, while it runs too."""
    with Store.open(here.url) as store, store.read() as connection:
        found = connection.scalars(
            trial_system_attributes.select()
            .with_only_columns(trial_system_attributes.c.value_json)
            .where(trial_system_attributes.c.key == "hpo:trainings")
        ).all()
    return [] if not found else list(json.loads(found[0]))


def test_a_trial_that_is_hopeless_after_a_fold_is_pruned(here: Hpo) -> None:
    space = {**FEW["space"], "width": 16, "dropout": 0.0, "weight_decay": 0.0, "lr": [0.01, 1e-7]}
    data = {**FEW["data"], "batch_size": 16, "scaling": "standard"}
    searched(
        here,
        pruner={"name": "median", "n_warmup_steps": 100},
        folds=3,
        space=space,
        sampler="grid",
        epochs=12,
        data=data,
    )

    states = {trial.params["lr"]: trial for trial in here.trials("few")}
    assert states[0.01].state == TrialState.COMPLETE
    assert states[1e-7].state == TrialState.PRUNED
    assert states[1e-7].cause == "hopeless after 1 of 3 folds"


def test_the_models_of_all_folds_predict_together_and_are_exported_and_finalized(here: Hpo) -> None:
    searched(here, folds=3)
    new = load_diabetes(as_frame=True).data.head(20)
    new.to_csv(here.folder / "new.csv", index=False)
    study = package.open_study("few", here.url, project=here.folder)
    [best] = study.best(1)

    together = study.predictor(final=False).predict(new)

    assert best.checkpoint is not None
    folders = [Path(best.checkpoint).parent, *sorted(Path(best.checkpoint).parent.glob("training-*"))]
    (folders[1] / "config.json").write_text((folders[0] / "config.json").read_text())
    (folders[2] / "config.json").write_text((folders[0] / "config.json").read_text())
    each = [package.load_predictor(folder).predict(new)["prediction"] for folder in folders]
    np.testing.assert_allclose(together["prediction"], np.mean(each, axis=0), rtol=1e-5)
    assert not np.allclose(each[0], each[1], rtol=1e-3)

    for arguments in (
        ("predict", "few", "new.csv", "-o", "found.csv"),
        ("export", "few", "--out", "exported"),
        ("finalize", "few", "--top", 1, "--seeds", 2, "--test"),
        ("finalize", "few", "--top", 1, "--seeds", 2, "--retrain", "train+val", "--test-again"),
    ):
        code, output = here.run(*arguments)
        assert code == 0, output
    found = pd.read_csv(here.folder / "found.csv")["prediction"]
    np.testing.assert_allclose(found, together["prediction"], rtol=1e-5)
    facts = json.loads((here.folder / "exported" / "facts.json").read_text())
    assert len(facts["others"]) == 2
    final = study.final()
    assert final is not None
    assert final.kept.trained_on == "train+validation"
    assert {len(trial.curve) for trial in here.trials("few.final")} == {6}


def test_an_archive_has_the_models_of_all_folds(here: Hpo, tmp_path: Path) -> None:
    searched(here, folds=3)
    new = load_diabetes(as_frame=True).data.head(20)
    expected = package.open_study("few", here.url, project=here.folder).predictor().predict(new)
    code, output = here.run("export", "few", "--format", "archive", "--out", "few.hpo-archive.zip")
    assert code == 0, output
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    other = Hpo(folder, f"sqlite:///{folder}/hpo.db")

    code, output = other.run("import", here.folder / "few.hpo-archive.zip")

    assert code == 0, output
    found = package.open_study("few", other.url, project=folder).predictor().predict(new)
    pd.testing.assert_frame_equal(found, expected)
    assert len(list((folder / "art").rglob("training-*/best.ckpt"))) == 4


def test_images_sequences_and_series_have_folds_too(here: Hpo) -> None:
    pixels = load_digits().images[:120]
    np.savez(here.folder / "digits.npz", x=pixels, y=load_digits().target[:120] % 2)
    for name, data in {
        "images": {"class": "models.data:Images", "source": str(here.folder / "digits.npz")},
        "series": {
            "class": "models.data:Series",
            "path": str(WEEKS),
            "target": "co2_ppmv",
            "window": 8,
            "interpolation": "linear",
        },
    }.items():
        model = "models.cnn:CNN" if name == "images" else "models.linear:Linear"
        code, output = here.run(
            "run",
            here.study(name, model=model, data=data, space={}, folds=2, epochs=1, budget={"trials": 1}),
            "--slots",
            1,
        )
        assert code == 0, output
        [trial] = here.trials(name)
        assert trial.state == TrialState.COMPLETE


def test_check_proposes_folds_where_the_validation_part_is_small(here: Hpo) -> None:
    alone, judged = (here.study(name, **{**FEW, **keys}) for name, keys in (("alone", {}), ("judged", {"folds": 4})))

    code, output = here.run("check", alone)
    assert code == 0, output
    assert "88 samples for validation can hardly tell trials apart: one of them is 1.1 % of an accuracy" in output
    code, output = here.run("check", judged)
    assert code == 0, output
    assert "tell trials apart" not in output


def test_a_search_ends_when_every_point_of_its_small_space_was_tried(here: Hpo) -> None:
    keys: dict[str, Any] = {"model": "projects.nets:Line", "data": "projects.nets:Points", "objective": "val_loss"}
    few = here.study("small", **keys, space={"lr": [0.01, 0.02, 0.05]}, epochs=2, budget={"trials": 8})

    code, output = here.run("check", few)

    assert code == 0, output
    words = " ".join(output.split())
    assert "the space has 3 points, and 8 trials are asked for: the search ends when each was tried once" in words

    code, output = here.run("run", few, "--slots", "2")
    assert code == 0, output
    assert "all 3 points of its search space were tried" in output
    code, output = here.run("trials", "small", "--json")
    assert sorted(trial["params"]["lr"] for trial in json.loads(output)) == [0.01, 0.02, 0.05]
    code, output = here.run("status", "small")
    assert "3 of 3" in output
    assert "all 3 points of its search space were tried" in output


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"folds": 1}, ["folds: should be greater than or equal to 2 (it is 1)"]),
        ({"folds": 3, "repeats": 3}, ["repeats: a trial is judged by folds or by repeats, not by both"]),
        ({"folds": 3, "resources": {"accelerator": "cpu", "devices_per_trial": 2}}, ["is for trials on one device"]),
        ({"folds": 3, "data": "projects.nets:Points"}, ["Points cannot divide its samples into folds"]),
        ({"folds": 100, "data": {"class": "models.data:Table", "source": "TINY", "target": "y"}}, ["folds: 100"]),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_trained(
    here: Hpo, keys: dict[str, Any], words: Sequence[str]
) -> None:
    pd.DataFrame({"x": range(20), "y": ["a", "b"] * 10}).to_csv(here.folder / "tiny.csv", index=False)
    if "TINY" in str(keys):
        keys["data"] = {**keys["data"], "source": str(here.folder / "tiny.csv")}
    code, output = here.run("run", here.study("few", **{**FEW, "objective": "val_loss", **keys}), "--slots", 1)

    assert code == 2, output
    for word in words:
        assert word in output
    assert "Traceback" not in output
