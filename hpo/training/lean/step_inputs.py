"""What a training step may read of its modules' attributes: a replay repeats it with the values of its capture."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from hpo.training.lean.side_effects import IGNORED, OPAQUE, SCALARS


class StepInputs:
    """Numbers, texts, flags and tensors that are attributes of modules, or in dictionaries and plain objects that are.

    They are compared before a replay: a hook between two steps may have changed one. Tensors are compared by their
    identity, since a replay sees changes in place. Lists, deeper objects, globals and closures are not compared.
    """

    def __init__(self, model: nn.Module) -> None:
        self._modules = [(vars(module), len(vars(module))) for module in model.modules()]
        owners = [owner for attributes, _ in self._modules for owner in _owners(attributes)]
        self._known: list[tuple[dict[Any, Any], tuple[Any, ...], tuple[Any, ...]]] = [
            (owner, tuple(known), tuple(known.values()))
            for owner in owners
            if (known := {name: value for name, value in owner.items() if _is_known(name, value)})
        ]

    def are_same(self) -> bool:
        """Whether all have their earlier values, and no module has more or fewer attributes."""
        if any(len(attributes) != count for attributes, count in self._modules):
            return False
        for owner, names, values in self._known:
            # Nearly always they are the same objects, of which no line of Python is needed to be sure.
            if not all(map(operator.is_, map(owner.get, names), values)) and not _are_equal(owner, names, values):
                return False
        return True

    def scalars(self) -> list[tuple[Any, Any]]:
        """All but the tensors, with their names, in the order of the modules."""
        return [
            (name, value)
            for _, names, values in self._known
            for name, value in zip(names, values, strict=True)
            if not isinstance(value, Tensor)
        ]


def _is_known(name: Any, value: Any) -> bool:
    return isinstance(value, (*SCALARS, Tensor)) and name not in IGNORED


def _are_equal(owner: dict[Any, Any], names: tuple[Any, ...], values: tuple[Any, ...]) -> bool:
    missing = object()
    for name, value in zip(names, values, strict=True):
        now = owner.get(name, missing)
        if now is not value and (isinstance(value, Tensor) or type(now) is not type(value) or now != value):
            return False
    return True


def _owners(attributes: dict[str, Any]) -> Iterator[dict[Any, Any]]:
    """The attributes of a module, and the dictionaries and objects among them."""
    yield attributes
    for name, value in attributes.items():
        if name in IGNORED or isinstance(value, (*SCALARS, *OPAQUE)):
            continue
        if isinstance(value, dict):
            yield value
        elif hasattr(value, "__dict__"):
            yield vars(value)
