"""From a shipped study's search to files that a stranger can judge and use: run, finalize, report, predict, export."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from projects.launch import PROJECT
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits

import hpo

ROOT = PROJECT.parent


def pixels(folder: Path) -> Path:
    np.savez(folder / "new.npz", x=load_digits().images[:20])
    return folder / "new.npz"


def rows(load: Callable[..., Any]) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        load(as_frame=True).data.head(20).to_csv(folder / "new.csv", index=False)
        return folder / "new.csv"

    return write


def utterances(folder: Path) -> Path:
    with np.load(ROOT / "studies/data/japanese_vowels.npz") as file:
        np.savez(folder / "new.npz", x=file["x"][:20], length=file["length"][:20])
    return folder / "new.npz"


def weeks(folder: Path) -> Path:
    return Path(shutil.copy(ROOT / "studies/data/co2_weekly.csv", folder / "new.csv"))


# The study's file; its new data and the number of predictions; its simple models
CHAINS: dict[str, tuple[Callable[[Path], Path], int, tuple[str, ...]]] = {
    "digits_cnn": (pixels, 20, ("majority class", "logistic regression", "nearest neighbour")),
    "co2_forecast_gru": (weeks, 1, ("linear autoregression", "last value", "seasonal last value")),
    "co2_forecast_linear": (weeks, 1, ("linear autoregression", "last value", "seasonal last value")),
    "breast_cancer_dnn": (
        rows(load_breast_cancer),
        20,
        ("majority class", "logistic regression", "gradient boosting"),
    ),
    "breast_cancer_tabm": (
        rows(load_breast_cancer),
        20,
        ("majority class", "logistic regression", "gradient boosting"),
    ),
    "diabetes_dnn": (rows(load_diabetes), 20, ("mean", "linear regression", "gradient boosting")),
    "japanese_vowels_lstm": (utterances, 20, ("majority class", "logistic regression", "nearest neighbour")),
    "japanese_vowels_conv1d": (utterances, 20, ("majority class", "logistic regression", "nearest neighbour")),
    "digits_autoencoder": (pixels, 20, ("mean", "principal components")),
}
SAMPLED = ("digits_cnn", "co2_forecast_gru")


class Person:
    """Works in a folder with the shipped models and studies, with the default store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for part in ("models", "studies"):
            shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))

    def hpo(self, *arguments: object) -> str:
        """The standard output of a verb, which succeeds."""
        return self.run(sys.executable, "-m", "hpo", *arguments)

    def run(self, *command: object) -> str:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HPO_")}
        done = subprocess.run(
            [*map(str, command)],
            cwd=self.folder,
            env=environment | {"COLUMNS": "200"},
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.mark.parametrize(
    "name", [name if name in SAMPLED else pytest.param(name, marks=pytest.mark.exhaustive) for name in CHAINS]
)
def test_five_commands_lead_from_a_study_to_a_model_that_is_judged_and_predicts(name: str, tmp_path: Path) -> None:
    person = Person(tmp_path)
    new_data, count, simple = CHAINS[name]
    study = name.replace("_", "-")

    person.hpo("run", f"studies/{name}.yaml", "--trials", 3, "--set", "epochs=3")
    final = json.loads(person.hpo("finalize", study, "--test", "--top", 2, "--seeds", 3, "--json"))
    person.hpo("report", study, "-o", "report.html")
    new = new_data(tmp_path)
    person.hpo("predict", study, new, "-o", "predictions.csv")
    said = person.hpo("export", study, "--out", "exported")

    compared = final["test"]["objective"]["name"]
    assert {one["name"] for one in final["test"]["baselines"]} == set(simple)
    assert len(final["reruns"][0]["scores"]) == 3
    assert final["luck"]["low"] <= final["luck"]["value"] <= final["luck"]["high"]
    score = final["test"]["metrics"][compared]
    assert score["low"] <= score["value"] <= score["high"]
    page = (tmp_path / "report.html").read_text()
    assert len(page) < 3_000_000
    assert "not yet tested" not in page
    assert all(name in page for name in simple)
    predictions = pd.read_csv(tmp_path / "predictions.csv")
    assert len(predictions) == count
    assert "largest difference from the original: " in said
    facts = json.loads((tmp_path / "exported" / "facts.json").read_text())
    assert facts["comparison"]["largest_difference"] < 1e-3 * max(1.0, predictions.select_dtypes("number").max().max())
    person.run(sys.executable, "exported/predict.py", "--check")
    person.run(sys.executable, "exported/predict.py", new.name, "-o", "elsewhere.csv")
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "elsewhere.csv"), predictions, atol=1e-3, check_dtype=False)


