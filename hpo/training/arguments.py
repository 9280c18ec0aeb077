"""The arguments of a study's classes: which of the model's the data module gives, and how all are written down."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytorch_lightning as pl

from hpo.errors import LoadError
from hpo.ipc.channel import Message
from hpo.space import Argument, arguments_of
from hpo.space.values import among
from hpo.training.own_loaders import OwnLoaders

MOST_RECORDED = 100  # values of an argument that the data module gave

_NOT_PLAIN = object()
_ABSENT = object()


def given_by_data(model_class: type[Any], arguments: Message, data: Any) -> dict[str, Any]:
    """The model's arguments that are neither searched nor in the study file, from attributes of the data module.

    These are arguments without a default, and those marked `FromData()` if the data module has the attribute and the
    condition beside the mark holds.

    Raises:
        LoadError: the data module has no such attribute.
    """
    given = {}
    named = {name.partition(".")[0] for name in arguments}
    known = arguments_of(model_class)
    values = {argument.name: argument.default for argument in known} | arguments
    for argument in known:
        is_required = not argument.has_default
        if argument.name in named or not (is_required or argument.is_from_data) or not _is_met(argument, values):
            continue
        value = getattr(data, argument.name, _ABSENT)
        if value is _ABSENT:
            if not is_required:
                continue
            raise LoadError(
                f"{model_class.__name__} needs '{argument.name}': it is not searched, the study file does not give it "
                f"(model: {{class: ..., {argument.name}: ...}}), and {_without(data)}"
            )
        given[argument.name] = value
    return given


def _is_met(argument: Argument, values: Message) -> bool:
    return all(among(values[parent], wanted) for parent, wanted in argument.when.items())


def _without(data: Any) -> str:
    if isinstance(data, OwnLoaders):
        return "there is no data module to give it"
    return f"{type(data).__name__} has no attribute of that name after setup('fit')"


def resolved_defaults(model: pl.LightningModule, arguments: Message) -> dict[str, Any]:
    """Hyperparameters by which the model replaced defaults of its constructor."""
    given = {name.partition(".")[0] for name in arguments}
    names = {argument.name for argument in arguments_of(type(model)) if argument.has_default} - given
    return {name: value for name, value in model.hparams.items() if name in names}


def recorded(values: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments as a trial's configuration has them: plain, and without long lists that the data module gave.

    People read it, and the store has one for each trial; checkpoints have the lists.
    """
    is_long = {name for name, value in given.items() if isinstance(value, list | tuple) and len(value) > MOST_RECORDED}
    return plain({name: value for name, value in values.items() if name not in is_long})


def plain(values: dict[str, Any]) -> dict[str, Any]:
    """The values that JSON can hold, NumPy's numbers among them; the others are rebuilt elsewhere."""
    found = {name: _plain(value) for name, value in values.items()}
    return {name: value for name, value in found.items() if value is not _NOT_PLAIN}


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, list | tuple):
        items = [_plain(item) for item in value]
        return _NOT_PLAIN if any(item is _NOT_PLAIN for item in items) else items
    if isinstance(value, dict):
        entries = {key: _plain(item) for key, item in value.items()}
        is_plain = all(isinstance(key, str) and item is not _NOT_PLAIN for key, item in entries.items())
        return entries if is_plain else _NOT_PLAIN
    return value if value is None or isinstance(value, bool | int | float | str) else _NOT_PLAIN
