"""The search spaces of the shipped classes together with what they search only where a study file asks for it."""

from __future__ import annotations

from typing import Any

from hpo.space import Owner, SearchSpace
from hpo.space.reading import arguments_of

MORE: dict[str, Any] = {
    # of models
    "optimizer": ["adam", "adamw", "nadam", "rmsprop", "adagrad", "adadelta", "sgd"],
    "momentum": {"low": 0.0, "high": 0.99},
    "nesterov": [False, True],
    "schedule": ["constant", "cosine", "one_cycle", "step", "plateau"],
    "warmup": {"low": 0.0, "high": 0.2},
    "average": {"low": 0.0, "high": 0.99},
    "activation": ["relu", "leaky_relu", "elu", "gelu", "silu", "softplus", "tanh", "sigmoid"],
    "initializer": [
        *("he_normal", "he_uniform", "glorot_normal", "glorot_uniform", "lecun_normal", "lecun_uniform"),
        *("orthogonal", "normal"),
    ],
    "initializer_std": {"low": 1e-3, "high": 0.5, "log": True},
    "depth": {"low": 1, "high": 5},
    "taper": {"low": 0.25, "high": 1.0},
    "residual": [False, True],
    "global_pooling": [False, True],
    "batch_norm": [False, True],
    "convolutions": {"low": 1, "high": 2},
    "growth": {"low": 1.0, "high": 2.0},
    "kernel": [3, 5, 7],
    "stride": {"low": 1, "high": 2},
    "pooling": ["max", "average", "none"],
    "activation_place": ["before_pooling", "after_pooling"],
    "head": {"low": 16, "high": 512, "log": True},
    "cell": ["lstm", "gru", "rnn"],
    "bidirectional": [False, True],
    "nonlinearity": ["tanh", "relu"],
    # of data
    "missing": ["median", "mean", "drop", "indicator"],
    "categories": ["embedding", "one_hot"],
    "differencing": ["none", "first", "seasonal"],
    "flip": ["none", "horizontal", "vertical", "both"],
    "rotate": {"low": 0.0, "high": 30.0},
    "crop": {"low": 0.0, "high": 0.4},
    "erase": {"low": 0.0, "high": 0.4},
    "mix_up": {"low": 0.0, "high": 0.4},
    "cut_mix": {"low": 0.0, "high": 1.0},
    "time_warp": {"low": 0.0, "high": 0.8},
}
SCALINGS = {
    "Table": ["standard", "robust", "min_max", "quantile", "none"],
    "Digits": ["none", "unit", "standard"],
    "Images": ["unit", "standard", "none"],
    "Sequences": ["none", "standard", "min_max"],
    "Series": ["none", "standard", "min_max"],
}
# The largest depth of an autoencoder depends on its samples; the head of a transferred network is a module's name.
LEFT_OUT: dict[str, dict[str, None]] = {
    "Autoencoder": {"depth": None},
    "Transfer": {"head": None},
    "Series": {"stride": None},
    "Conv1d": {"stride": None},  # which steps with a label each refuse
    "Recurrent": {"stride": None},
}
POOLINGS = {"LeNet5": ["subsampling", "average", "max"]}


def wide_space(target: type[Any], owner: Owner = "model") -> SearchSpace:
    """Of a class; one of other people has its own space."""
    space, arguments = SearchSpace.of(target, owner), arguments_of(target, owner)
    if not target.__module__.startswith("models."):
        return space
    own = {"scaling": SCALINGS.get(target.__name__), "pooling": POOLINGS.get(target.__name__, MORE["pooling"])}
    more = {**MORE, **own, **LEFT_OUT.get(target.__name__, {})}
    named = [argument.name for argument in arguments if more.get(argument.name) is not None]
    return space.override({name: more[name] for name in named}, arguments).space
