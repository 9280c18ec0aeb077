"""Models by optimizers, trained by both executors: to the last bit, the same weights and metrics.

`make test-all` tries every model with every variation. `make test` tries a sample of them: each variation meets each
module of `models` once, with its models taking turns, so that every pair of a network's code and an optimizer's is
there, and each model is trained in several ways.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from functools import partial
from itertools import groupby
from typing import Any, get_args

import pytest
import torch
from drawn import drawn_folders
from pytorch_lightning import LightningDataModule, LightningModule
from recorded import measured_csv, recorded_npz

import models
from models.autoencoder import Autoencoder
from models.base import Supervised
from models.classic import LeNet5
from models.cnn import CNN
from models.conv1d import Conv1d
from models.data import Digits, Images, Sequences, Series, Table
from models.data.batches import Batches
from models.dnn import DNN
from models.layout import Layout
from models.linear import Linear
from models.optimization import OptimizerName
from models.optimized import Optimized
from models.random_convolutions import RandomConvolutions
from models.recurrent import Recurrent
from models.tabm import TabM

from .model_contract import DataFactory, ModelClass, build, data_of
from .test_data import FLATS
from .test_models import SmallAlexNet, SmallZFNet, named
from .test_transfer_contract import OfDNN
from .twins import LEAN, LIGHTNING, assert_same, fit

torch.set_num_threads(1)

OPTIMIZERS = get_args(get_args(OptimizerName)[0])

# What an optimizer is tried with, each schedule and each option at least once a model.
VARIATIONS: list[dict[str, Any]] = [
    {"schedule": "constant"},
    {"schedule": "cosine", "warmup": 0.2},
    {"schedule": "one_cycle"},
    {"schedule": "step", "gradient_clip": 0.05},
    {"schedule": "plateau"},
    {"schedule": "constant", "warmup": 0.1, "accumulate_grad_batches": 2},
    {"schedule": "cosine", "precision": "bf16-mixed"},
]

RECORDED, MEASURED = recorded_npz("step class"), measured_csv()
DEEP = {"layers": 2, "dropout": 0.2}

# Each with dropout, and with data that are shuffled anew in every epoch.
MODELS: list[tuple[ModelClass, DataFactory, dict[str, Any]]] = [
    (DNN, Digits, {"dropout": 0.3, "batch_norm": True}),
    (DNN, partial(Table, source=FLATS, target="pets", ignore="number"), {"dropout": 0.3}),
    (CNN, Digits, {"dropout": 0.3}),
    (CNN, partial(Images, source=drawn_folders(), flip="horizontal"), {"batch_norm": True, "dropout": 0.3}),
    (LeNet5, Digits, {"dropout": 0.3}),
    (SmallAlexNet, Digits, {"dropout": 0.5}),
    (SmallZFNet, Digits, {"dropout": 0.5}),
    (TabM, partial(Table, source=FLATS, target="pets", ignore="number"), {"dropout": 0.3}),
    (TabM, partial(Table, source="wine"), {"number_embedding": "periodic", "dropout": 0.3}),
    (Autoencoder, Digits, {"dropout": 0.2}),
    (Autoencoder, Digits, {"kind": "convolutional", "dropout": 0.2}),
    (Recurrent, partial(Sequences, path=recorded_npz("class")), {**DEEP}),
    (Recurrent, partial(Sequences, path=RECORDED, labels="step"), {"cell": "gru", **DEEP}),
    (Recurrent, partial(Series, path=MEASURED, target="load", interpolation="linear"), {"cell": "rnn", **DEEP}),
    (Conv1d, partial(Sequences, path=recorded_npz("class")), {}),
    (Conv1d, partial(Sequences, path=RECORDED, labels="step"), {"depth": 2}),
    (RandomConvolutions, partial(Sequences, path=recorded_npz("class")), {"kernels": 300}),
    (Conv1d, partial(Series, path=MEASURED, target="load", interpolation="linear"), {"window_scaling": "standard"}),
    (Linear, partial(Series, path=MEASURED, target="load", interpolation="linear"), {"hidden": 16, "dropout": 0.2}),
    (OfDNN, partial(Digits, only="567"), {"freeze": "epochs", "frozen_epochs": 1, "dropout": 0.2}),
]
BASES = {Optimized, Supervised, Layout}


def _named(value: Any) -> str:
    return "-".join(value) if isinstance(value, dict) else named(value)


def _cases() -> Iterator[Any]:
    """Every model with every variation; those outside of the sample are marked as exhaustive."""
    modules = {module: [*rows] for module, rows in groupby(MODELS, lambda row: _network(row[0]).__module__)}
    for number, rows in enumerate(modules.values()):
        for place, row in enumerate(rows):
            for turn, (optimizer, variation) in enumerate(zip(OPTIMIZERS, VARIATIONS, strict=True)):
                is_sampled = (turn + number) % len(rows) == place
                yield pytest.param(
                    *(*row, optimizer, variation),
                    id="-".join([*map(_named, row), optimizer, *map(str, variation.values())]),
                    marks=() if is_sampled else pytest.mark.exhaustive,
                )


def _is_model(value: Any) -> bool:
    is_ours = isinstance(value, type) and value.__module__.startswith("models.")
    return is_ours and issubclass(value, LightningModule) and value not in BASES


def _rate(layer: torch.nn.Module) -> float:
    return float(layer.p) if isinstance(layer, torch.nn.Dropout) else float(getattr(layer, "dropout", 0.0) or 0.0)


def _network(model_class: ModelClass) -> ModelClass:
    """The class of `models` that it is, or is a variant of."""
    return next(ancestor for ancestor in model_class.__mro__ if _is_model(ancestor))


@pytest.mark.parametrize(("model_class", "data_factory", "point", "optimizer", "variation"), [*_cases()])
def test_both_executors_leave_the_same(
    model_class: ModelClass, data_factory: DataFactory, point: dict[str, Any], optimizer: str, variation: dict[str, Any]
) -> None:
    of_trainer = {name: variation[name] for name in ("accumulate_grad_batches", "precision") if name in variation}
    of_model = {name: value for name, value in variation.items() if name not in of_trainer}

    def make() -> tuple[LightningModule, LightningDataModule]:
        return build(model_class, data_factory, optimizer=optimizer, **point, **of_model), data_factory()

    left = [fit(executor, make, limit_train_batches=5, **of_trainer) for executor in (LEAN, LIGHTNING)]

    assert_same(*left)
    assert len(left[0].metrics) == 3
    assert left[0].loops["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]["step"]["total"]["ready"] >= 3


def test_no_model_is_left_out_and_each_has_dropout_and_shuffled_data() -> None:
    modules = [importlib.import_module(f"models.{found.name}") for found in pkgutil.iter_modules(models.__path__)]
    classes = {value for module in modules for value in vars(module).values() if _is_model(value)}

    tried = {ancestor for model, _, _ in MODELS for ancestor in model.__mro__ if _is_model(ancestor)}

    assert tried == classes
    for model_class, data_factory, point in MODELS:
        dropout = [layer for layer in build(model_class, data_factory, **point).modules() if _rate(layer) > 0]
        assert dropout, model_class
        batches = data_of(data_factory).train_dataloader()
        assert isinstance(batches, Batches)
        assert batches.training  # which shuffles
