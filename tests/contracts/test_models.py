"""The models against their contract, each with data to learn from: a class, or `partial(Class, argument=...)`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import pytest
from drawn import drawn_folders, drawn_npz
from recorded import measured_csv, recorded_npz

from hpo.space import Float
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

from .model_contract import DataFactory, ModelClass, ModelContract, build, cpu_trainer
from .test_data import FLATS


class SmallAlexNet(AlexNet):
    """AlexNet as narrow as its space allows, (batch, ...) as there: wider ones take long to learn by heart."""

    def __init__(
        self,
        input_shape: tuple[int, ...],
        outputs: int,
        width: Annotated[float, Float(1 / 16, 1 / 8, log=True)] = 1 / 16,
        **rest: Any,
    ) -> None:
        super().__init__(input_shape, outputs, width=width, **rest)


class SmallZFNet(ZFNet):
    """ZFNet, likewise, (batch, ...) as there."""

    def __init__(
        self,
        input_shape: tuple[int, ...],
        outputs: int,
        width: Annotated[float, Float(1 / 16, 1 / 8, log=True)] = 1 / 16,
        **rest: Any,
    ) -> None:
        super().__init__(input_shape, outputs, width=width, **rest)


MODELS: list[tuple[ModelClass, DataFactory]] = [
    (DNN, Digits),
    (CNN, Digits),
    (CNN, partial(Images, source=drawn_folders(), flip="horizontal")),
    (LeNet5, Digits),
    (Autoencoder, Digits),
    (TabM, partial(Table, source="iris")),
    (TabM, partial(Table, source=FLATS, target="pets", ignore="number")),
    (TabM, partial(Table, source=FLATS, target="rent, rooms")),
    (SmallAlexNet, Digits),
    (SmallZFNet, partial(Images, source=drawn_npz())),
    (Recurrent, partial(Sequences, path=recorded_npz("class"))),
    (Recurrent, partial(Sequences, path=recorded_npz("step class"), labels="step")),
    (Recurrent, partial(Series, path=measured_csv(), target="load, wind", horizon=2, interpolation="linear")),
    (Conv1d, partial(Sequences, path=recorded_npz("class"))),
    (RandomConvolutions, partial(Sequences, path=recorded_npz("class"))),
    (RandomConvolutions, partial(Sequences, path=recorded_npz("step value"), labels="step")),
    (Conv1d, partial(Sequences, path=recorded_npz("step value"), labels="step")),
    (Conv1d, partial(Series, path=measured_csv(), target="load, wind", horizon=2, interpolation="linear")),
    (Linear, partial(Series, path=measured_csv(), target="load, wind", horizon=2, interpolation="linear")),
]


def named(value: Any) -> str:
    """A model or its data in the test's name: `Table-iris` for partial(Table, source="iris")."""
    if isinstance(value, partial):
        return "-".join([value.func.__name__, *(Path(str(given)).name for given in value.keywords.values())])
    return str(value.__name__)


@pytest.mark.parametrize(("model_class", "data_factory"), MODELS, ids=named)
class TestModels(ModelContract):
    pass


@pytest.mark.parametrize("mixing", ["mix_up", "cut_mix"])
def test_a_network_learns_from_mixed_images_and_their_shared_targets(mixing: str) -> None:
    strength: dict[str, Any] = {mixing: 0.4}
    data = partial(Images, source=drawn_folders(), **strength)
    model = build(CNN, data)
    trainer = cpu_trainer(max_epochs=10)

    trainer.fit(model, datamodule=data())

    assert trainer.callback_metrics["train_loss"].isfinite()
    assert trainer.callback_metrics["val_loss"] < 0.69  # that of a coin
