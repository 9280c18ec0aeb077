"""A captured step: forward and backward of one batch, in fixed memory, to be replayed with other batches.

The optimizer's step is not captured. It is few kernels when it is fused, and if it is not captured, learning rates,
clipping, an optimizer's state and its checkpoints work as without a graph.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.connectors.logger_connector.result import _ResultCollection
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_map, tree_unflatten

from hpo.training.lean.cuda import Graph
from hpo.training.lean.side_effects import Appended, Logged, Watch
from hpo.training.lean.step import Computation
from hpo.training.lean.step_inputs import StepInputs
from hpo.training.resume import random_state, set_random_state


class Outcome(NamedTuple):
    """The results of forward and backward of one batch."""

    loss: Tensor
    logged: list[Logged]
    appended: list[Appended]
    gradients: list[Tensor | None]  # of all parameters
    buffers: list[Tensor]

    def copied(self) -> Outcome:
        return Outcome(*copy_of(tuple(self)))


class Shapes(NamedTuple):
    """The layout and shapes that batches must share for a graph to be replayed with them."""

    layout: TreeSpec
    tensors: tuple[tuple[torch.Size, torch.dtype], ...]


def shapes_of(leaves: list[Any], layout: TreeSpec, device: torch.device) -> Shapes | None:
    """The shapes of a batch; None where it has anything but tensors on the device."""
    if not leaves or not all(isinstance(x, Tensor) and x.device == device and not x.requires_grad for x in leaves):
        return None
    return Shapes(layout, tuple((leaf.shape, leaf.dtype) for leaf in leaves))


class Captured:
    """A step of this model, captured with a batch.

    Raises:
        RuntimeError: it cannot be captured; other errors are those of the step or the device.
    """

    def __init__(
        self,
        graph: Graph,
        trainer: pl.Trainer,
        results: _ResultCollection,
        compute: Computation,
        batch: Any,
        batch_idx: int,
    ) -> None:
        leaves, layout = tree_flatten(batch)
        self._graph, self._results, self._connector = graph, results, trainer._logger_connector
        self._model = trainer.lightning_module
        self._inputs: list[Tensor] = [leaf.clone() for leaf in leaves]
        self.shapes = shapes_of(leaves, layout, self._model.device)
        parameters = list(self._model.parameters())
        static_batch = tree_unflatten(self._inputs, layout)

        def run() -> Outcome:
            for parameter in parameters:
                parameter.grad = None  # so that the backward pass writes new gradients instead of adding to old ones
            with Watch(trainer, results, passes_on=False) as watch:
                loss = compute(static_batch, batch_idx)
                loss.backward()  # type: ignore[no-untyped-call]
            if watch.obstacle is not None:
                raise RuntimeError(watch.obstacle)
            gradients = [parameter.grad for parameter in parameters]
            return Outcome(loss.detach(), watch.logged, watch.appended, gradients, list(self._model.buffers()))

        self._modules = dict(self._model.named_modules())
        self._step_inputs = StepInputs(self._model)
        self._places = [(parameter, parameter.data_ptr(), parameter.requires_grad) for parameter in parameters]
        self._buffers = [
            (module._buffers, name, buffer)
            for module in self._modules.values()
            for name, buffer in module._buffers.items()
        ]
        self.outcome = graph.capture(run)

    def replay(self, leaves: list[Tensor]) -> Tensor:
        """The loss of this batch; the gradients are in the parameters. The next replay overwrites both."""
        for static, given in zip(self._inputs, leaves, strict=True):
            static.copy_(given, non_blocking=True)
        self._graph.replay()
        for (parameter, _, _), gradient in zip(self._places, self.outcome.gradients, strict=True):
            parameter.grad = gradient
        return self.outcome.loss

    def repeat_side_effects(self) -> None:
        """Log and append again the values that the step logs and appends."""
        for fx, name, value, batch_size, how in self.outcome.logged:
            # Every reduction but the mean may keep the value itself.
            kept = value if how["reduce_fx"] == "mean" else value.clone()
            self._results.log(fx, name, kept, batch_size=batch_size, **how)
            self._connector._current_fx = fx
        for place, name, entries in self.outcome.appended:
            getattr(self._modules[place], name).extend(copy_of(entries))

    def is_in_place(self) -> bool:
        """Whether parameters and buffers are still in the memory that the graph reads and writes."""
        return all(
            parameter.data_ptr() == place and parameter.requires_grad is is_trained
            for parameter, place, is_trained in self._places
        ) and all(owner.get(name) is buffer for owner, name, buffer in self._buffers)

    def has_same_inputs(self) -> bool:
        """Whether a step would read the same of the modules' attributes as the captured one."""
        return self._step_inputs.are_same()

    def is_of_this_model(self) -> bool:
        """Whether the model is the captured one, at the start of an epoch: its modules, and what a step reads of them.

        Attributes that are tensors, such as a validation's scores, may be others from now on.
        """
        before, self._step_inputs = self._step_inputs, StepInputs(self._model)
        parameters = list(self._model.parameters())
        return (
            dict(self._model.named_modules()) == self._modules
            and len(parameters) == len(self._places)
            and all(one is other for one, (other, _, _) in zip(parameters, self._places, strict=True))
            and self.is_in_place()
            and before.scalars() == self._step_inputs.scalars()
        )


class SavedState:
    """A copy of the buffers and random states, which a step changes besides gradients, to restore them."""

    def __init__(self, model: nn.Module) -> None:
        self._buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
        self._random = random_state()

    def restore(self) -> None:
        with torch.no_grad():
            for buffer, saved in self._buffers:
                buffer.copy_(saved)
        set_random_state(self._random)


def copy_of(nested: Any) -> Any:
    """The same structure with copies of its tensors."""
    return tree_map(lambda leaf: leaf.clone() if isinstance(leaf, Tensor) else leaf, nested)


def difference(replayed: Outcome, computed: Outcome, tolerance: float) -> str | None:
    """The first part in which two outcomes of one batch differ by more than rounding; None if there is none.

    Args:
        tolerance: relative to the norm of a whole tensor, since small elements are mostly rounding. A gradient that is
            small compared with all others may be rounding only, such as that of a bias before batch norm.
    """
    for what, one, other in (
        ("loss", replayed.loss, computed.loss),
        ("logged values", [tuple(x) for x in replayed.logged], [tuple(x) for x in computed.logged]),
        ("appended values", [tuple(x) for x in replayed.appended], [tuple(x) for x in computed.appended]),
        ("buffers", replayed.buffers, computed.buffers),
    ):
        if not _is_close(one, other, tolerance):
            return what
    largest = max((float(x.norm()) for x in computed.gradients if x is not None), default=0.0)
    if not _is_close(replayed.gradients, computed.gradients, tolerance, least=0.1 * largest):
        return "gradients"
    return None


def _is_close(one: Any, other: Any, tolerance: float, least: float = 1e-6) -> bool:
    (leaves, layout), (others, other_layout) = tree_flatten(one), tree_flatten(other)
    pairs = zip(leaves, others, strict=False)
    return layout == other_layout and all(_are_close(*pair, tolerance, least) for pair in pairs)


def _are_close(one: Any, other: Any, tolerance: float, least: float) -> bool:
    if not isinstance(one, Tensor) or not isinstance(other, Tensor):
        return type(one) is type(other) and bool(one == other)
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if not one.is_floating_point():
        return torch.equal(one, other)
    if not torch.equal(one.isfinite(), other.isfinite()):
        return False
    one, other = (torch.where(x.isfinite(), x, 0).double() for x in (one, other))
    return float((one - other).norm()) <= tolerance * max(float(other.norm()), least)
