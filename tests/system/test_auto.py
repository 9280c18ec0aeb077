"""`hpo auto` from a file to a tested model that predicts, and what it refuses before anything is searched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_wine

import hpo


def run(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """`hpo ARGUMENTS` in a folder, without the environment of another one's store."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HPO_")}
    return subprocess.run(
        [sys.executable, "-m", "hpo", *map(str, arguments)],
        cwd=folder,
        env=environment | {"COLUMNS": "200", "HPO_TIMING": "poll=0.2"},
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.fixture(scope="module")
def wine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of three classes, in a folder of its own."""
    folder = tmp_path_factory.mktemp("auto")
    load_wine(as_frame=True).frame.to_csv(folder / "wine.csv", index=False)
    return folder


def test_one_command_leads_from_a_table_to_a_tested_model(wine: Path) -> None:
    done = run(wine, "auto", "wine.csv", "--target", "target", "--minutes", 0.5, "--json")

    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    folder = wine / "wine-auto"
    assert found["folder"] == str(folder)
    assert "wine.csv is a table of 178 rows and 14 columns; 'target' has 3 classes" in done.stderr
    assert "accuracy" in found["verdict"]
    assert {one["name"] for one in found["final"]["test"]["baselines"]} >= {"majority class", "gradient boosting"}
    assert len(found["final"]["kept"]["members"]) >= 2
    assert "folds: 5 " in (folder / "study.yaml").read_text()
    assert "not yet tested" not in (folder / "report.html").read_text()
    assert found["verdict"] in (folder / "README.md").read_text()


def test_its_folder_is_a_project_to_predict_in_and_to_search_again(wine: Path) -> None:
    folder = wine / "wine-auto"
    load_wine(as_frame=True).data.head(9).to_csv(wine / "new.csv", index=False)

    predicted = run(folder, "predict", "wine", wine / "new.csv", "-o", "predictions.csv")
    again = run(folder, "check", "study.yaml")

    assert predicted.returncode == 0, predicted.stderr
    assert np.mean(pd.read_csv(folder / "predictions.csv")["prediction"] == 0) > 0.7
    assert again.returncode == 0, again.stderr
    assert "table of 178 rows" in (folder / "study.yaml").read_text()


def test_a_folder_that_is_there_is_left_alone(wine: Path) -> None:
    done = run(wine, "auto", "wine.csv", "--target", "target")

    assert done.returncode == 2
    assert done.stderr == f"error: {wine}/wine-auto is there already and not empty: name a new folder with --out\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("win.csv",), "error: {0}/win.csv: there is no such file or folder, did you mean 'wine.csv'?"),
        (("wine.csv",), "error: {0}/wine.csv: which column is to predict? Name it with --target: it has alcohol"),
        (("wine.csv", "--target", "wine"), "error: {0}/wine.csv: there is no column 'wine'"),
        (("wine.csv", "--target", "target", "--minutes", "0"), "error: invalid value for '--minutes'"),
        (("wine.csv", "--target", "target", "--kind", "images"), "error: {0}/wine.csv: images are in a folder"),
        (("empty.csv", "--target", "y"), "error: {0}/empty.csv cannot be read as a table"),
        (("few.csv", "--target", "y"), "study.yaml:"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_mistake_is_told_in_words_and_leaves_no_model(
    wine: Path, arguments: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    (wine / "empty.csv").write_text("")
    (wine / "few.csv").write_text("x,y\n1,a\n2,b\n3,a\n")

    done = run(wine, "auto", *arguments, "--out", tmp_path / "out")

    assert done.returncode == 2, done.stdout
    assert message.format(wine) in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert not (tmp_path / "out" / "report.html").exists()


def test_python_takes_a_data_frame(tmp_path: Path) -> None:
    frame = load_wine(as_frame=True).frame

    found = hpo.auto(frame, target="target", minutes=0.4, out=tmp_path / "wine")

    assert found.final.test is not None
    predictor = hpo.open_study(found.study, project=tmp_path / "wine").predictor()
    assert len(predictor.predict(frame.drop(columns="target").head())) == 5