@pytest.fixture(scope="module")
def finalized(tmp_path_factory: pytest.TempPathFactory) -> Person:
    """A search whose final model is an ensemble, of networks that have learned little."""
    person = Person(tmp_path_factory.mktemp("ensemble"))
    person.hpo("run", "studies/quickstart.yaml", "--trials", 6, "--set", "epochs=1", "--set", "space.width=16")
    person.hpo("finalize", "quickstart", "--top", 1, "--seeds", 3, "--ensemble")
    pixels(person.folder)
    return person


def likely(file: Path) -> np.ndarray[Any, Any]:
    return np.asarray(pd.read_csv(file).filter(like="p_"))


def test_an_ensemble_predicts_the_mean_of_its_members_by_default(finalized: Person) -> None:
    person, folder = finalized, finalized.folder
    person.hpo("predict", "quickstart", "new.npz", "--proba", "-o", "default.csv")
    person.hpo("predict", "quickstart", "new.npz", "--proba", "--final", "-o", "final.csv")
    person.hpo("predict", "quickstart", "new.npz", "--proba", "--search", "-o", "search.csv")
    final = hpo.open_study("quickstart", f"sqlite:///{folder}/hpo.db", project=folder).final()
    assert final is not None
    assert final.ensemble is not None
    assert final.ensemble.pays
    members = final.kept.members
    assert len(members) > 1
    for member in members:
        options = ("--trial", member.trial, "-o", f"{member.study}-{member.trial}.csv")
        person.hpo("predict", member.study, "new.npz", "--proba", *options)

    each = [likely(folder / f"{member.study}-{member.trial}.csv") for member in members]
    mean = np.average(each, axis=0, weights=[member.weight for member in members])
    np.testing.assert_allclose(likely(folder / "default.csv"), mean, atol=1e-6)
    assert (folder / "default.csv").read_text() == (folder / "final.csv").read_text()
    assert not np.allclose(likely(folder / "search.csv"), mean, atol=1e-3)


def test_an_ensemble_is_exported_as_one_model_and_predicts_alike_in_python(finalized: Person) -> None:
    person, folder = finalized, finalized.folder
    study = hpo.open_study("quickstart", f"sqlite:///{folder}/hpo.db", project=folder)
    expected = study.predictor().predict_proba(folder / "new.npz")

    person.hpo("export", "quickstart", "--out", "exported")
    person.run(sys.executable, "exported/predict.py", "new.npz", "--proba", "-o", "elsewhere.csv")

    with (folder / "elsewhere.csv").open() as file:
        assert len(list(csv.reader(file))) == 21
    np.testing.assert_allclose(likely(folder / "elsewhere.csv"), expected.filter(like="p_"), atol=1e-5)
    final = study.final()
    assert final is not None
    text = f"the final model, trial {final.kept.trial} of {final.kept.study} and {len(final.kept.members) - 1} more"
    assert text in (folder / "exported" / "README.md").read_text()
    chosen = study.ensemble()
    assert chosen.choice.members == final.kept.members
    pd.testing.assert_frame_equal(chosen.predictor().predict_proba(folder / "new.npz"), expected)
    exported = chosen.export(out=folder / "chosen")
    assert exported.facts["comparison"]["is_small"]
