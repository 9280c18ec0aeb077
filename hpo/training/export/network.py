"""A trained module as a network with plain tensors as inputs and outputs, which can be exported."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn

from hpo.errors import HpoError

Tensors = tuple[Tensor, ...]
PREDICTION = "prediction"  # the output of a module that returns a tensor

_Call = Callable[[LightningModule, Any], Any]


class Inputs(NamedTuple):
    """The inputs of a batch: several, if they are a tuple there."""

    tensors: Tensors
    are_several: bool

    @property
    def names(self) -> list[str]:
        """x and lengths, numbers and categories, or x alone; else numbered."""
        if not self.are_several:
            return ["x"]
        if len(self.tensors) == 2 and not self.tensors[1].is_floating_point():
            return ["x", "lengths"] if self.tensors[1].ndim == 1 else ["numbers", "categories"]
        return [f"input_{number}" for number in range(len(self.tensors))]


def inputs_of(batch: Any) -> Inputs:
    """What a model is given of a batch: a tensor or a tuple of them, or the first of (inputs, targets).

    Raises:
        HpoError: a batch has another form.
    """
    given = batch[0] if isinstance(batch, tuple | list) and batch else batch
    if isinstance(given, Tensor):
        return Inputs((given,), are_several=False)
    if isinstance(given, tuple | list) and given and all(isinstance(part, Tensor) for part in given):
        return Inputs(tuple(given), are_several=True)
    raise HpoError(
        f"a validation batch is {_in_words(batch)}: only (inputs, targets) can be exported, where inputs are a tensor "
        "or a tuple of tensors"
    )


class Network(nn.Module):
    """Inputs (batch, ...) -> what the module's `predict_step` returns for them; without one, its `forward`.

    Attributes:
        outputs: their names.
        is_raw: the outputs are those of `forward`.

    Args:
        batch: of the validation part, with which the module is tried.
        members: the other models of an ensemble, whose outputs are averaged; weights: of all, the model's first.

    Raises:
        HpoError: it cannot be called with the inputs alone, or returns something else than tensors.
    """

    def __init__(
        self,
        model: LightningModule,
        batch: Any,
        members: Sequence[LightningModule] = (),
        weights: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.members = nn.ModuleList(members)
        self._weights = list(weights or [1] * (1 + len(members)))
        self.are_several = inputs_of(batch).are_several
        self.is_raw = type(model).predict_step is LightningModule.predict_step
        self._call = self._working_call(batch)
        try:
            self.outputs = list(self._named(self._call(model, self._given(inputs_of(batch).tensors))))
        except HpoError:
            raise
        except Exception as error:  # of the user's model
            who = type(model).__name__
            raise HpoError(
                f"{who} cannot be called with the inputs of a validation batch: {type(error).__name__}: {error}"
            ) from error

    def forward(self, *inputs: Tensor) -> Tensors:
        given = self._given(inputs)
        models = (self.model, *self.members)
        found = self._named(_averaged([self._call(model, given) for model in models], self._weights))
        return tuple(each.float() if each.dtype in (torch.float16, torch.bfloat16) else each for each in found.values())

    def _given(self, inputs: Tensors) -> Any:
        return inputs if self.are_several else inputs[0]

    def _working_call(self, batch: Any) -> _Call:
        """The way to call the module with inputs alone that gives what it gives for the batch."""
        if self.is_raw:
            return lambda model, given: model(given)
        inputs = self._given(inputs_of(batch).tensors)
        expected = self._tried(lambda model, whole: model.predict_step(whole, 0), batch)
        problem: Any = expected
        for call in self._calls():
            found = self._tried(call, inputs)
            if isinstance(found, Exception):
                problem = found
            elif _is_expected(found, expected, len(inputs_of(batch).tensors[0])):
                return call
        raise HpoError(
            f"{type(self.model).__name__}.predict_step cannot be called with inputs without targets, as a model that "
            f"predicts is: {problem if isinstance(problem, Exception) else 'it then returns something else'}"
        )

    def _calls(self) -> list[_Call]:
        """A tuple of several inputs might be taken for inputs and targets, so that it comes second."""
        calls: list[_Call] = [
            lambda model, given: model.predict_step(given, 0),
            lambda model, given: model.predict_step((given,), 0),
        ]
        return calls[::-1] if self.are_several else calls

    def _tried(self, call: _Call, given: Any) -> Any:
        try:
            return tuple(self._named(call(self.model, given)).values())
        except HpoError:
            raise
        except Exception as error:  # of the user's model
            return error

    def _named(self, found: Any) -> dict[str, Tensor]:
        named = dict(found) if isinstance(found, Mapping) else {PREDICTION: found}
        for value in named.values():
            if not isinstance(value, Tensor) or value.ndim == 0:
                raise HpoError(
                    f"{type(self.model).__name__} returned {_in_words(value)}: it should return a tensor with a row "
                    "for each sample, or a mapping of names to such tensors"
                )
        return {str(name): value for name, value in named.items()}


def _averaged(outputs: Sequence[Any], weights: Sequence[int]) -> Any:
    """The weighted mean of what several models give: tensors, or mappings of these; of one model, what it gives."""
    if len(outputs) == 1:
        return outputs[0]
    if isinstance(outputs[0], Mapping):
        return {name: _averaged([output[name] for output in outputs], weights) for name in outputs[0]}
    total = sum(weights)
    return torch.stack([output * (weight / total) for output, weight in zip(outputs, weights, strict=True)]).sum(0)


def _is_expected(found: Tensors, expected: Tensors | Exception, samples: int) -> bool:
    """What the module gives for the batch with its targets; where it takes none, a row for each sample."""
    if isinstance(expected, Exception):
        return len(found[0]) == samples
    return len(found) == len(expected) and all(
        one.shape == other.shape and torch.allclose(one.double(), other.double(), atol=1e-6, equal_nan=True)
        for one, other in zip(found, expected, strict=True)
    )


def _in_words(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"a dict of {', '.join(map(str, value))}"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {', '.join(type(part).__name__ for part in value)}"
    return type(value).__name__
