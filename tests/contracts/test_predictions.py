"""Every data module against one fact: raw new data give the predictions of the part that they are of."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from hpo.training.arguments import given_by_data
from hpo.training.prediction.predictor import Predictor, Prepared
from hpo.training.prediction.state_file import read_state, state_of, write_state
from models.cnn import CNN
from models.data import Digits, Images, Sequences, Series, Table
from models.data.digits import load_digits
from models.data.image_parts import listed
from models.data.sources import TARGET, read_source
from models.dnn import DNN
from models.recurrent import Recurrent
from models.tabm import TabM

from .data_contract import DataFactory, class_of, points_of, several
from .test_data import DATA_MODULES

POINTS = 8
TOLERANCE = 1e-6
MODELS: dict[type[Any], type[Any]] = {Digits: DNN, Images: CNN, Table: TabM, Sequences: Recurrent, Series: Recurrent}


class Given(NamedTuple):
    """A source of raw new data, and the rows of the validation part's predictions that it should give."""

    source: Any
    rows: slice | NDArray[Any]


Writer = Callable[[Any, Path], Iterator[Given]]


def of_digits(data: Digits, folder: Path) -> Iterator[Given]:
    path = folder / "digits.npz"
    np.savez(
        path,
        x=load_digits()[0][np.isin(load_digits()[1], [int(d) for d in data.hparams["only"]])][data.rows.validation],
    )
    yield Given(path, slice(None))


def arrays_of(path: str | Path) -> dict[str, Any]:
    with np.load(path) as file:
        return dict(file)


def of_images(data: Images, folder: Path) -> Iterator[Given]:
    source = Path(data.hparams["source"])
    if source.is_file():
        np.savez(folder / "images.npz", x=arrays_of(source)["x"][data.rows.validation])
        yield Given(folder / "images.npz", slice(None))
        return
    files = listed(source).files
    for number, row in enumerate(data.rows.validation):
        shutil.copy(files[row][1].path, folder / f"{number:03}.png")
    yield Given(folder, slice(None))


def of_table(data: Table, folder: Path) -> Iterator[Given]:
    source = data.hparams["source"]
    is_file = "/" in source
    table = pd.read_csv(source, dtype=str, keep_default_na=False) if is_file else read_source(source)
    targets = [name.strip() for name in data.hparams["target"].split(",")] if is_file else [TARGET]
    table.iloc[data.rows.validation].drop(columns=targets).to_csv(folder / "new.csv", index=False)
    yield Given(folder / "new.csv", slice(None))


def of_sequences(data: Sequences, folder: Path) -> Iterator[Given]:
    arrays, rows = arrays_of(data.hparams["path"]), data.rows.validation
    np.savez(folder / "new.npz", x=arrays["x"][rows], length=arrays["length"][rows])
    yield Given(folder / "new.npz", slice(None))


def of_series(data: Series, folder: Path) -> Iterator[Given]:
    """A file for each of some windows, which ends where the window does."""
    table = pd.read_csv(data.hparams["path"])
    shown = data.shown("validation")
    windows = len(shown["series"])
    for number in sorted({0, 1, windows // 3, windows // 2, windows - 1}):
        first = pd.Timestamp(data.target_times("validation")[number])
        name = shown["names"][shown["series"][number]]
        own = table[table[data.hparams["id"]] == name] if name else table
        path = folder / f"{number}.csv"
        own[pd.to_datetime(own["time"]) < first].to_csv(path, index=False)
        yield Given(path, np.arange(number * data.horizon, (number + 1) * data.horizon))


WRITERS: dict[type[Any], Writer] = {
    Digits: of_digits,
    Images: of_images,
    Table: of_table,
    Sequences: of_sequences,
    Series: of_series,
}


def own_predictions(model: Any, data: Any) -> NDArray[Any]:
    """(rows, values) of the validation part: probabilities of the classes, or values as they stand in the file."""
    found = []
    with torch.inference_mode():
        for inputs, targets in data.val_dataloader():
            outputs = model.predict_step((inputs, targets), 0)
            if data.task == "binary":
                outputs = torch.stack([1 - outputs, outputs], -1)
            is_step = steps_of(inputs, outputs) if getattr(data, "per_step", False) else slice(None)
            found.append(outputs[is_step])
    whole = torch.cat(found)
    if isinstance(data, Series):
        whole = data.restore("validation", whole).reshape(-1, len(data.targets))
    return whole.numpy()


def steps_of(inputs: Any, outputs: Tensor) -> Tensor:
    return torch.arange(outputs.shape[1]) < several(inputs)[1][:, None]


@pytest.mark.parametrize("data_factory", DATA_MODULES.values(), ids=DATA_MODULES.keys())
def test_raw_new_data_give_the_predictions_of_the_part_that_they_are_of(
    data_factory: DataFactory, tmp_path: Path
) -> None:
    for place, point in enumerate(points_of(data_factory, POINTS)):
        data = data_factory(**point)
        data.setup("fit")
        torch.manual_seed(place)
        model_class = MODELS[class_of(data_factory)]
        model = model_class(**given_by_data(model_class, {}, data)).eval()
        folder = tmp_path / str(place)
        folder.mkdir()
        contents = state_of(data)
        assert contents is not None
        write_state(contents, tmp_path / "preprocessing.npz")
        state = read_state(tmp_path / "preprocessing.npz")
        assert state is not None
        fresh = data_factory(**point)
        fresh.read = None  # which is needed no more
        predictor = Predictor([Prepared(fresh, state, [model], [1])], remarks=[])
        own = own_predictions(model, data)

        for given in WRITERS[class_of(data_factory)](data, folder):
            if data.task == "regression":
                found = predictor.predict(given.source).filter(regex="^prediction")
                np.testing.assert_allclose(found.to_numpy(), own[given.rows], rtol=TOLERANCE, atol=TOLERANCE)
            else:
                likely = predictor.predict_proba(given.source).filter(regex="^p_").to_numpy()
                named = predictor.predict(given.source)["prediction"]
                np.testing.assert_allclose(likely, own[given.rows], rtol=0, atol=TOLERANCE)
                assert named.tolist() == [data.class_names[number] for number in own[given.rows].argmax(1)]


@pytest.mark.parametrize("name", ["Table of all kinds", "Images of two classes", "Series"])
def test_predictions_of_wrongly_converted_data_would_be_noticed(name: str, tmp_path: Path) -> None:
    """Without this, the test above might compare what does not depend on the state."""
    data = DATA_MODULES[name]()
    data.setup("fit")
    model_class = MODELS[class_of(DATA_MODULES[name])]
    torch.manual_seed(0)
    model = model_class(**given_by_data(model_class, {}, data)).eval()
    state = data.fitted_state()
    own = own_predictions(model, data)
    given = next(WRITERS[class_of(DATA_MODULES[name])](data, tmp_path))
    for changed in (state, *([state["columns"]] if "columns" in state and "fill" in state["columns"] else [])):
        for key in ("shift", "offset", "fill"):
            if key in changed:
                changed[key] = changed[key] + 0.5
        if "scaling" in changed:
            changed["scaling"]["arrays"]["shift"] = changed["scaling"]["arrays"]["shift"] + 0.5

    part = Prepared(DATA_MODULES[name](), state, [model], [1])
    found = Predictor([part], remarks=[]).predict(given.source, proba=data.task != "regression")

    numbers = found.filter(regex="^p_" if data.task != "regression" else "^prediction").to_numpy()
    assert np.abs(numbers - own[given.rows]).max() > 100 * TOLERANCE
