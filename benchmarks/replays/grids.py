"""The grids that `search_quality.py record` trains: their spaces, and the models and data of their points.

Every parameter has finitely many values, so a search meets recorded trainings only. Numbers on a logarithmic scale are
searched by their exponent, which has a step.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hpo.space import Choice, Float, Int, Parameter, SearchSpace

EPOCHS = 27
SEEDS = (0, 1)  # every configuration is trained once with each

OPTIMIZERS = Parameter("optimizer", Choice("adam", "sgd"), default="adam", has_default=True)
MOMENTUM = Parameter("momentum", Choice(0.0, 0.9), default=0.9, has_default=True, when={"optimizer": ("sgd",)})


def _number(name: str, low: int, high: int, default: int, step: int | None = None) -> Parameter:
    return Parameter(name, Int(low, high, step=step), default=default, has_default=True)


def _log10_lr(low: float, high: float, default: float) -> Parameter:
    return Parameter("log10_lr", Float(low, high, step=0.5), default=default, has_default=True)


PERCEPTRON = SearchSpace(
    (
        _number("depth", 1, 3, 2),
        Parameter("taper", Choice(0.5, 1.0), default=1.0, has_default=True, when={"depth": (2, 3)}),
        _number("log2_width", 4, 8, 6, step=2),
        Parameter("dropout", Choice(0.0, 0.3), default=0.0, has_default=True),
        OPTIMIZERS,
        MOMENTUM,
        _log10_lr(-3.5, -1.0, -3.0),
    )
)
CONVOLUTIONS = SearchSpace(
    (
        Parameter("depth", Choice(1, 2), default=2, has_default=True),
        _number("log2_width", 2, 4, 3),
        Parameter("batch_norm", Choice(False, True), default=True, has_default=True),
        Parameter("dropout", Choice(0.0, 0.3), default=0.0, has_default=True),
        OPTIMIZERS,
        MOMENTUM,
        _log10_lr(-3.0, -1.0, -3.0),
    )
)
RECURRENT = SearchSpace(
    (
        Parameter("cell", Choice("lstm", "gru"), default="lstm", has_default=True),
        Parameter("layers", Choice(1, 2), default=1, has_default=True),
        Parameter("dropout", Choice(0.0, 0.3), default=0.0, has_default=True, when={"layers": (2,)}),
        _number("log2_hidden", 3, 6, 5),
        Parameter("readout", Choice("last", "mean"), default="last", has_default=True),
        _log10_lr(-3.5, -1.5, -2.5),
    )
)


@dataclass(frozen=True)
class Recipe:
    """A grid to record.

    Attributes:
        source: writes the data into a folder, and returns the path for the data module.
        model, data: the class as in a study file, with the arguments that are the same for all points.
        related: another recipe with the same space.
    """

    space: SearchSpace
    model: Mapping[str, Any]
    data: Mapping[str, Any]
    source: Callable[[Path], Path] | None = None
    related: str = ""


def _sequences(folder: Path) -> Path:
    """Sequences of nine noisy steps in six classes, which the order of three motifs tells."""
    rng = np.random.default_rng(0)
    motifs = rng.normal(size=(3, 3, 2))  # (motif, time, features)
    of_class = np.array([motifs[list(order)].reshape(9, 2) for order in itertools.permutations(range(3))])
    classes = rng.integers(len(of_class), size=912)
    x = of_class[classes] + rng.normal(size=(len(classes), 9, 2))
    split = np.where(np.arange(len(classes)) < 512, "train", "test")
    np.savez(folder / "sequences.npz", x=x.astype(np.float32), y=classes, split=split)
    return folder / "sequences.npz"


def _table(folder: Path) -> Path:
    """A table of 20 columns and four classes of three clusters each, with 5 % of wrong labels."""
    import pandas as pd
    from sklearn.datasets import make_classification

    numbers, classes = make_classification(
        1600, 20, n_informative=8, n_redundant=4, n_classes=4, n_clusters_per_class=3, class_sep=1.5, flip_y=0.05,
        random_state=0,
    )  # fmt: skip
    frame = pd.DataFrame(numbers, columns=[f"x{column}" for column in range(20)])
    frame.assign(label=[f"class {number}" for number in classes]).to_csv(folder / "table.csv", index=False)
    return folder / "table.csv"


DIGITS = {"class": "models.data:Digits", "validation_fraction": 0.25, "test_fraction": 0.45}
DNN = {"class": "models.dnn:DNN"}
TABLE = {"class": "models.data:Table", "target": "label", "validation_fraction": 0.25, "test_fraction": 0.45}

RECIPES: Mapping[str, Recipe] = {
    "cnn": Recipe(CONVOLUTIONS, {"class": "models.cnn:CNN", "head": 32}, DIGITS | {"validation_fraction": 0.35}),
    "lstm": Recipe(
        RECURRENT,
        {"class": "models.recurrent:Recurrent"},
        {"class": "models.data:Sequences", "validation_fraction": 0.5},
        source=_sequences,
    ),
    "mlp": Recipe(PERCEPTRON, DNN, DIGITS, related="table"),
    "table": Recipe(PERCEPTRON, DNN, TABLE, source=_table, related="mlp"),
}
