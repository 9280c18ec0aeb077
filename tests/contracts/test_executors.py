"""Every model by every optimizer, trained by both executors: to the last bit, the same weights and metrics."""

from __future__ import annotations

from functools import partial
from typing import Any, get_args

import pytest
import torch
from drawn import drawn_folders
from pytorch_lightning import LightningDataModule, LightningModule
from recorded import measured_csv, recorded_npz

from models.autoencoder import Autoencoder
from models.classic import LeNet5
from models.cnn import CNN
from models.data import Digits, Images, Sequences, Series
from models.dnn import DNN
from models.optimization import OptimizerName
from models.recurrent import Recurrent

from .model_contract import DataFactory, ModelClass, build
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

MODELS: list[tuple[ModelClass, DataFactory, dict[str, Any]]] = [
    (DNN, Digits, {"dropout": 0.3, "batch_norm": True}),
    (CNN, Digits, {"dropout": 0.3}),
    (CNN, partial(Images, source=drawn_folders(), flip="horizontal"), {"batch_norm": True}),
    (LeNet5, Digits, {}),
    (SmallAlexNet, Digits, {}),
    (SmallZFNet, Digits, {}),
    (Autoencoder, Digits, {"dropout": 0.2}),
    (Autoencoder, Digits, {"kind": "convolutional"}),
    (Recurrent, partial(Sequences, path=recorded_npz("class")), {"layers": 2, "dropout": 0.2}),
    (Recurrent, partial(Sequences, path=recorded_npz("step class"), labels="step"), {"cell": "gru"}),
    (Recurrent, partial(Series, path=measured_csv(), target="load", interpolation="linear"), {"cell": "rnn"}),
    (OfDNN, partial(Digits, only="567"), {"freeze": "epochs", "frozen_epochs": 1}),
]


def _named(value: Any) -> str:
    return "-".join(value) if isinstance(value, dict) else named(value)


@pytest.mark.parametrize(("optimizer", "variation"), list(zip(OPTIMIZERS, VARIATIONS, strict=True)))
@pytest.mark.parametrize(("model_class", "data_factory", "point"), MODELS, ids=_named)
def test_both_executors_leave_the_same(
    model_class: ModelClass, data_factory: DataFactory, point: dict[str, Any], optimizer: str, variation: dict[str, Any]
) -> None:
    of_trainer = {name: variation[name] for name in ("accumulate_grad_batches", "precision") if name in variation}
    of_model = {name: value for name, value in variation.items() if name not in of_trainer}

    def make() -> tuple[LightningModule, LightningDataModule]:
        return build(model_class, data_factory, optimizer=optimizer, **point, **of_model), data_factory()

    left = [fit(executor, make, limit_train_batches=5, **of_trainer) for executor in (LEAN, LIGHTNING)]

    assert_same(*left)
    assert left[0].loops["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]["step"]["total"]["ready"] >= 3
