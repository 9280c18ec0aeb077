"""Exports against two facts: they give what the original gives, and predict.py gives what `hpo predict` gives."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from drawn import drawn_npz
from recorded import measured_csv, recorded_npz
from torch import Tensor

from hpo.study.job import ExportJob, TrainedModel
from hpo.training.arguments import given_by_data
from hpo.training.build import is_plain
from hpo.training.export.comparison import LARGEST_USUAL
from hpo.training.export.formats import ONNX, TORCH_EXPORT, write_network
from hpo.training.export.network import Network, inputs_of
from hpo.training.export.run import Part, write_folder
from hpo.training.prediction.predictor import Predictor, Prepared
from models.autoencoder import Autoencoder
from models.classic import AlexNet, LeNet5, ZFNet
from models.cnn import CNN
from models.conv1d import Conv1d
from models.data import Digits, Images, Sequences, Series, Table
from models.dnn import DNN
from models.linear import Linear
from models.random_convolutions import RandomConvolutions
from models.recurrent import Recurrent
from models.tabm import TabM
from models.transfer import Transfer

from .data_contract import DataFactory, class_of
from .test_data import DATA_MODULES, FLATS
from .test_predictions import MODELS, WRITERS

ABOUT = {
    **{"study": "flats", "trial": 3, "model": "trial 3", "trials": 5, "metric": "val_loss", "direction": "minimize"},
    **{"value": 0.5, "unit": "epoch", "best_epoch": 2, "remark": "", "final": None, "precision": "32-true"},
}


class Family(NamedTuple):
    """A model with some of its arguments, and data that it learns from."""

    model_class: type[Any]
    data: DataFactory
    arguments: Mapping[str, Any] = MappingProxyType({})


WAVES, STEPS = (
    partial(Sequences, path=recorded_npz("class")),
    partial(Sequences, path=recorded_npz("step class"), labels="step"),
)
AHEAD = partial(Series, path=measured_csv(), target="load, wind", horizon=2, interpolation="linear")
LEVELS = partial(AHEAD, differencing="none", calendar="auto")
BACKBONE = {"backbone": "models.recurrent:Recurrent", "backbone_arguments": {"input_shape": [8, 3], "outputs": 4}}
FAMILIES = {
    "DNN": Family(DNN, Digits, {"batch_norm": True, "residual": True}),
    "DNN with categories": Family(DNN, partial(Table, source=FLATS, target="pets", ignore="number")),
    "DNN of values": Family(DNN, partial(Table, source="diabetes")),
    "DNN with waves of pixels": Family(DNN, Digits, {"number_embedding": "periodic"}),
    "DNN with quantiles": Family(DNN, partial(Table, source="diabetes"), {"number_embedding": "piecewise"}),
    "TabM": Family(TabM, partial(Table, source="wine"), {"number_embedding": "none"}),
    "TabM with categories and quantiles": Family(TabM, partial(Table, source=FLATS, target="pets", ignore="number")),
    "TabM of values": Family(TabM, partial(Table, source="diabetes"), {"number_embedding": "periodic"}),
    "CNN": Family(CNN, Digits),
    "CNN of coloured images": Family(CNN, partial(Images, source=drawn_npz()), {"pooling": "average"}),
    "CNN of residual blocks": Family(CNN, Digits, {"residual": True, "global_pooling": True}),
    "LeNet5": Family(LeNet5, Digits),
    "LeNet5 of resampled images": Family(LeNet5, Digits, {"connections": "full"}),
    "AlexNet": Family(AlexNet, Digits, {"width": 1 / 16}),
    "ZFNet": Family(ZFNet, partial(Images, source=drawn_npz()), {"width": 1 / 16}),
    "Autoencoder": Family(Autoencoder, Digits),
    "convolutional Autoencoder": Family(Autoencoder, Digits, {"kind": "convolutional"}),
    "LSTM in both directions with attention": Family(
        Recurrent, WAVES, {"bidirectional": True, "layers": 2, "readout": "attention"}
    ),
    "LSTM of steps": Family(Recurrent, STEPS),
    "GRU in both directions of steps": Family(Recurrent, STEPS, {"cell": "gru", "bidirectional": True}),
    "RNN": Family(Recurrent, WAVES, {"cell": "rnn", "nonlinearity": "relu", "readout": "mean", "layers": 2}),
    "GRU of a series": Family(Recurrent, AHEAD, {"cell": "gru"}),
    "RNN with a decoder": Family(Recurrent, AHEAD, {"cell": "rnn", "decoder": "recurrent"}),
    "LSTM after a convolution": Family(Recurrent, WAVES, {"convolution": 4, "kernel": 3, "stride": 2}),
    "GRU of windows in their own scale": Family(Recurrent, LEVELS, {"cell": "gru", "window_scaling": "standard"}),
    "Conv1d": Family(Conv1d, WAVES, {"readout": "both", "stride": 2}),
    "Conv1d of steps": Family(Conv1d, STEPS),
    "RandomConvolutions": Family(RandomConvolutions, WAVES, {"kernels": 300}),
    "RandomConvolutions of steps": Family(RandomConvolutions, STEPS),
    "Conv1d of a series": Family(Conv1d, LEVELS, {"readout": "last", "window_scaling": "last"}),
    "Linear": Family(Linear, LEVELS, {"hidden": 16, "window_scaling": "standard"}),
    "Transfer": Family(Transfer, WAVES, BACKBONE),
}


def made(family: Family) -> tuple[Any, Any]:
    """The model with initial weights, and its data module, set up."""
    data = family.data()
    data.setup("fit")
    torch.manual_seed(0)
    given = given_by_data(family.model_class, dict(family.arguments), data)
    return family.model_class(**given, **family.arguments).eval(), data


def of_another_shape(inputs: tuple[Tensor, ...], *, takes_any_time: bool) -> tuple[Tensor, ...]:
    """Seven samples, and of sequences longer ones by a half."""
    x = inputs[0][torch.arange(7) % len(inputs[0])]
    if not takes_any_time:
        return (x, *(other[torch.arange(7) % len(other)] for other in inputs[1:]))
    time = x.shape[1] + x.shape[1] // 2
    longer = torch.cat([x, x.flip(1)], dim=1)[:, :time]
    return (longer, torch.arange(time, time - 7, -1)) if len(inputs) == 2 else (longer,)


ALSO_FOR_TORCH = (
    "DNN with categories",
    "TabM with categories and quantiles",
    "CNN",
    "LSTM in both directions with attention",
    "RNN",
    "Conv1d",
    "Linear",
    "Transfer",
)
SAMPLED_FAMILIES = {
    *("DNN with categories", "TabM with categories and quantiles", "CNN", "convolutional Autoencoder"),
    *("LSTM in both directions with attention", "GRU in both directions of steps", "RNN with a decoder", "Transfer"),
    *("Conv1d", "Linear"),
}
SAMPLED_DATA = {
    *("Digits of two classes", "Images of two classes", "Table of all kinds and two values"),
    *("Sequences with a class a step", "Series of several steps with gaps"),
}


def sampled(cases: Iterable[tuple[str, ...]], sample: set[str]) -> list[Any]:
    """Cases whose first value is outside of the sample are exhaustive."""
    return [pytest.param(*case, marks=() if case[0] in sample else pytest.mark.exhaustive) for case in cases]


@pytest.mark.parametrize(
    ("name", "format"),
    [
        *sampled(((name, ONNX) for name in FAMILIES), SAMPLED_FAMILIES),
        *sampled(((name, TORCH_EXPORT) for name in ALSO_FOR_TORCH), {"CNN", "RNN"}),
    ],
)
def test_an_export_gives_what_the_original_gives_for_batches_of_any_shape(
    name: str, format: str, tmp_path: Path
) -> None:
    model, data = made(FAMILIES[name])
    first, *_ = data.val_dataloader()
    inputs = inputs_of(first)
    with torch.no_grad():
        network = Network(model, first).eval()
        example = tuple(x[:5] for x in inputs.tensors)
        exported, shapes = write_network(format, network, example, inputs.names, tmp_path / "model", {})
        takes_any_time = inputs.tensors[0].ndim == 3 and FAMILIES[name].model_class is not Linear
        others = of_another_shape(inputs.tensors, takes_any_time=takes_any_time)
        for given in (inputs.tensors, others, tuple(x[:1] for x in inputs.tensors)):
            expected = network(*given)
            for one, other in zip(expected, exported(given), strict=True):
                torch.testing.assert_close(other, one, rtol=LARGEST_USUAL, atol=LARGEST_USUAL)

    assert all(shape[0] == "batch" for shape in shapes)
    assert (shapes[0][1] == "time") == takes_any_time


def test_an_ensemble_is_exported_as_one_network(tmp_path: Path) -> None:
    model, data = made(FAMILIES["DNN"])
    twin, _ = made(FAMILIES["DNN"])
    torch.nn.init.normal_(twin.head.weight)
    first, *_ = data.val_dataloader()
    x, *_ = inputs_of(first).tensors
    with torch.no_grad():
        network = Network(model, first, [twin.eval()]).eval()
        exported, _ = write_network(ONNX, network, (x[:5],), ["x"], tmp_path / "model", {})
        expected = (model.predict_step(x, 0) + twin.predict_step(x, 0)) / 2

    torch.testing.assert_close(exported((x,))[0], expected, rtol=LARGEST_USUAL, atol=LARGEST_USUAL)


def bare_interpreter(folder: Path, *packages: str) -> dict[str, str]:
    """An environment in which `python -S` imports these packages and the standard library only."""
    folder.mkdir()
    for package in packages:
        spec = find_spec(package)
        assert spec is not None
        place = Path(str(spec.origin)).parent
        (folder / package).symlink_to(place)
        libraries = place.with_name(f"{'pillow' if package == 'PIL' else package}.libs")
        if libraries.exists():
            (folder / libraries.name).symlink_to(libraries)
    return {"PYTHONPATH": str(folder), "PATH": os.environ["PATH"]}


def exported_as(
    config: dict[str, Any], project: Path, folder: Path, *several: tuple[Any, Any]
) -> tuple[ExportJob, list[Part]]:
    """The job of models with their data, each of which weighs one more than the one before it."""
    checkpoint = project / "best.ckpt"
    trained = [TrainedModel(config, str(checkpoint), weight) for weight in range(1, len(several) + 1)]
    parts = [
        Part(config, checkpoint, [model], [weight], data, iter(data.val_dataloader()))
        for weight, (model, data) in enumerate(several, start=1)
    ]
    return ExportJob(str(project), trained, ONNX, str(folder), ABOUT), parts


@pytest.mark.parametrize("name", sampled(((name,) for name in DATA_MODULES), SAMPLED_DATA))
def test_predict_py_gives_what_hpo_predict_gives_with_numpy_and_onnxruntime_alone(name: str, tmp_path: Path) -> None:
    factory = DATA_MODULES[name]
    model, data = made(Family(MODELS[class_of(factory)], factory))
    needs_pillow = name == "Images of two classes"  # a folder of files
    environment = bare_interpreter(tmp_path / "bare", "numpy", "onnxruntime", *(["PIL"] if needs_pillow else []))
    folder, raw = tmp_path / "export", tmp_path / "raw"
    folder.mkdir()
    raw.mkdir()
    config = {"model": {"class": f"{type(model).__module__}:{type(model).__name__}"}, "data": {"class": "Data"}}

    done = write_folder(*exported_as(config, tmp_path, folder, (model, data)))

    assert done["facts"]["comparison"]["is_small"]
    assert done["remarks"] == [
        "preprocessing.npz was missing beside the checkpoint, and was fitted again on the trial's data"
    ]
    run = partial(subprocess.run, env=environment, capture_output=True, text=True, cwd=tmp_path, timeout=120)
    script = [sys.executable, "-S", str(folder / "predict.py")]
    checked = run([*script, "--check"])
    assert checked.returncode == 0, checked.stdout + checked.stderr
    predictor = Predictor([Prepared(data, data.fitted_state(), [model], [1])], remarks=[])
    source = next(WRITERS[class_of(factory)](data, raw)).source
    proba = data.task != "regression"
    found = run([*script, str(source), *(["--proba"] if proba else [])])
    assert found.returncode == 0, found.stderr
    header, *rows = csv.reader(found.stdout.splitlines())
    expected = predictor.predict(source, proba=proba)
    assert header == expected.columns.tolist()
    for column, cells in zip(header, zip(*rows, strict=True), strict=True):
        if expected[column].dtype.kind == "f" and column.startswith(("p", "error")):
            numbers = np.array(cells, dtype=np.float64)
            np.testing.assert_allclose(numbers, expected[column], rtol=LARGEST_USUAL, atol=LARGEST_USUAL)
        elif expected[column].dtype.kind == "M":
            assert np.array(cells, dtype="datetime64[us]").tolist() == expected[column].dt.to_pydatetime().tolist()
        else:
            assert list(cells) == [str(value) for value in expected[column]]


@pytest.mark.parametrize(
    ("source", "target", "scalings"),
    [(FLATS, "pets", ("standard", "quantile")), (FLATS, "rent", ("min_max", "none"))],
)
def test_an_ensemble_over_families_and_scalings_predicts_alike_with_onnxruntime_alone(
    source: str, target: str, scalings: tuple[Any, Any], tmp_path: Path
) -> None:
    families = [
        Family(family, partial(Table, source=source, target=target, ignore="number", scaling=scaling))
        for family, scaling in zip((DNN, TabM), scalings, strict=True)
    ]
    several = [made(family) for family in families]
    folder, raw = tmp_path / "export", tmp_path / "raw"
    folder.mkdir()
    raw.mkdir()
    config = {"model": {"class": "models.dnn:DNN"}, "data": {"class": "models.data:Table"}}

    write_folder(*exported_as(config, tmp_path, folder, *several))

    run = partial(subprocess.run, capture_output=True, text=True, cwd=tmp_path, timeout=120)
    checked = run([sys.executable, str(folder / "predict.py"), "--check"])
    assert checked.returncode == 0, checked.stdout + checked.stderr
    source = next(WRITERS[Table](several[0][1], raw)).source
    proba = target == "pets"
    found = run([sys.executable, str(folder / "predict.py"), str(source), *(["--proba"] if proba else [])])
    assert found.returncode == 0, found.stderr
    parts = [
        Prepared(data, data.fitted_state(), [model], [weight]) for weight, (model, data) in enumerate(several, start=1)
    ]
    expected = Predictor(parts, remarks=[]).predict(source, proba=proba)
    column = "p_yes" if proba else "prediction"
    own = [Predictor([part], remarks=[]).predict(source, proba=proba)[column] for part in parts]
    np.testing.assert_allclose(expected[column], (own[0] + 2 * own[1]) / 3, rtol=1e-6)
    assert np.abs(own[0] - own[1]).max() > 100 * LARGEST_USUAL
    cells = [float(row[column]) for row in csv.DictReader(found.stdout.splitlines())]
    np.testing.assert_allclose(cells, expected[column], rtol=LARGEST_USUAL, atol=LARGEST_USUAL)
    assert "`model-2.onnx`" in (folder / "README.md").read_text()


def test_what_an_own_data_module_converts_is_given_to_predict_py_as_the_network_takes_it(tmp_path: Path) -> None:
    model, data = made(FAMILIES["DNN with categories"])

    class Own(Table):
        standalone = ""

    data.__class__ = Own
    folder = tmp_path / "export"
    folder.mkdir()
    config = {"model": {"class": "models.dnn:DNN"}, "data": {"class": "own:Own"}}
    write_folder(*exported_as(config, tmp_path, folder, (model, data)))
    (folder / "sample.csv").unlink()

    done = subprocess.run(
        [sys.executable, folder / "predict.py", folder / "sample_input.npz", "--proba"], capture_output=True, text=True
    )

    rows = list(csv.DictReader(done.stdout.splitlines()))
    with np.load(folder / "expected_output.npz") as expected:
        likely = [float(row["p_yes"]) for row in rows]
        np.testing.assert_allclose(likely, expected["prediction"].ravel(), atol=LARGEST_USUAL)
    assert is_plain(json.loads((folder / "facts.json").read_text()))
    assert "NEWDATA is an .npz with the network's inputs" in (folder / "README.md").read_text()
