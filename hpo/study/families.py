"""Which of the shipped models fit which of the shipped data: what `model: auto` and `hpo auto` search over."""

from __future__ import annotations

from collections.abc import Mapping

FAMILIES: Mapping[str, tuple[str, ...]] = {
    "models.data:Table": ("models.tabm:TabM", "models.dnn:DNN"),
    "models.data:Images": ("models.cnn:CNN",),
    "models.data:Digits": ("models.cnn:CNN", "models.dnn:DNN"),
    "models.data:Sequences": (
        "models.random_convolutions:RandomConvolutions",
        "models.conv1d:Conv1d",
        "models.recurrent:Recurrent",
    ),
    "models.data:Series": ("models.linear:Linear", "models.recurrent:Recurrent"),
}
