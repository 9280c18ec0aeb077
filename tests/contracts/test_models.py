"""The models against their contract, each with data to learn from: a class, or `partial(Class, argument=...)`."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from models.data import Digits
from models.dnn import DNN

from .model_contract import DataFactory, ModelClass, ModelContract

MODELS: list[tuple[ModelClass, DataFactory]] = [
    (DNN, Digits),
]


def named(value: Any) -> str:
    """A model or its data in the test's name: `Table-iris` for partial(Table, source="iris")."""
    if isinstance(value, partial):
        return "-".join([value.func.__name__, *(str(given) for given in value.keywords.values())])
    return str(value.__name__)


@pytest.mark.parametrize(("model_class", "data_factory"), MODELS, ids=named)
class TestModels(ModelContract):
    pass
