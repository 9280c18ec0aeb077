"""What each family searches by itself: enough for a good model, and few enough to be searched in forty trials."""

from __future__ import annotations

from typing import Any

import pytest

from hpo.space import SearchSpace
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

PAIRS = [
    (DNN, Table), (TabM, Table), (DNN, Digits), (CNN, Images), (CNN, Digits), (LeNet5, Images), (AlexNet, Images),
    (ZFNet, Images), (Recurrent, Sequences), (Conv1d, Sequences),
    (RandomConvolutions, Sequences), (Recurrent, Series), (Conv1d, Series),
    (Linear, Series), (Autoencoder, Digits), (Autoencoder, Table), (Transfer, Images),
]  # fmt: skip
PINNED_DROPOUT = (TabM, Conv1d, Linear, RandomConvolutions)  # where its choice was found to make no difference
ALWAYS = {"optimizer", "lr", "weight_decay", "dropout", "batch_size"}


@pytest.mark.parametrize(("model", "data"), PAIRS, ids=lambda one: one.__name__)
def test_a_family_searches_fewer_than_twelve_parameters(model: type[Any], data: type[Any]) -> None:
    space = SearchSpace.union(SearchSpace.of(model), SearchSpace.of(data, "data"))

    assert len(space) < 12, space.names
    assert set(space.names) >= ALWAYS - (
        {"dropout"} if model in (TabM, Linear, Conv1d, RandomConvolutions) else set()
    )  # whose choice makes no difference
    assert space["optimizer"].range.choices == ("adam", "adamw", "nadam")  # type: ignore[union-attr]


@pytest.mark.parametrize("optimizer", ["sgd", "rmsprop", "adadelta"])
def test_what_is_not_searched_by_itself_may_be_asked_for(optimizer: str) -> None:
    from hpo.space.reading import arguments_of

    changes = {
        "optimizer": ["adam", optimizer],
        "momentum": {"low": 0, "high": 0.99, "when": {"optimizer": optimizer}},
        "schedule": ["constant", "cosine"],
        "taper": {"low": 0.25, "high": 1.0},
    }
    found = SearchSpace.of(DNN).override(changes, arguments_of(DNN)).space

    assert {"momentum", "schedule", "taper"} <= set(found.names)
