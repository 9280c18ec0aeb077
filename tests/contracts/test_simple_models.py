"""Simple models as networks give what scikit-learn's give, and are exported like any network."""

from __future__ import annotations

import csv
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hpo.errors import HpoError
from hpo.study.job import ExportJob, TrainedModel
from hpo.training.evaluation.baselines import fitted_models
from hpo.training.evaluation.fitted import Fitted
from hpo.training.evaluation.outputs import outputs_of
from hpo.training.export.formats import ONNX
from hpo.training.export.run import Part, write_folder
from hpo.training.export.simple_models import check_same, simple_model
from models.cnn import CNN
from models.data import Digits, Series, Table
from models.dnn import DNN
from models.linear import Linear

from .test_data import FLATS
from .test_exports import ABOUT, Family, made

WEEKS = Path(__file__).parents[2] / "studies" / "data" / "co2_weekly.csv"
KINDS = {
    "classes": Family(DNN, partial(Table, source="wine")),
    "two classes and categories": Family(DNN, partial(Table, source=FLATS, target="pets", ignore="number")),
    "values": Family(DNN, partial(Table, source="diabetes")),
    "two values": Family(DNN, partial(Table, source=FLATS, target="rent, rooms", ignore="number")),
    "images": Family(CNN, Digits),
    "series": Family(
        Linear, partial(Series, path=str(WEEKS), target="co2_ppmv", interpolation="linear", window=8, horizon=3)
    ),
}


def fitted_as(family: Family) -> tuple[Any, Fitted, Any]:
    model, data = made(family)
    fitted = Fitted(data, data, "validation", Path(), torch.device("cpu"))
    outputs, notes = outputs_of(model, fitted)
    assert outputs is not None, notes
    return data, fitted, outputs


@pytest.mark.parametrize("kind", KINDS)
def test_each_simple_model_is_a_network_that_gives_the_same(kind: str) -> None:
    data, fitted, outputs = fitted_as(KINDS[kind])
    names = [found.name for found in fitted_models(fitted, outputs)]

    assert len(names) == (1 if kind == "series" else 3)
    for found in fitted_models(fitted, outputs):
        network = simple_model(found.name, fitted, outputs)
        rows = outputs.layout.predictors(fitted.samples())[0].astype(np.float64)
        own = np.concatenate([network.predict_step(batch, 0).numpy() for batch in data.val_dataloader()])
        if outputs.task == "classes":
            expected = np.zeros(own.shape)
            expected[:, found.model.classes_.astype(int)] = found.model.predict_proba(rows)
        else:
            expected = np.reshape(found.model.predict(rows), own.shape) * data.target_scale + data.target_mean
        np.testing.assert_allclose(own, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "name"),
    [("classes", "gradient boosting"), ("two values", "gradient boosting"), ("series", "linear autoregression")],
)
def test_a_simple_model_predicts_in_its_folder_with_onnxruntime_alone(kind: str, name: str, tmp_path: Path) -> None:
    data, fitted, outputs = fitted_as(KINDS[kind])
    network = simple_model(name, fitted, outputs)
    config = {"model": {"class": "models.dnn:DNN"}, "data": {"class": "Data"}}
    checkpoint = tmp_path / "best.ckpt"
    job = ExportJob(str(tmp_path), [TrainedModel(config, str(checkpoint))], ONNX, str(tmp_path), ABOUT, name)

    done = write_folder(job, [Part(config, checkpoint, [network], [1], data, iter(data.val_dataloader()))])

    assert done["facts"]["comparison"]["is_small"]
    command = [sys.executable, str(tmp_path / "predict.py")]
    checked = subprocess.run([*command, "--check"], capture_output=True, text=True, timeout=120)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    sample = next(tmp_path.glob("sample.*"))
    found = subprocess.run([*command, str(sample)], capture_output=True, text=True, timeout=120)
    assert len(list(csv.DictReader(found.stdout.splitlines()))) > 0, found.stderr


def test_an_unknown_simple_model_is_refused_with_those_that_there_are() -> None:
    _, fitted, outputs = fitted_as(KINDS["classes"])

    with pytest.raises(HpoError, match=r"did you mean 'gradient boosting'.*majority class, logistic regression"):
        simple_model("gradient boostin", fitted, outputs)


def test_a_network_that_gives_something_else_than_the_original_is_refused() -> None:
    _, fitted, outputs = fitted_as(KINDS["values"])
    [found] = [found for found in fitted_models(fitted, outputs) if found.name == "gradient boosting"]
    network = simple_model("gradient boosting", fitted, outputs)
    rows = outputs.layout.predictors(fitted.samples())[0]
    check_same(network, found.model, rows)

    network.core.get_buffer("first").add_(1e-3)

    with pytest.raises(HpoError, match="of this release of scikit-learn cannot be written as a network"):
        check_same(network, found.model, rows)
