"""Whether a loaded model is given batches that were converted as in its training, or by something that was fitted anew.

A data module may have a method `preparation()`, which returns `{"by": text, "fitted": {name: summary}}`: its class
with its file, and summaries of what it has fitted (scalings, numbers of categories, ...), each a text, or a list of
four numbers of which the third is their magnitude. It marks the tensors of its batches with this, as their attribute
`prepared`.
"""

from __future__ import annotations

import copy
import functools
import math
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.trainer.states import TrainerFn, TrainerStatus
from torch import Tensor, nn

from hpo.errors import HpoError

MARK = "prepared"
TOLERANCE = 1e-5  # of numbers that were fitted on the same rows by other processors or libraries
CHECK = "_hpo_check"  # the attribute of a loaded model by which data modules ask for the check
TO_SCRIPT = "__prepare_scriptable__"  # TorchScript's hook


def preparation_of(data: Any) -> dict[str, Any] | None:
    """What the data module says; None if it says nothing."""
    ask = getattr(data, "preparation", None)
    found = ask() if callable(ask) else None
    return found if isinstance(found, dict) and isinstance(found.get("fitted"), dict) else None


def check_batches_of(model: LightningModule, trained: Mapping[str, Any]) -> None:
    """Let the model refuse batches that were converted otherwise than those that it was trained with.

    It learns from any: what it is trained with from now on, it also takes afterwards.

    Args:
        trained: the preparation that it was trained with.
    """
    check = _Check(trained)
    model.register_forward_pre_hook(check, with_kwargs=True)
    setattr(model, CHECK, check)
    # TorchScript would compile the hook.
    setattr(model, TO_SCRIPT, functools.partial(_unchecked, model))


class _Check:
    """The hook of a loaded model."""

    def __init__(self, trained: Mapping[str, Any]) -> None:
        self._known = [trained]

    def __call__(self, model: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        if torch.compiler.is_compiling():
            return
        for found in {id(one): one for one in _marks([*arguments, *named.values()])}.values():
            if model.training or _is_being_fitted(model):
                self._learn(found, model)
            else:
                self.check(found)

    def check(self, found: Mapping[str, Any]) -> None:
        """
        Raises:
            HpoError: these batches were converted otherwise than those of the training.
        """
        if any(one is found for one in self._known):
            return
        differing = [differences(one, found) for one in self._known]
        if all(differing):
            raise HpoError(
                f"the model was trained with batches of {self._known[0]['by']}, and these are of {found['by']} with "
                f"other {_listed(differing[-1])}: it was fitted on other rows, or has other options, so predictions "
                "would be wrong. Evaluate with the data of the trial, which is its class with the arguments in "
                "trial.config['data']. Rows of another file are predicted by 'hpo predict' (docs/predict.md)"
            )
        self._known.append(found)

    def differing(self, found: Mapping[str, Any]) -> str:
        """The names of what was fitted otherwise in the training; empty if nothing was."""
        names = differences(self._known[0], found)
        return _listed(names) if names else ""

    def _learn(self, found: Mapping[str, Any], model: nn.Module) -> None:
        if model.training and not any(one is found for one in self._known):
            self._known.append(found)


def differences(trained: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """The names of what differs; what only one of them has is not compared, as it may be of another version."""
    one, other = trained["fitted"], found["fitted"]
    return [name for name in one if name in other and not _are_equal(one[name], other[name])]


def _are_equal(one: Any, other: Any) -> bool:
    if not isinstance(one, list) or not isinstance(other, list):
        return bool(one == other)
    magnitude = max(one[2], other[2])
    return all(
        math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=TOLERANCE * magnitude) for a, b in zip(one, other, strict=False)
    )


def _marks(values: list[Any]) -> Iterator[Mapping[str, Any]]:
    for value in values:
        if isinstance(value, Tensor):
            found = getattr(value, MARK, None)
            if isinstance(found, Mapping):
                yield found
        elif isinstance(value, list | tuple):
            yield from _marks(list(value))
        elif isinstance(value, Mapping):
            yield from _marks(list(value.values()))


def _is_being_fitted(model: nn.Module) -> bool:
    """Whether a Trainer trains it: its validations are of the data that it is being trained with."""
    trainer = getattr(model, "_trainer", None)
    if trainer is None:
        return False
    return bool(trainer.state.fn == TrainerFn.FITTING and trainer.state.status == TrainerStatus.RUNNING)


def _unchecked(model: LightningModule) -> LightningModule:
    """The model, with the same weights, without the check."""
    twin = copy.copy(model)
    twin._forward_pre_hooks = OrderedDict(
        (key, hook) for key, hook in model._forward_pre_hooks.items() if not isinstance(hook, _Check)
    )
    twin._forward_pre_hooks_with_kwargs = OrderedDict(
        (key, hook) for key, hook in model._forward_pre_hooks_with_kwargs.items() if key in twin._forward_pre_hooks
    )
    del twin.__dict__[TO_SCRIPT], twin.__dict__[CHECK]
    return twin


def _listed(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]
